import type { Ask, End, Proof } from '../../src/contracts/pool.ts';
import { GiB } from '../../src/policy/sizes.ts';

let serial = 0;

/** An ask of 1 GiB by a process; processes ask again instead of waiting for a signal. */
export const ask = (over: Partial<Ask> = {}): Ask => ({
  leaseId: `run-${++serial}/step#0`,
  kind: 'work',
  weight: 'light',
  bytes: GiB,
  scratchBytes: 0,
  priority: 3,
  holder: { host: 'here', process: { pid: 1, startedAt: 1 } },
  step: 'step',
  ...over,
});

export const proof = (over: Partial<Proof> = {}): Proof => ({ kind: 'exited', atMs: 0, bytesLeft: 0, ...over });

export const end = (leaseId: string, token: number, over: Partial<End> = {}): End => ({
  leaseId,
  token,
  proof: proof(),
  keep: [],
  used: { peakBytes: 0, scratchPeakBytes: 0, inputBytes: 0, outputBytes: 0, rows: 0, seconds: 1, verdict: 'ok' },
  ...over,
});

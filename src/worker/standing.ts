import { setTimeout as sleep } from 'node:timers/promises';
import type { PoolClient } from '../../activities/pool-client.ts';
import { SpillwayError } from '../contracts/errors.ts';
import type { Holder } from '../contracts/pool.ts';

/** Asked again this often: a process hears of its grant by the answer, not by a signal. */
const ASK_AGAIN_MS = 500;

export interface StandingAsk {
  pool: string;
  leaseId: string;
  step: string;
  bytes: number;
  holder: Holder;
  signal: AbortSignal;
  onWait(because: string): void;
}

/**
 * Takes a standing charge, waiting until the pool has room for it.
 * @throws SpillwayError `LeaseRefused` when it never will
 */
export async function takeStanding(client: PoolClient, ask: StandingAsk): Promise<void> {
  for (let waited = false; ; waited = true) {
    const answer = await client.acquire(ask.pool, {
      leaseId: ask.leaseId,
      kind: 'standing',
      weight: 'light',
      bytes: ask.bytes,
      scratchBytes: 0,
      priority: 1,
      holder: ask.holder,
      step: ask.step,
    });
    if (answer.kind === 'granted') return;
    if (answer.kind === 'refused') {
      throw new SpillwayError('LeaseRefused', `${ask.step} cannot be charged to pool ${ask.pool}: ${answer.because}. Raise pool.limit, or lower light.slots, light.stepBytes or worker.baseline.`);
    }
    if (!waited) ask.onWait(answer.because);
    await sleep(ASK_AGAIN_MS, undefined, { signal: ask.signal });
  }
}

/** Gives a standing charge back; its process has ended, or the engine has. */
export async function giveStandingBack(client: PoolClient, pool: string, leaseId: string): Promise<void> {
  await client.withdraw(pool, [{ leaseId }]);
}

import type {
  Announce, Answer, Ask, Begin, BeginAnswer, Demoted, Drop, End, Grow, GrowAnswer, Holder, Kept, Proof, Reconciled,
} from '../../../../src/contracts/pool.ts'; // prettier-ignore
import { emptyPool, type Effect, type PoolState } from '../../../../src/policy/pool/state.ts';
import type { PoolEvent } from '../../../../src/policy/pool/step.ts';
import { NEWEST_POLICY, policyOf } from '../../../../src/policy/pool/versions.ts';
import { sums, type Sums } from '../../../../src/policy/pool/sums.ts';

export const HOST = 'here';
export const process1 = { pid: 11, startedAt: 1 };
export const run = (name: string): Holder & { workflowId: string; runId: string } => ({
  workflowId: `wf-${name}`,
  runId: name,
});

/** A light ask of 1 byte by run `a`; sizes of these tests are single bytes. */
export const ask = (over: Partial<Ask> = {}): Ask => ({
  leaseId: 'a/step#0',
  kind: 'work',
  weight: 'light',
  bytes: 1,
  scratchBytes: 0,
  priority: 3,
  holder: run((over.leaseId ?? 'a/step#0').split('/')[0]!),
  step: (over.leaseId ?? 'a/step#0').split('/')[1]!.split('#')[0]!,
  ...over,
});
export const standing = (bytes: number, over: Partial<Ask> = {}): Ask =>
  ask({
    ...{ leaseId: `standing/${HOST}/worker`, kind: 'standing', bytes, priority: 1, step: 'worker' },
    ...{ holder: { host: HOST, process: process1 } },
    ...over,
  });
export const proof = (bytesLeft = 0): Proof => ({ kind: 'exited', atMs: 0, bytesLeft });
export const end = (leaseId: string, token: number, over: { bytesLeft?: number; keep?: Kept[] } = {}): End => ({
  leaseId,
  token,
  proof: proof(over.bytesLeft),
  keep: over.keep ?? [],
  used: { peakBytes: 0, scratchPeakBytes: 0, inputBytes: 0, outputBytes: 0, rows: 0, seconds: 1, verdict: 'ok' },
});
export const evidence = (alive: Announce['evidence']['alive'] = []): Announce['evidence'] => ({
  alive,
  cgroup: 'none',
  runtime: 'process',
});

/** A pool that is told one thing after the other, a second apart. */
export class PoolDriver {
  state: PoolState;
  effects: Effect[] = [];
  nowMs = 1_000_000;
  hold = false;

  constructor(limitBytes = 0, scratchLimitBytes = 100, policyVersion: PoolState['policyVersion'] = NEWEST_POLICY) {
    this.state = emptyPool('p', policyVersion);
    if (limitBytes > 0) this.announce({ limitBytes, scratchLimitBytes });
  }

  /** Effects of this event alone are in `effects` afterwards. */
  tell(event: PoolEvent, laterMs = 1_000): unknown {
    this.nowMs += laterMs;
    const stepped = policyOf(this.state)(this.state, event, this.nowMs, { hold: this.hold });
    this.state = stepped.state;
    this.effects = stepped.effects;
    return stepped.answer;
  }
  acquire(over: Partial<Ask> | Ask = {}): Answer {
    return this.tell({ kind: 'acquire', ask: ask(over) }) as Answer;
  }
  /** Answers the token, or `stale`. */
  begin(leaseId = 'a/step#0', over: Partial<Begin> = {}): number | 'stale' {
    const begin: Begin = { leaseId, runId: leaseId.split('/')[0]!, host: HOST, process: process1, ...over };
    const answer = this.tell({ kind: 'begin', begin }) as BeginAnswer;
    return answer === 'stale' ? answer : answer.token;
  }
  /** As {@link begin}, for leases that are held. */
  token(leaseId = 'a/step#0', over: Partial<Begin> = {}): number {
    const token = this.begin(leaseId, over);
    if (token === 'stale') throw new Error(`${leaseId} is not held`);
    return token;
  }
  end(leaseId: string, token: number, over: { bytesLeft?: number; keep?: Kept[] } = {}): void {
    this.tell({ kind: 'end', end: end(leaseId, token, over) });
  }
  withdraw(leaseId = 'a/step#0', laterMs?: number): void {
    this.tell({ kind: 'withdraw', withdraw: { leaseId } }, laterMs);
  }
  grow(grow: Grow): GrowAnswer {
    return this.tell({ kind: 'grow', grow }) as GrowAnswer;
  }
  drop(dataId: string, bytesLeft = 0): void {
    const drop: Drop = { dataId, proof: proof(bytesLeft) };
    this.tell({ kind: 'drop', drop });
  }
  /** The host says how the last demotion of this dataset that was asked for went. */
  demoted(dataId: string, over: Partial<Demoted> = {}): void {
    const { token = 0, demotion, bytes } = this.state.data[dataId]!;
    const said = { dataId, token, outcome: 'moved', scratchBytes: demotion!.scratchBytes && bytes, because: 'a test', ...over } as const; // prettier-ignore
    this.tell({ kind: 'demoted', demoted: said });
  }
  suspect(leaseId = 'a/step#0', laterMs?: number): void {
    this.tell({ kind: 'suspect', suspect: { leaseId, because: 'a test' } }, laterMs);
  }
  reconciled(over: Partial<Reconciled> = {}): void {
    const reconciled: Reconciled = { leaseId: 'a/step#0', token: 0, proof: proof(), because: 'gone', ...over };
    this.tell({ kind: 'reconciled', reconciled });
  }
  announce(over: Partial<Announce> = {}): unknown {
    const announce: Announce = {
      ...{ host: HOST, limitBytes: 10, scratchLimitBytes: 100, evidence: evidence() },
      ...over,
    };
    return this.tell({ kind: 'announce', announce });
  }

  get sums(): Sums {
    return sums(this.state);
  }
  get leased(): string[] {
    return Object.keys(this.state.leases);
  }
  get queued(): string[] {
    return this.state.queue.map((waiting) => waiting.leaseId);
  }
  /** Leases that this event's signals speak of, by kind. */
  told(kind: 'grant' | 'refuse' | 'reconcile' | 'evict' | 'demote'): string[] {
    return this.effects.flatMap((effect) => {
      if (effect.kind !== kind) return [];
      if (effect.kind === 'evict') return [effect.engine];
      if (effect.kind === 'demote') return [effect.request.dataId];
      return [effect.kind === 'reconcile' ? effect.request.leaseId : effect.message.leaseId];
    });
  }
}

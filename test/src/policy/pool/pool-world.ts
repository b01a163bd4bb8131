// Past 250 lines: one list of moves, and beside it what each of them does.
import fc from 'fast-check';
import {
  engineDataId,
  isEngineData,
  type Answer,
  type Ask,
  type Begin,
  type BeginAnswer,
  type Demote,
  type Demoted,
  type End,
  type Holder,
} from '../../../../src/contracts/pool.ts';
import type { ReconcileRequest } from '../../../../src/contracts/steps.ts';
import { emptyPool, type Effect, type PoolState } from '../../../../src/policy/pool/state.ts';
import type { PoolEvent } from '../../../../src/policy/pool/step.ts';
import { NEWEST_POLICY, policyOf } from '../../../../src/policy/pool/versions.ts';
import { end, evidence, HOST, proof } from './pool-driver.ts';

/** One thing that holders, hosts or the network do; `at` picks whom it concerns among those there are. */
export type Move =
  | {
      do: 'ask';
      run: number;
      bytes: number;
      scratch: number;
      heavy: boolean;
      priority: number;
      /** What is enough, above `bytes` that is no word of it. */
      least: number;
      engine: number;
      kind: 'work' | 'engine';
      riding: boolean;
    }
  | { do: 'ask again'; at: number; reset: boolean; bytes: number }
  | { do: 'ask standing'; worker: number; bytes: number }
  | { do: 'begin'; at: number; byRightRun: boolean }
  | { do: 'end'; at: number; left: number; keep: number; keepScratch: number }
  | { do: 'withdraw' | 'suspect' | 'undeliverable' | 'drop'; at: number }
  | { do: 'evict'; left: number }
  | { do: 'report'; at: number; left: number }
  | { do: 'demote'; at: number; outcome: Demoted['outcome'] }
  | { do: 'grow'; at: number; bytes: number; scratch: number }
  | { do: 'announce'; bytes: number; scratch: number; alive: number; aliveBytes: number }
  | { do: 'hold' | 'continue' | 'revive' | 'pause' | 'resume' }
  | { do: 'resize'; bytes: number }
  | { do: 'kick'; at: number }
  | { do: 'pass time'; ms: number };

const at = fc.nat(30);
const bytes = fc.nat(14);
const of = <D extends string, T>(
  name: D,
  fields: { [K in keyof T]: fc.Arbitrary<T[K]> },
): fc.Arbitrary<{ do: D } & T> =>
  fc.record({ do: fc.constant(name), ...fields }) as unknown as fc.Arbitrary<{ do: D } & T>;

const ENGINES = ['trino', 'other trino'];

/** Mostly sensible moves, with all that can go wrong among them. */
export const anyMove: fc.Arbitrary<Move> = fc.oneof(
  { weight: 24, arbitrary: of('ask', {
    run: fc.nat(5), bytes, scratch: bytes, heavy: fc.boolean(), priority: fc.integer({ min: 1, max: 5 }), least: fc.nat(28), engine: fc.nat(4),
    kind: fc.constantFrom<'work' | 'engine'>('work', 'work', 'work', 'work', 'engine'), riding: fc.boolean(),
  }) },
  { weight: 6, arbitrary: of('ask again', { at, reset: fc.boolean(), bytes }) },
  { weight: 3, arbitrary: of('ask standing', { worker: fc.nat(2), bytes: fc.nat(8) }) },
  { weight: 20, arbitrary: of('begin', { at, byRightRun: fc.constantFrom(true, true, true, false) }) },
  { weight: 20, arbitrary: of('end', { at, left: fc.constantFrom(0, 0, 0, 2, 9), keep: fc.constantFrom(0, 0, 3, 8), keepScratch: bytes }) },
  { weight: 5, arbitrary: of('withdraw', { at }) },
  { weight: 5, arbitrary: of('suspect', { at }) },
  { weight: 2, arbitrary: of('undeliverable', { at }) },
  { weight: 5, arbitrary: of('drop', { at }) },
  { weight: 6, arbitrary: of('evict', { left: fc.constantFrom(0, 1, 3, 20) }) },
  { weight: 8, arbitrary: of('report', { at, left: fc.constantFrom(0, 0, 0, 1, 5) }) },
  { weight: 8, arbitrary: of('demote', { at, outcome: fc.constantFrom<Demoted['outcome']>('moved', 'moved', 'dropped', 'busy', 'failed') }) },
  { weight: 4, arbitrary: of('grow', { at, bytes, scratch: bytes }) },
  { weight: 2, arbitrary: of('announce', { bytes: fc.integer({ min: 4, max: 24 }), scratch: fc.nat(24), alive: fc.nat(12), aliveBytes: bytes }) },
  { weight: 2, arbitrary: of('hold', {}) },
  { weight: 3, arbitrary: of('continue', {}) },
  { weight: 1, arbitrary: of('revive', {}) },
  { weight: 1, arbitrary: of('pause', {}) },
  { weight: 3, arbitrary: of('resume', {}) },
  { weight: 2, arbitrary: of('resize', { bytes: fc.integer({ min: 1, max: 24 }) }) },
  { weight: 2, arbitrary: of('kick', { at }) },
  { weight: 4, arbitrary: of('pass time', { ms: fc.constantFrom(1, 6_000, 60_000, -500) }) },
); // prettier-ignore

/** What somebody who asked knows of it. */
type Known = 'waits' | 'granted' | 'refused' | 'gone';

export interface Seen {
  event: PoolEvent;
  before: PoolState;
  after: PoolState;
  hold: boolean;
  nowMs: number;
  answer: unknown;
}

/** Holders and hosts around one pool: turns moves into events and remembers what each asker was told. */
export class PoolWorld {
  state = emptyPool('p', NEWEST_POLICY);
  nowMs = 1_000_000;
  hold = false;
  readonly known = new Map<string, Known>();
  readonly #asks = new Map<string, Ask>();
  readonly #begun: { leaseId: string; token: number }[] = [];
  readonly #looks: ReconcileRequest[] = [];
  readonly #demotions: Demote[] = [];
  readonly #evictions: string[] = [];
  readonly #grants: (Effect & { kind: 'grant' })[] = [];
  readonly #resets = new Map<string, number>();
  readonly #check: (seen: Seen) => void;
  #serial = 0;

  constructor(check: (seen: Seen) => void) {
    this.#check = check;
  }

  feed(event: PoolEvent): unknown {
    const before = this.state;
    const { state, effects, answer } = policyOf(before)(before, event, this.nowMs, { hold: this.hold });
    this.state = state;
    for (const effect of effects) this.#hear(effect);
    if (event.kind === 'acquire') this.known.set(event.ask.leaseId, toKnown((answer as Answer).kind));
    if (event.kind === 'withdraw') this.known.set(event.withdraw.leaseId, 'gone');
    if (
      event.kind === 'reconciled' &&
      this.known.get(event.reconciled.leaseId) === 'waits' &&
      !this.#waits(event.reconciled.leaseId)
    ) {
      this.known.set(event.reconciled.leaseId, 'gone'); // its holder was found closed
    }
    for (const [leaseId, ask] of this.#asks) {
      // A process hears nothing; it asks again.
      if (ask.kind === 'standing') this.known.set(leaseId, this.#waits(leaseId) ? 'waits' : 'gone');
    }
    this.#check({ event, before, after: state, hold: this.hold, nowMs: this.nowMs, answer });
    return answer;
  }

  play(move: Move): void {
    const { leases, data, queue } = this.state;
    switch (move.do) {
      case 'ask': {
        const run = 'abcdef'[move.run]!;
        const name = `s${(this.#serial += 1)}`;
        const riding = move.riding ? this.#begun.filter(({ leaseId }) => leaseId.startsWith(run)).slice(-1) : [];
        this.#ask({
          ...{ leaseId: `${run}/${name}#0`, kind: move.kind, weight: move.heavy ? 'heavy' : 'light', step: name },
          ...{ bytes: move.bytes, scratchBytes: move.scratch, priority: move.priority, holder: this.#holder(run) },
          ...(move.engine < 2 ? { engine: ENGINES[move.engine]! } : {}),
          ...(move.least <= move.bytes ? { leastBytes: move.least } : {}),
          history: `p/${run}`,
          ...(riding.length > 0 ? { returns: riding.map(({ leaseId, token }) => end(leaseId, token)) } : {}),
        });
        return;
      }
      case 'ask again': {
        const ask = pick([...this.#asks.values()], move.at);
        if (!ask) return;
        const run = ask.leaseId.split('/')[0]!;
        if (ask.kind === 'standing') return this.#ask(ask);
        if (move.reset) this.#resets.set(run, (this.#resets.get(run) ?? 0) + 1);
        const least = ask.leastBytes === undefined ? {} : { leastBytes: Math.min(ask.leastBytes, move.bytes) };
        return this.#ask({ ...ask, bytes: move.bytes, ...least, holder: this.#holder(run) });
      }
      case 'ask standing':
        return this.#ask({
          ...{
            leaseId: `standing/${HOST}/worker-${move.worker}`,
            kind: 'standing',
            weight: 'light',
            step: `worker ${move.worker}`,
          },
          ...{
            bytes: move.bytes,
            scratchBytes: 0,
            priority: 1,
            holder: { host: HOST, process: { pid: move.worker, startedAt: 1 } },
          },
        });
      case 'begin': {
        const lease = pick(
          Object.values(leases).filter(({ kind }) => kind !== 'standing'),
          move.at,
        );
        if (lease)
          this.begin(lease.leaseId, move.byRightRun && 'runId' in lease.holder ? lease.holder.runId : 'somebody');
        return;
      }
      case 'end': {
        const attempt = pick(this.#begun, move.at); // of leases long ended and of attempts long replaced, too
        if (!attempt) return;
        const [run] = attempt.leaseId.split('/');
        const dataId = `${run}/d${(this.#serial += 1)}`;
        const keep: End['keep'] =
          move.keepScratch > 6 ? [{ dataId, bytes: move.keep, scratchBytes: move.keepScratch }] : [];
        this.feed({ kind: 'end', end: end(attempt.leaseId, attempt.token, { bytesLeft: move.left, keep }) });
        return;
      }
      case 'withdraw':
      case 'suspect': {
        const leaseId = pick([...queue.map((w) => w.leaseId), ...Object.keys(leases)], move.at);
        if (leaseId === undefined) return;
        if (move.do === 'withdraw') this.feed({ kind: 'withdraw', withdraw: { leaseId } });
        else this.feed({ kind: 'suspect', suspect: { leaseId, because: 'a move' } });
        return;
      }
      case 'undeliverable': {
        const [grant] = this.#grants.splice(move.at % Math.max(1, this.#grants.length), 1);
        if (grant) this.feed({ kind: 'undeliverable', leaseId: grant.message.leaseId, runId: grant.runId });
        return;
      }
      case 'drop': {
        const dataId = pick(Object.keys(data), move.at);
        if (dataId !== undefined) this.feed({ kind: 'drop', drop: { dataId, proof: proof() } });
        return;
      }
      case 'report': {
        const [look] = this.#looks.splice(move.at % Math.max(1, this.#looks.length), 1);
        if (look) this.report(look, move.left);
        return;
      }
      case 'evict': {
        const engine = this.#evictions.shift();
        if (engine !== undefined) this.#evicted(engine, move.left);
        return;
      }
      case 'demote': {
        const [asked] = this.#demotions.splice(move.at % Math.max(1, this.#demotions.length), 1);
        if (asked) this.demoted(asked, move.outcome);
        return;
      }
      case 'grow': {
        const attempt = pick(this.#begun, move.at);
        if (attempt) this.feed({ kind: 'grow', grow: { ...attempt, bytes: move.bytes, scratchBytes: move.scratch } });
        return;
      }
      case 'announce': {
        const found = move.alive === 0 ? pick([...this.#asks.keys()], move.aliveBytes) : undefined;
        const alive = found === undefined ? [] : [{ leaseId: found, token: this.nowMs, bytes: move.aliveBytes }];
        this.announce(move.bytes, move.scratch, alive);
        return;
      }
      case 'pause':
      case 'resume':
        this.feed({
          kind: 'operate',
          operate: move.do === 'pause' ? { act: 'pause', because: 'a move' } : { act: 'resume' },
        });
        return;
      case 'resize':
        this.feed({ kind: 'operate', operate: { act: 'resize', limitBytes: move.bytes } });
        return;
      case 'kick': {
        const leaseId = pick([...queue.map((w) => w.leaseId), ...Object.keys(leases)], move.at);
        if (leaseId !== undefined) this.feed({ kind: 'operate', operate: { act: 'kick', leaseId, because: 'a move' } });
        return;
      }
      case 'hold':
        this.hold = true;
        return;
      case 'continue':
        this.hold = false;
        this.state = JSON.parse(JSON.stringify(this.state)) as PoolState;
        this.feed({ kind: 'continued' });
        return;
      case 'revive':
        this.hold = false;
        this.#demotions.length = 0;
        this.#evictions.length = 0;
        this.#looks.length = 0; // lost with the run of the pool that was terminated
        this.state = { ...(JSON.parse(JSON.stringify(this.state)) as PoolState), limitBytes: 0 };
        this.feed({ kind: 'revived' });
        this.feed({ kind: 'continued' });
        return;
      case 'pass time':
        this.nowMs += move.ms;
    }
  }

  begin(leaseId: string, runId: string): BeginAnswer {
    const begin: Begin = { leaseId, runId, host: HOST, process: { pid: 1, startedAt: 1 } };
    const answer = this.feed({ kind: 'begin', begin }) as BeginAnswer;
    if (answer !== 'stale') this.#begun.push({ leaseId, token: answer.token });
    return answer;
  }
  report({ leaseId, token, holder }: Pick<ReconcileRequest, 'leaseId' | 'token' | 'holder'>, left = 0): void {
    this.feed({ kind: 'reconciled', reconciled: { leaseId, token, holder, proof: proof(left), because: 'a move' } });
  }
  /** What may not go to scratch is dropped, whatever the host would have done. */
  demoted({ dataId, token, scratchBytes }: Demote, wanted: Demoted['outcome']): void {
    const outcome = wanted === 'moved' && scratchBytes === 0 ? 'dropped' : wanted;
    const on = outcome === 'moved' ? scratchBytes : 0;
    this.feed({ kind: 'demoted', demoted: { dataId, token, outcome, scratchBytes: on, because: 'a move' } });
  }
  /** An engine that holds less than it is charged gives back to that; what it never gives back stays. */
  #evicted(engine: string, left: number): void {
    this.feed({ kind: 'drop', drop: { dataId: engineDataId(engine), proof: proof(left) } });
  }
  announce(limitBytes: number, scratchLimitBytes: number, alive: ReturnType<typeof evidence>['alive'] = []): void {
    this.feed({ kind: 'announce', announce: { host: HOST, limitBytes, scratchLimitBytes, evidence: evidence(alive) } });
  }

  /**
   * All that runs ends, all that is asked of hosts is done, runs that do not wait end and drop what they kept.
   * @param enginesKeep what engines do not give back, however often they are asked
   */
  settle(enginesKeep = 0): void {
    this.hold = false;
    if (this.state.limitBytes === 0) this.announce(20, 20);
    this.feed({ kind: 'operate', operate: { act: 'resume' } });
    this.feed({ kind: 'continued' });
    this.#settleNow(enginesKeep);
    // Whoever waits asks again after a while: what readers or a failure kept in memory is tried again then.
    for (let round = 0; round < 8 && this.state.queue.length > 0; round += 1) {
      this.nowMs += 31_000;
      for (const { leaseId } of this.state.queue) {
        const ask = this.#asks.get(leaseId);
        if (ask) this.feed({ kind: 'acquire', ask });
      }
      this.#settleNow(enginesKeep);
    }
  }

  #settleNow(enginesKeep: number): void {
    for (let before = ''; before !== JSON.stringify(this.state);) {
      before = JSON.stringify(this.state);
      for (const lease of Object.values(this.state.leases)) {
        if (lease.kind === 'standing' && lease.phase !== 'ending') continue;
        const begun =
          lease.phase === 'ending' || !('runId' in lease.holder)
            ? 'stale'
            : this.begin(lease.leaseId, lease.holder.runId);
        if (begun === 'stale') this.report(lease);
        else this.feed({ kind: 'end', end: end(lease.leaseId, begun.token) });
      }
      for (const asked of this.#demotions.splice(0)) this.demoted(asked, 'moved');
      for (const engine of this.#evictions.splice(0)) this.#evicted(engine, enginesKeep);
      for (const { dataId } of Object.values(this.state.data)) {
        if (!isEngineData(dataId) && !this.state.queue.some((w) => w.leaseId.startsWith(`${dataId.split('/')[0]}/`))) {
          this.feed({ kind: 'drop', drop: { dataId, proof: proof() } });
        }
      }
    }
  }

  #ask(ask: Ask): void {
    this.#asks.set(ask.leaseId, ask);
    this.feed({ kind: 'acquire', ask });
  }
  #holder(run: string): Holder {
    return { workflowId: `wf-${run}`, runId: `${run}.${this.#resets.get(run) ?? 0}` };
  }
  #waits(leaseId: string): boolean {
    return this.state.queue.some((w) => w.leaseId === leaseId);
  }
  #hear(effect: Effect): void {
    if (effect.kind === 'grant') {
      this.known.set(effect.message.leaseId, 'granted');
      this.#grants.push(effect);
    }
    if (effect.kind === 'refuse') this.known.set(effect.message.leaseId, 'refused');
    if (effect.kind === 'reconcile') this.#looks.push(effect.request);
    if (effect.kind === 'demote') this.#demotions.push(effect.request);
    if (effect.kind === 'evict') this.#evictions.push(effect.engine);
  }
}

const toKnown = (kind: Answer['kind']): Known => (kind === 'queued' ? 'waits' : kind);
const pick = <T>(among: readonly T[], index: number): T | undefined => among[index % Math.max(1, among.length)];

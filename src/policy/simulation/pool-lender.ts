import {
  type Answer,
  type BeginAnswer,
  dataIdOf,
  type Demote,
  type HostEvidence,
  type Proof,
  runOfData,
} from '../../contracts/pool.ts';
import { emptyPool, type PoolState } from '../pool/state.ts';
import type { PoolEvent } from '../pool/step.ts';
import { NEWEST_POLICY, policyOf } from '../pool/versions.ts';
import type { Lender, Moving, SimulatedAsk, Told } from './lender.ts';
import type { Scenario } from './scenario.ts';

const HOST = 'simulated';
const PROCESS = { pid: 1, startedAt: 1 };

/** The pool itself: the policy that the pool's workflow follows, under a clock that is told. */
export class PoolLender implements Lender {
  #state: PoolState;
  readonly #asks = new Map<string, SimulatedAsk>();
  readonly #tokens = new Map<string, number>();
  /** Datasets of runs. */
  readonly #kept = new Map<string, string[]>();
  #moving: Moving[] = [];

  constructor({ pool }: Scenario) {
    this.#state = emptyPool('simulated', NEWEST_POLICY);
    const { limitBytes, scratchLimitBytes, standingBytes } = pool;
    const evidence: HostEvidence = { alive: [], cgroup: 'none', runtime: 'process' };
    this.#feed({ kind: 'announce', announce: { host: HOST, limitBytes, scratchLimitBytes, evidence } }, 0);
    if (standingBytes > 0) {
      this.#feed(
        {
          kind: 'acquire',
          ask: {
            ...{ leaseId: `standing/${HOST}/all`, kind: 'standing', weight: 'light', bytes: standingBytes },
            ...{ scratchBytes: 0, priority: 1, holder: { host: HOST, process: PROCESS }, step: 'standing' },
          },
        },
        0,
      );
    }
  }

  /** The ledger as it is now. */
  get state(): PoolState {
    return this.#state;
  }

  ask(ask: SimulatedAsk, nowMs: number): Told[] {
    const { run, step: wanted } = ask;
    const { weight, bytes, scratchBytes, priority } = wanted;
    const leaseId = leaseIdOf(ask);
    this.#asks.set(leaseId, ask);
    const { answer, told } = this.#feed(
      {
        kind: 'acquire',
        ask: {
          ...{ leaseId, kind: 'work', weight, bytes, scratchBytes, priority, step: wanted.step },
          holder: { workflowId: run, runId: run },
        },
      },
      nowMs,
    );
    const said = answer as Answer;
    return said.kind === 'queued' ? told : [this.#tell(leaseId, said.kind, said.because, nowMs), ...told];
  }

  end(ask: SimulatedAsk, nowMs: number): Told[] {
    const leaseId = leaseIdOf(ask);
    const { step: done, keepBytes: bytes, keepScratchBytes: scratchBytes } = ask.step;
    const dataId = dataIdOf(ask.run, done);
    const keep = bytes + scratchBytes > 0 ? [{ dataId, bytes, scratchBytes }] : [];
    if (keep.length > 0) this.#kept.set(ask.run, [...(this.#kept.get(ask.run) ?? []), dataId]);
    const { told } = this.#feed(
      {
        kind: 'end',
        end: {
          ...{ leaseId, token: this.#tokens.get(leaseId) ?? 0, proof: gone(nowMs), keep },
          used: {
            ...{ peakBytes: ask.step.bytes, scratchPeakBytes: ask.step.scratchBytes, inputBytes: 0, outputBytes: 0 },
            ...{ rows: 0, seconds: ask.step.ms / 1000, verdict: 'ok' },
          },
        },
      },
      nowMs,
    );
    return told;
  }

  over(run: string, nowMs: number): Told[] {
    const told: Told[] = [];
    for (const waiting of this.#state.queue.filter(({ holder }) => 'runId' in holder && holder.runId === run))
      told.push(...this.#feed({ kind: 'withdraw', withdraw: { leaseId: waiting.leaseId } }, nowMs).told);
    for (const dataId of this.#kept.get(run) ?? [])
      told.push(...this.#feed({ kind: 'drop', drop: { dataId, proof: gone(nowMs) } }, nowMs).told);
    this.#kept.delete(run);
    return told;
  }

  moving(): Moving[] {
    const moving = this.#moving;
    this.#moving = [];
    return moving;
  }

  #move({ dataId, token, scratchBytes }: Demote): Moving {
    const outcome = scratchBytes > 0 ? 'moved' : 'dropped';
    const demoted = { dataId, token, outcome, scratchBytes, because: 'simulated' } as const;
    const { bytes } = this.#state.data[dataId]!;
    return { run: runOfData(dataId), bytes, moved: (nowMs) => this.#feed({ kind: 'demoted', demoted }, nowMs).told };
  }

  #feed(event: PoolEvent, nowMs: number): { answer: unknown; told: Told[] } {
    const { state, effects, answer } = policyOf(this.#state)(this.#state, event, nowMs);
    this.#state = state;
    for (const effect of effects) if (effect.kind === 'demote') this.#moving.push(this.#move(effect.request));
    const told = effects.flatMap((effect) => {
      if (effect.kind !== 'grant' && effect.kind !== 'refuse') return [];
      const { leaseId, because } = effect.message;
      return [this.#tell(leaseId, effect.kind === 'grant' ? 'granted' : 'refused', because, nowMs)];
    });
    return { answer, told };
  }

  /** Whoever was granted begins at once, as an attempt does. */
  #tell(leaseId: string, kind: Told['kind'], because: string, nowMs: number): Told {
    const ask = this.#asks.get(leaseId)!;
    if (kind === 'granted') {
      const begin = { leaseId, runId: ask.run, host: HOST, process: PROCESS };
      const { state, answer } = policyOf(this.#state)(this.#state, { kind: 'begin', begin }, nowMs);
      this.#state = state;
      this.#tokens.set(leaseId, (answer as Exclude<BeginAnswer, 'stale'>).token);
    }
    return { ask, kind, because };
  }
}

const leaseIdOf = ({ run, step: wanted }: SimulatedAsk): string => `${run}/${wanted.step}#0`;
const gone = (atMs: number): Proof => ({ kind: 'exited', atMs, bytesLeft: 0 });

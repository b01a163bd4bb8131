import {
  CancellationScope,
  condition,
  defineSignal,
  proxyLocalActivities,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { Answer, Ask, End, Granted, Refused } from '../contracts/pool.ts';
import { PoolMessage } from '../contracts/pool.ts';
import type { RunnerActivities } from '../contracts/steps.ts';
import type { PlannedStep } from '../contracts/plan.ts';
import { failure } from './failures.ts';
import type { OneAtATime } from './one-at-a-time.ts';

const messages = {
  granted: defineSignal<[Granted]>(PoolMessage.GRANTED),
  refused: defineSignal<[Refused]>(PoolMessage.REFUSED),
};

/** Short recorded acts on the worker's own connection. */
const message = { startToCloseTimeout: '30 seconds', retry: { maximumAttempts: 5 } } as const;

/**
 * Whoever waits asks again after this long, then less and less often: the grant may have been sent to the run that this one was
 * reset from, or the pool may have lost its ledger. Asking again changes nothing for who is still in the queue. Whoever has many
 * before it asks later: hundreds that ask at once would keep the pool from serving anybody.
 */
const ASK_AGAIN = { firstMs: 5_000, aheadMs: 100, factor: 3, mostMs: 600_000 } as const;

type Queued = Extract<Answer, { kind: 'queued' }>;

/** What the desk tells the runner about waiting, for the UI. */
export interface DeskEvents {
  waiting(step: string, because: string): void;
}

/** All that a run asks of its pool, and gives back. Ids asked for are remembered until they are ended or withdrawn. */
export class LeaseDesk {
  readonly #local = proxyLocalActivities<RunnerActivities>(message);
  readonly #granted = new Map<string, Granted>();
  readonly #refused = new Map<string, Refused>();
  readonly #open = new Set<string>();
  /** Ends that ride on the next ask of a step. */
  readonly #riding = new Map<string, End[]>();
  /** By step: leases that were lost, and are taken back with its next ask. */
  readonly #lost = new Map<string, string>();
  readonly #pool: string;
  readonly #events: DeskEvents;
  readonly #turns: OneAtATime;

  constructor(pool: string, turns: OneAtATime, events: DeskEvents) {
    this.#pool = pool;
    this.#turns = turns;
    this.#events = events;
    setHandler(messages.granted, (said) => void this.#granted.set(said.leaseId, said));
    setHandler(messages.refused, (said) => void this.#refused.set(said.leaseId, said));
  }

  /** Asks for bytes and waits until they are lent. @throws `LeaseRefused` */
  async acquire(
    step: PlannedStep,
    { bytes, leastBytes }: { bytes: number; leastBytes: number | undefined },
    ordinal: number,
  ): Promise<{ leaseId: string; bytes: number }> {
    const info = workflowInfo();
    const leaseId = `${info.originalExecutionRunId}/${step.step}#${ordinal}`;
    const returns = this.#riding.get(step.step) ?? [];
    this.#riding.delete(step.step);
    const replaces = this.#lost.get(step.step);
    this.#lost.delete(step.step);
    // A reset brings old signals with it: only what is said from now on is about this ask.
    this.#granted.delete(leaseId);
    this.#refused.delete(leaseId);
    const ask: Ask = {
      leaseId,
      kind: 'work',
      weight: step.weight,
      bytes,
      ...(leastBytes === undefined ? {} : { leastBytes }),
      scratchBytes: step.scratchBytes,
      priority: step.priority,
      holder: { workflowId: info.workflowId, runId: info.runId },
      step: step.step,
      ...(step.residentEngine === undefined ? {} : { engine: step.residentEngine }),
      ...(step.history === undefined ? {} : { history: step.history }),
      ...(replaces === undefined ? {} : { replaces }),
      ...(returns.length > 0 ? { returns } : {}),
    };
    this.#open.add(leaseId);
    let answer: Answer;
    try {
      answer = await this.#turns.run(() => this.#local.acquire({ pool: this.#pool, ask }));
    } catch (error) {
      for (const end of returns) this.ride(step.step, end); // they go with the run's last message
      throw error;
    }
    for (const { leaseId: ended } of returns) this.#open.delete(ended);
    if (replaces !== undefined) this.#open.delete(replaces);
    if (answer.kind === 'granted') return { leaseId, bytes: answer.bytes };
    if (answer.kind === 'queued') {
      this.#events.waiting(step.step, answer.because);
      answer = await this.#turnOf(ask, answer);
      if (answer.kind === 'granted') return { leaseId, bytes: answer.bytes };
    }
    this.#open.delete(leaseId);
    throw failure(
      'LeaseRefused',
      `${step.step} cannot be lent its memory: it ${answer.because}. Ask for less (memory or profile), or enlarge the pool.`,
    );
  }

  /** Waits for the pool's word on a queued ask. */
  async #turnOf({ returns: _taken, ...ask }: Ask, { ahead, because }: Queued): Promise<Exclude<Answer, Queued>> {
    const { leaseId } = ask;
    for (
      let ms: number = ASK_AGAIN.firstMs + Math.max(0, ahead) * ASK_AGAIN.aheadMs;
      ;
      ms = Math.min(ms * ASK_AGAIN.factor, ASK_AGAIN.mostMs)
    ) {
      const summary = `${ask.step} waits: ${because}`.slice(0, 200);
      const told = await condition(() => this.#granted.has(leaseId) || this.#refused.has(leaseId), ms, { summary });
      const granted = this.#granted.get(leaseId);
      if (granted) return { kind: 'granted', ...granted };
      if (told) return { kind: 'refused', ...this.#refused.get(leaseId)! };
      const answer = await this.#turns.run(() => this.#local.acquire({ pool: this.#pool, ask }));
      if (answer.kind !== 'queued') return answer;
    }
  }

  /** Lets an end ride on the ask of a step that is ready in this very workflow task. */
  ride(successor: string, end: End): void {
    this.#riding.set(successor, [...(this.#riding.get(successor) ?? []), end]);
  }

  /** Ends leases now; survives cancellation of the run. */
  async end(ends: End[]): Promise<void> {
    if (ends.length === 0) return;
    await CancellationScope.nonCancellable(() =>
      this.#turns.run(() => this.#local.endLeases({ pool: this.#pool, ends })),
    );
    for (const { leaseId } of ends) this.#open.delete(leaseId);
  }

  /** Takes back a lease whose attempt died without a word: the pool has it looked after before its bytes go to others. */
  async withdraw(leaseId: string): Promise<void> {
    await CancellationScope.nonCancellable(() =>
      this.#turns.run(() => this.#local.withdrawLeases({ pool: this.#pool, withdraws: [{ leaseId }] })),
    );
    this.#open.delete(leaseId);
  }

  /** A lease that its attempt found ended. The pool may since have granted what it had queued: it is taken back with the step's next ask. */
  lost(step: string, leaseId: string): void {
    this.#lost.set(step, leaseId);
  }

  /** Gives back everything that is still open: ends that never rode, then every id that was asked for. */
  async close(): Promise<void> {
    const ends = [...this.#riding.values()].flat();
    this.#riding.clear();
    await this.end(ends);
    const withdraws = [...this.#open].map((leaseId) => ({ leaseId }));
    if (withdraws.length > 0) await this.#turns.run(() => this.#local.withdrawLeases({ pool: this.#pool, withdraws }));
    this.#open.clear();
  }

  get openLeases(): string[] {
    return [...this.#open];
  }
}

import { CancellationScope, condition, defineSignal, proxyLocalActivities, setHandler, workflowInfo } from '@temporalio/workflow';
import type { Answer, Ask, End, Granted, Refused } from '../contracts/pool.ts';
import { PoolMessage } from '../contracts/pool.ts';
import type { RunnerActivities } from '../contracts/steps.ts';
import type { PlannedStep, Rung } from '../contracts/plan.ts';
import { failure } from './failures.ts';

const messages = {
  granted: defineSignal<[Granted]>(PoolMessage.GRANTED),
  refused: defineSignal<[Refused]>(PoolMessage.REFUSED),
};

/** Short recorded acts on the worker's own connection. */
const message = { startToCloseTimeout: '30 seconds', retry: { maximumAttempts: 5 } } as const;

/** What the runner tells the desk about waiting, for the UI. */
export interface DeskEvents {
  waiting(step: string, because: string): void;
  running(step: string): void;
}

/** All that a run asks of its pool, and gives back. Ids asked for are remembered until they are ended or withdrawn. */
export class LeaseDesk {
  readonly #local = proxyLocalActivities<RunnerActivities>(message);
  readonly #granted = new Map<string, Granted>();
  readonly #refused = new Map<string, Refused>();
  readonly #open = new Set<string>();
  /** Ends that ride on the next ask of a step. */
  readonly #riding = new Map<string, End[]>();
  readonly #pool: string;
  readonly #events: DeskEvents;

  constructor(pool: string, events: DeskEvents) {
    this.#pool = pool;
    this.#events = events;
    setHandler(messages.granted, (said) => void this.#granted.set(said.leaseId, said));
    setHandler(messages.refused, (said) => void this.#refused.set(said.leaseId, said));
  }

  /** Asks for bytes and waits until they are lent. @throws `LeaseRefused` */
  async acquire(step: PlannedStep, rung: Rung, ordinal: number): Promise<{ leaseId: string; bytes: number }> {
    const info = workflowInfo();
    const leaseId = `${info.originalExecutionRunId}/${step.step}#${ordinal}`;
    const returns = this.#riding.get(step.step) ?? [];
    this.#riding.delete(step.step);
    const ask: Ask = {
      leaseId,
      kind: 'work',
      weight: step.weight,
      bytes: rung.bytes,
      scratchBytes: step.scratchBytes,
      priority: step.priority,
      holder: { workflowId: info.workflowId, runId: info.runId },
      step: step.step,
      ...(step.residentEngine === undefined ? {} : { engine: step.residentEngine }),
      ...(returns.length > 0 ? { returns } : {}),
    };
    this.#open.add(leaseId);
    let answer: Answer;
    try {
      answer = await this.#local.acquire({ pool: this.#pool, ask });
    } catch (error) {
      for (const end of returns) this.ride(step.step, end); // they go with the run's last message
      throw error;
    }
    for (const { leaseId: ended } of returns) this.#open.delete(ended);
    if (answer.kind === 'granted') return { leaseId, bytes: answer.bytes };
    if (answer.kind === 'queued') {
      this.#events.waiting(step.step, answer.because);
      await condition(() => this.#granted.has(leaseId) || this.#refused.has(leaseId));
      this.#events.running(step.step);
      const granted = this.#granted.get(leaseId);
      if (granted) return { leaseId, bytes: granted.bytes };
    }
    this.#open.delete(leaseId);
    const because = answer.kind === 'refused' ? answer.because : this.#refused.get(leaseId)!.because;
    throw failure('LeaseRefused', `${step.step} cannot be lent its memory: it ${because}. Ask for less (memory or profile), or enlarge the pool.`);
  }

  /** Lets an end ride on the ask of a step that is ready in this very workflow task. */
  ride(successor: string, end: End): void {
    this.#riding.set(successor, [...(this.#riding.get(successor) ?? []), end]);
  }

  /** Ends leases now; survives cancellation of the run. */
  async end(ends: End[]): Promise<void> {
    if (ends.length === 0) return;
    await CancellationScope.nonCancellable(() => this.#local.endLeases({ pool: this.#pool, ends }));
    for (const { leaseId } of ends) this.#open.delete(leaseId);
  }

  /** Takes back a lease whose attempt died without a word: the pool has it looked after before its bytes go to others. */
  async withdraw(leaseId: string): Promise<void> {
    await CancellationScope.nonCancellable(() => this.#local.withdrawLeases({ pool: this.#pool, withdraws: [{ leaseId }] }));
    this.#open.delete(leaseId);
  }

  /** A lease that the pool ended by itself. */
  forget(leaseId: string): void {
    this.#open.delete(leaseId);
  }

  /** Gives back everything that is still open: ends that never rode, then every id that was asked for. */
  async close(): Promise<void> {
    const ends = [...this.#riding.values()].flat();
    this.#riding.clear();
    await this.end(ends);
    const withdraws = [...this.#open].map((leaseId) => ({ leaseId }));
    if (withdraws.length > 0) await this.#local.withdrawLeases({ pool: this.#pool, withdraws });
    this.#open.clear();
  }

  get openLeases(): string[] {
    return [...this.#open];
  }
}

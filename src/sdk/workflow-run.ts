import { CancellationScope, proxyActivities, workflowInfo } from '@temporalio/workflow';
import { TaskQueue } from '../contracts/pool.ts';
import type { SinkResult, StepSpec } from '../contracts/pipeline.ts';
import type { ControlActivities } from '../contracts/steps.ts';
import { Board } from './board.ts';
import type { Run } from './run.ts';
import { StepGraph } from './step-graph.ts';
import { StepRunner } from './step-runner.ts';

/** Cleaning up may take this long after the run's code has ended; what remains then is the janitor's. */
const CLEANUP = '2 minutes';
/** Deleting files of one run on its host. */
const dropping = {
  startToCloseTimeout: '60 seconds',
  scheduleToCloseTimeout: '2 minutes',
  retry: { maximumAttempts: 3 },
} as const;

/** One workflow run: the graph its verbs build, and the runner that executes it. */
export class WorkflowRun implements Run {
  readonly board = new Board();
  readonly #runner: StepRunner;
  readonly #graph: StepGraph;
  /** Sinks that are under way. */
  readonly #started = new Set<Promise<unknown>>();

  constructor(name: string) {
    this.#runner = new StepRunner(this.board);
    this.#graph = new StepGraph((sinks, steps) =>
      this.#runner.start({ kind: 'steps', pipeline: name, steps, sinks, decided: this.#runner.handoffs }),
    );
  }

  add(step: StepSpec): void {
    this.#graph.add(step);
  }

  sink(step: StepSpec): Promise<SinkResult> {
    return this.#track(this.#graph.sink(step));
  }

  pipeline(job: unknown): Promise<SinkResult[]> {
    return this.#track(this.#runner.start({ kind: 'job', job: job ?? null }).then((results) => Promise.all(results)));
  }

  /** Waits for sinks that are under way when the run's code has returned. Nobody else hears of their failure: it is the run's. */
  async finish(): Promise<void> {
    while (this.#started.size > 0) await Promise.all(this.#started);
  }

  #track<T>(sink: Promise<T>): Promise<T> {
    this.#started.add(sink);
    const ended = (): void => void this.#started.delete(sink);
    sink.then(ended, ended); // a rejection that nobody awaits would fail the workflow task, again and again
    return sink;
  }

  /** Warns of rows that nobody wanted. */
  warnOfUnread(): void {
    const planned = this.#runner.plannedSteps;
    for (const { step, verb } of this.#graph.steps) {
      if (!planned.has(step))
        this.board.warn(`${verb}('${step}') was never read: no sink needs its rows, so they were not computed.`);
    }
  }

  /** Gives back everything the run holds, but for checkpoints of one that failed; what cannot be given back in time is named, and is the janitor's. */
  async cleanUp(succeeded: boolean): Promise<void> {
    await this.#runner.settle();
    if (this.#runner.pool === '') return;
    try {
      await CancellationScope.nonCancellable(() =>
        CancellationScope.withTimeout(CLEANUP, () => this.#giveBack(succeeded)),
      );
    } catch (error) {
      this.board.warn(
        `not all of this run was cleaned up in ${CLEANUP} (${String(error)}); the janitor of the next worker removes the rest.`,
      );
    }
  }

  async #giveBack(succeeded: boolean): Promise<void> {
    await this.#runner.close();
    if (this.#runner.dataIds.length === 0) return;
    const control = proxyActivities<ControlActivities>({
      ...dropping,
      taskQueue: TaskQueue.control(this.#runner.pool),
    });
    await control.dropHandoffs({
      pool: this.#runner.pool,
      run: workflowInfo().originalExecutionRunId,
      dataIds: this.#runner.dataIds,
      everything: this.#runner.leftInDisorder,
      ...(succeeded && this.#runner.hasCheckpoints && { checkpoints: 'drop' }),
    });
  }
}

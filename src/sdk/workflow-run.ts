import { CancellationScope, proxyActivities, workflowInfo } from '@temporalio/workflow';
import { TaskQueue } from '../contracts/pool.ts';
import type { SinkResult, StepSpec } from '../contracts/pipeline.ts';
import type { ControlActivities } from '../contracts/steps.ts';
import { stepsFor } from '../policy/graph.ts';
import { Board } from './board.ts';
import { failure } from './failures.ts';
import type { Run } from './run.ts';
import { StepRunner } from './step-runner.ts';

interface PendingSink {
  step: string;
  resolve: (result: SinkResult) => void;
  reject: (error: unknown) => void;
}

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
  readonly #steps: StepSpec[] = [];
  #pending: PendingSink[] = [];
  /** Sinks that are under way. */
  readonly #started = new Set<Promise<unknown>>();

  readonly #name: string;

  constructor(name: string) {
    this.#name = name;
    this.#runner = new StepRunner(this.board);
  }

  add(step: StepSpec): void {
    if (this.#steps.some((known) => known.step === step.step)) {
      throw failure('InvalidInput', `two steps are named '${step.step}'. Names are unique within a run; rename one.`);
    }
    this.#steps.push(step);
  }

  sink(step: StepSpec): Promise<SinkResult> {
    this.add(step);
    const result = new Promise<SinkResult>((resolve, reject) => {
      this.#pending.push({ step: step.step, resolve, reject });
    });
    if (this.#pending.length === 1) void Promise.resolve().then(() => this.#flush());
    return this.#track(result);
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

  /** Plans and starts all sinks that were called in one synchronous turn. */
  async #flush(): Promise<void> {
    const sinks = this.#pending;
    this.#pending = [];
    const names = sinks.map((sink) => sink.step);
    try {
      const results = await this.#runner.start({
        kind: 'steps',
        pipeline: this.#name,
        steps: stepsFor(names, this.#steps), // the others may be read by a later sink
        sinks: names,
        decided: this.#runner.handoffs,
      });
      sinks.forEach((sink, i) => void results[i]!.then(sink.resolve, sink.reject));
    } catch (error) {
      for (const sink of sinks) sink.reject(error);
    }
  }

  /** Warns of rows that nobody wanted. */
  warnOfUnread(): void {
    const planned = this.#runner.plannedSteps;
    for (const { step, verb } of this.#steps) {
      if (!planned.has(step))
        this.board.warn(`${verb}('${step}') was never read: no sink needs its rows, so they were not computed.`);
    }
  }

  /** Gives back everything the run holds; what cannot be given back in time is named, and is the janitor's. */
  async cleanUp(): Promise<void> {
    await this.#runner.settle();
    if (this.#runner.pool === '') return;
    try {
      await CancellationScope.nonCancellable(() => CancellationScope.withTimeout(CLEANUP, () => this.#giveBack()));
    } catch (error) {
      this.board.warn(
        `not all of this run was cleaned up in ${CLEANUP} (${String(error)}); the janitor of the next worker removes the rest.`,
      );
    }
  }

  async #giveBack(): Promise<void> {
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
    });
  }
}

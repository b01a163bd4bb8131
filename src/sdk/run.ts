import { ApplicationFailure } from '@temporalio/workflow';
import type { StepSpec, SinkResult } from '../contracts/pipeline.ts';

/** What verbs see of a run. Versioned: two copies of the package share it. */
export interface Run {
  /** Adds a step; its rows are not computed before a sink needs them. */
  add(step: StepSpec): void;
  /** Starts a sink; sinks started in one synchronous turn are planned together. */
  sink(step: StepSpec): Promise<SinkResult>;
  /** Runs a pipeline that came as data. */
  pipeline(spec: unknown): Promise<SinkResult[]>;
}

const RUN = Symbol.for('spillway.run/1');
type Holder = { [RUN]?: Run };

/** Makes a run the one that verbs of this workflow work on. */
export function enterRun(run: Run): void {
  (globalThis as Holder)[RUN] = run;
}

/** Ends what {@link enterRun} began, where a process outlives its runs. */
export function leaveRun(run: Run): void {
  if ((globalThis as Holder)[RUN] === run) delete (globalThis as Holder)[RUN];
}

/** @throws `PluginMissing` when the workflow runs without our interceptor */
export function currentRun(verb: string): Run {
  const run = (globalThis as Holder)[RUN];
  if (!run) {
    throw ApplicationFailure.create({
      type: 'PluginMissing',
      nonRetryable: true,
      message: `${verb} was called in a workflow whose worker lacks the Spillway interceptor. Start the worker with startWorker(), or add plugins: [spillway()] to it.`,
    });
  }
  return run;
}

import type { SinkResult, StepSpec } from '../contracts/pipeline.ts';
import { stepsFor } from '../policy/graph.ts';
import { failure } from './failures.ts';

/** Plans and starts sinks, given the steps that they need; answers a promise for each sink, in their order. */
export type StartSinks = (sinks: string[], steps: StepSpec[]) => Promise<Promise<SinkResult>[]>;

interface PendingSink {
  step: string;
  resolve: (result: SinkResult) => void;
  reject: (error: unknown) => void;
}

/** The graph that a run's verbs build up, and the sinks of it that wait to be planned together. */
export class StepGraph {
  readonly steps: StepSpec[] = [];
  readonly #start: StartSinks;
  #pending: PendingSink[] = [];

  constructor(start: StartSinks) {
    this.#start = start;
  }

  /** @throws `InvalidInput` when a step of the run has the name already */
  add(step: StepSpec): void {
    if (this.steps.some((known) => known.step === step.step)) {
      throw failure('InvalidInput', `two steps are named '${step.step}'. Names are unique within a run; rename one.`);
    }
    this.steps.push(step);
  }

  /** Adds a sink, and starts it with all others that are called in the same synchronous turn. */
  sink(step: StepSpec): Promise<SinkResult> {
    this.add(step);
    const result = new Promise<SinkResult>((resolve, reject) => {
      this.#pending.push({ step: step.step, resolve, reject });
    });
    if (this.#pending.length === 1) void Promise.resolve().then(() => this.#flush());
    return result;
  }

  async #flush(): Promise<void> {
    const sinks = this.#pending;
    this.#pending = [];
    const names = sinks.map((sink) => sink.step);
    try {
      // The other steps may be read by a later sink.
      const results = await this.#start(names, stepsFor(names, this.steps));
      sinks.forEach((sink, i) => void results[i]!.then(sink.resolve, sink.reject));
    } catch (error) {
      for (const sink of sinks) sink.reject(error);
    }
  }
}

import { readPipeline } from '../config/pipeline-schema.ts';
import type { HandoffChoice } from '../contracts/handoff.ts';
import type { SinkResult, StepSpec } from '../contracts/pipeline.ts';
import type { PlannedStep, PlanRequest, RunPlan } from '../contracts/plan.ts';
import { type PlanFacts, planSteps, type ReadPipeline } from '../policy/plan.ts';
import { enterRun, leaveRun, type Run } from '../sdk/run.ts';
import { StepGraph } from '../sdk/step-graph.ts';

/** What a sink is to give back instead of loading anything; what is left out is 0, `recorded` or the step's own. */
export type GivenResults = Readonly<Record<string, Partial<SinkResult>>>;

export interface RecordOptions {
  /** Name of the pipeline in plans and messages. @defaultValue the function's name */
  readonly name?: string;
  /** Results of sinks, by step. */
  readonly results?: GivenResults;
  readonly facts: PlanFacts;
}

/** What a workflow did, without any engine or server. */
export interface RecordedRun<T> {
  /** What the workflow returned. */
  readonly result: T;
  /** Steps that sinks needed, sources before readers, as they were planned. */
  readonly steps: readonly PlannedStep[];
  /** One plan for each group of sinks that were called together. */
  readonly plans: readonly RunPlan[];
  readonly warnings: readonly string[];
}

class RecordingRun implements Run {
  readonly plans: RunPlan[] = [];
  readonly #options: RecordOptions;
  readonly #graph: StepGraph;
  readonly #decided: Record<string, HandoffChoice> = {};

  constructor(name: string, options: RecordOptions) {
    this.#options = options;
    this.#graph = new StepGraph(async (sinks, steps) => {
      this.#plan({ kind: 'steps', pipeline: name, steps, sinks, decided: this.#decided });
      return sinks.map(async (sink) => this.#resultOf(steps.find(({ step }) => step === sink)!));
    });
  }

  add(step: StepSpec): void {
    this.#graph.add(step);
  }

  sink(step: StepSpec): Promise<SinkResult> {
    const result = this.#graph.sink(step);
    result.catch(() => undefined); // whoever awaits it hears of it
    return result;
  }

  async pipeline(job: unknown): Promise<SinkResult[]> {
    const { sinks, steps } = this.#plan({ kind: 'job', job });
    return sinks.map((sink) => this.#resultOf(steps.find(({ step }) => step === sink)!));
  }

  /** Steps that no sink read. */
  get unread(): string[] {
    const planned = new Set(this.plans.flatMap((plan) => plan.steps.map(({ step }) => step)));
    return this.#graph.steps
      .filter(({ step }) => !planned.has(step))
      .map(({ step, verb }) => `${verb}('${step}') was never read: no sink needs its rows, so they are not computed.`);
  }

  #plan(request: PlanRequest): ReadPipeline {
    const pipeline = readPipeline(request);
    const plan = planSteps(pipeline, this.#options.facts);
    this.plans.push(plan);
    for (const { step, handoff } of plan.steps) if (handoff) this.#decided[step] = handoff;
    return pipeline;
  }

  #resultOf(step: StepSpec): SinkResult {
    const where = step.verb === 'postgres.load' ? { table: step.into } : step.verb === 'write.parquet' || step.verb === 'write.arrow' ? { path: step.path } : {}; // prettier-ignore
    const given = this.#options.results?.[step.step];
    return { step: step.step, rows: 0, bytes: 0, mode: 'recorded', because: 'no engine ran', ...where, ...given };
  }
}

/**
 * Runs a workflow function with verbs that record: steps are checked and planned as a worker would, nothing is computed, and sinks
 * give back what `results` says. One run at a time in a process. Temporal's own calls (timers, signals, activities) are not there.
 *
 * @throws SpillwayError `InvalidInput` for steps that cannot be had; what the workflow itself throws
 */
export async function recordWorkflow<Args extends unknown[], T>(
  workflow: (...args: Args) => Promise<T>,
  args: Args,
  options: RecordOptions,
): Promise<RecordedRun<T>> {
  const run = new RecordingRun(options.name ?? workflow.name, options);
  enterRun(run);
  try {
    const result = await workflow(...args);
    // Sinks that were called last and not awaited.
    await new Promise((resolve) => setImmediate(resolve));
    const warnings = [...run.plans.flatMap((plan) => plan.warnings), ...run.unread];
    // A step that two sinks read was planned with each.
    const steps = new Map(run.plans.flatMap((plan) => plan.steps.map((step) => [step.step, step] as const)));
    return { result, steps: [...steps.values()], plans: run.plans, warnings };
  } finally {
    leaveRun(run);
  }
}

/** What tests of pipelines import as `spillway/testing`. */
import { readPipeline } from '../config/pipeline-schema.ts';
import type { PipelineSpec } from '../contracts/pipeline.ts';
import type { RunPlan } from '../contracts/plan.ts';
import { type PlanFacts, planSteps } from '../policy/plan.ts';
import { GiB, MiB } from '../policy/sizes.ts';
import { type GivenResults, type RecordedRun, recordWorkflow } from './recorded-run.ts';

export type { GivenResults, RecordedRun } from './recorded-run.ts';

/** A pool of 16 GiB with one Trino and one PostgreSQL. */
const FACTS: PlanFacts = {
  pool: 'test',
  lendableBytes: 16 * GiB,
  lentBytes: 0,
  otherHeavy: false,
  rungSizes: { kind: 'share', S: 1 / 16, M: 1 / 4, L: 1 / 2 },
  lightStepBytes: 256 * MiB,
  stepScratchBytes: 10 * GiB,
  trino: { default: { queryBytes: 2 * GiB, resident: true } },
  postgres: ['default'],
  searchAttributes: false,
};

/**
 * Checks and plans a pipeline as a worker would, without a server: what would be lent, where each step would run, and why.
 *
 * @example expect(planPipeline(job).steps.map((step) => step.taskQueue)).toEqual(['test.heavy', 'test.heavy', 'test.light']);
 * @throws SpillwayError `InvalidInput` with all that is wrong
 */
export const planPipeline = (pipeline: PipelineSpec, facts: Partial<PlanFacts> = {}): RunPlan =>
  planSteps(readPipeline({ kind: 'job', job: pipeline }), { ...FACTS, ...facts });

/**
 * Runs a workflow function without any server or engine: its steps are checked and planned, and its sinks give back `results`.
 *
 * @example
 * const run = await runRecorded(dailyRevenue, [{ since: '1998-01-01' }], { results: { publish: { rows: 7 } } });
 * expect(run.steps.map(({ step }) => step)).toEqual(['lines', 'daily', 'publish']);
 * expect(run.result.rows).toBe(7);
 */
export const runRecorded = <Args extends unknown[], T>(
  workflow: (...args: Args) => Promise<T>,
  args: Args,
  { results = {}, facts = {} }: { results?: GivenResults; facts?: Partial<PlanFacts> } = {},
): Promise<RecordedRun<T>> => recordWorkflow(workflow, args, { results, facts: { ...FACTS, ...facts } });

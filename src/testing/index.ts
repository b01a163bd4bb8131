/** What tests of pipelines import as `spillway/testing`. */
import { readPipeline } from '../config/pipeline-schema.ts';
import type { PipelineSpec } from '../contracts/pipeline.ts';
import type { RunPlan } from '../contracts/plan.ts';
import { type PlanFacts, planSteps } from '../policy/plan.ts';
import { GiB, MiB } from '../policy/sizes.ts';

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

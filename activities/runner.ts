import { readFile } from 'node:fs/promises';
import type { PoolClient } from './pool-client.ts';
import type { ResolvedConfig } from '../src/config/resolved.ts';
import { readPipeline } from '../src/config/pipeline-schema.ts';
import type { StepSpec } from '../src/contracts/pipeline.ts';
import type { RunPlan } from '../src/contracts/plan.ts';
import type { RunnerActivities } from '../src/contracts/steps.ts';
import { checkpointsOf } from '../src/handoff/checkpoint-fingerprint.ts';
import { planFacts } from '../src/config/plan-facts.ts';
import { planSteps } from '../src/policy/plan.ts';
import { asFailure } from './leased.ts';

export interface RunnerDeps {
  config: ResolvedConfig;
  pool: PoolClient;
  /** Whether the namespace has our search attributes. */
  searchAttributes: boolean;
  /** Room on the host's tmpfs, in bytes. */
  shmFreeBytes: () => Promise<number>;
  /** Names of the registered transforms; absent where they are not known, and not checked before they run. */
  transforms?: readonly string[];
}

/** A run that is planned without what earlier ones used may climb from rung to rung: worth waiting for a pool that is busy. */
const HISTORIES_MS = 10_000;

/** Local activities of every run: the recorded decisions, and what is said to the pool. */
export function createRunnerActivities({
  config,
  pool,
  searchAttributes,
  shmFreeBytes,
  transforms,
}: RunnerDeps): RunnerActivities {
  return {
    async planRun(request) {
      try {
        const pipeline = readPipeline(request);
        const [status, histories, shmFree] = await Promise.all([
          pool.status(config.pool.name),
          pool.histories(config.pool.name, pipeline.name, HISTORIES_MS),
          shmFreeBytes(),
        ]);
        const facts = {
          ...planFacts(config, status),
          shmFreeBytes: shmFree,
          ...(histories && { histories }),
          searchAttributes,
          ...(transforms && { transforms }),
        };
        const plan = planSteps(pipeline, facts);
        if (histories === undefined)
          plan.warnings.push(
            `pool ${config.pool.name} does not say what earlier runs used, so nothing is sized by them`,
          );
        return withCheckpoints(plan, pipeline.steps, config.transforms);
      } catch (error) {
        throw asFailure(error);
      }
    },
    acquire: ({ pool: name, ask }) => pool.acquire(name, ask),
    endLeases: ({ pool: name, ends }) => pool.end(name, ends),
    withdrawLeases: ({ pool: name, withdraws }) => pool.withdraw(name, withdraws),
  };
}

async function withCheckpoints(plan: RunPlan, steps: StepSpec[], transforms: string | undefined): Promise<RunPlan> {
  const module = transforms === undefined ? undefined : await readFile(transforms, 'utf8').catch(() => undefined);
  const checkpoints = checkpointsOf(steps, module);
  if (checkpoints.size === 0) return plan;
  return {
    ...plan,
    steps: plan.steps.map((step) => {
      const checkpoint = checkpoints.get(step.step);
      return checkpoint ? { ...step, checkpoint } : step;
    }),
  };
}

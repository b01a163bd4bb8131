import type { PlannedStep, RunPlan } from '../../src/contracts/plan.ts';
import { TaskQueue, type Weight } from '../../src/contracts/pool.ts';
import { GiB } from '../../src/policy/sizes.ts';

/** What a run of the bench is told to do. */
export interface StepJob {
  /** Steps, one after the other, each reading the one before. */
  readonly steps: number;
  readonly charge: PlannedStep['charge'];
  readonly weight: Weight;
  /** Milliseconds that a step's body takes. */
  readonly workMs: number;
}

/** What each step asks for; ten of them fit into {@link POOL_BYTES}. */
export const LEASE_BYTES = GiB;
/** What the pool of the bench lends. */
export const POOL_BYTES = 10 * GiB;
export const POOL = 'bench';

/** A plan as the planner makes them, of steps that do nothing. */
export function stepPlan(job: StepJob): RunPlan {
  const names = Array.from({ length: job.steps }, (_, index) => `step${String(index).padStart(3, '0')}`);
  const steps = names.map((step, index): PlannedStep => {
    const before = names[index - 1];
    return {
      step,
      spec: {
        step,
        verb: 'datafusion.sql',
        from: before === undefined ? {} : { rows: before },
        sql: `-- ${job.workMs} ms`,
      },
      weight: job.weight,
      taskQueue: job.weight === 'heavy' ? TaskQueue.heavy(POOL) : TaskQueue.light(POOL),
      charge: job.charge,
      rungs: [{ name: 'declared', bytes: LEASE_BYTES }],
      scratchBytes: 0,
      priority: 3,
      needs: before === undefined ? [] : [before],
      handoff: { mode: 'arrow', because: 'a step of the bench writes nothing' },
      startToCloseMs: 60_000,
      heartbeatMs: 20_000,
      maximumAttempts: 4,
      initialIntervalMs: 1_000,
      engine: 'nothing',
      because: 'the bench asks for it',
    };
  });
  return { planVersion: 1, pool: POOL, steps, sinks: [names.at(-1)!], warnings: [], searchAttributes: true };
}

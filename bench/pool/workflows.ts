import { proxyActivities } from '@temporalio/workflow';
import { runPipeline } from '../../src/sdk/index.ts';
import type { StepJob } from './step-plan.ts';
import type { PlainActivities } from './stage.ts';

/** Steps run by our runner, with leases or without: what users' workflows run on. */
export async function runnerSteps(job: StepJob): Promise<void> {
  await runPipeline(job);
}

/** The same steps as plain Temporal code. */
export async function plainSteps({
  steps,
  taskQueue,
  workMs,
}: {
  steps: number;
  taskQueue: string;
  workMs: number;
}): Promise<void> {
  const { plainStep } = proxyActivities<PlainActivities>({
    taskQueue,
    startToCloseTimeout: '1 minute',
    heartbeatTimeout: '20 seconds',
  });
  for (let step = 0; step < steps; step += 1) await plainStep({ workMs });
}

import type { StepActivities } from '../src/contracts/steps.ts';
import { createDatafusionActivities } from './datafusion.ts';
import type { ActivityDeps } from './deps.ts';
import { createFileActivities } from './files.ts';
import { createPostgresActivities } from './postgres.ts';
import { createTransformActivities } from './transform.ts';
import { createTrinoActivities } from './trino.ts';

export { createControlActivities, type ControlDeps } from './control.ts';
export { createRunnerActivities, type RunnerDeps } from './runner.ts';
export { PoolClient } from './pool-client.ts';
export type { ActivityDeps, StepEngines } from './deps.ts';

/** Activities of steps, for the heavy and the light queue. */
export const createActivities = (deps: ActivityDeps): StepActivities => ({
  ...createTrinoActivities(deps),
  ...createDatafusionActivities(deps),
  ...createTransformActivities(deps),
  ...createFileActivities(deps),
  ...createPostgresActivities(deps),
});

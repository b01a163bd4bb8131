import type { StepActivities } from '../src/contracts/steps.ts';
import { createDatafusionActivities } from './datafusion.ts';
import type { ActivityDeps } from './deps.ts';
import { createTransformActivities } from './transform.ts';
import { createTrinoActivities } from './trino.ts';

export { createControlActivities, type ControlDeps } from './control.ts';
export { createRunnerActivities, type RunnerDeps } from './runner.ts';
export { PoolClient } from './pool-client.ts';
export type { ActivityDeps, StepEngines } from './deps.ts';

/** Activities whose code, Arrow with it, is loaded for the first step that needs it: a worker polls that much sooner. */
function loadedLater<K extends keyof StepActivities>(
  names: readonly K[],
  load: () => Promise<Pick<StepActivities, K>>,
): Pick<StepActivities, K> {
  const later =
    (name: K): StepActivities[K] =>
    async (request) =>
      (await load())[name](request);
  return Object.fromEntries(names.map((name) => [name, later(name)])) as Pick<StepActivities, K>;
}

/** Activities of steps, for the heavy and the light queue. */
export const createActivities = (deps: ActivityDeps): StepActivities => ({
  ...createTrinoActivities(deps),
  ...createDatafusionActivities(deps),
  ...createTransformActivities(deps),
  ...loadedLater(['readFiles', 'writeFiles'], async () => (await import('./files.ts')).createFileActivities(deps)),
  ...loadedLater(['postgresLoad', 'postgresSql'], async () =>
    (await import('./postgres.ts')).createPostgresActivities(deps),
  ),
});

import type { Proof } from '../src/contracts/pool.ts';
import { runSource, stepSource, tokenOfSource } from '../src/engines/trino/attempt-names.ts';
import type { Trino } from '../src/engines/trino/trino-port.ts';
import { dropRunTables } from '../src/engines/trino/lake-tables.ts';
import { killQueries } from '../src/engines/trino/kill.ts';
import { removeAttempts, removeRun } from '../src/engines/postgres/janitor.ts';
import { endTransforms, transformsOf } from '../src/engines/transform/transform-processes.ts';
import type { ActivityDeps } from './deps.ts';

/** What was found of a step or run and removed. */
export interface Removed {
  containers: number;
  queries: number;
  loads: number;
  transforms: number;
}

type Deps = Pick<ActivityDeps, 'config' | 'engines'>;

/** Removes everything outside that carries a step's name and at most this token; what a later attempt made stays. */
export async function removeAttempt(deps: Deps, of: { run: string; step: string; token: number }): Promise<Removed> {
  const { containers } = deps.engines;
  const found = await containers.listByLabels({ 'spillway.run': of.run, 'spillway.step': of.step });
  const ours = found.filter(({ labels }) => Number(labels['spillway.token']) <= of.token);
  for (const { labels } of ours) {
    await containers.removeByLabels({
      'spillway.run': of.run,
      'spillway.step': of.step,
      'spillway.token': labels['spillway.token'] ?? '',
    });
  }
  const transforms = await endTransforms({ run: of.run, step: of.step, upToToken: of.token });
  await containers.removeGroups(deps.config.pool.name, of);
  await deps.engines.transformGroups.removeUpTo(deps.config.pool.name, of);
  const queries = await eachTrino(deps, async (trino) => {
    const running = await trino.queriesBySource(stepSource(of));
    return killQueries(
      trino,
      running.filter(({ source }) => (tokenOfSource(source) ?? Infinity) <= of.token),
    );
  });
  const loads = await eachPostgres(deps, (name) =>
    removeAttempts(deps.engines.postgres(name), { run: of.run, step: of.step, belowToken: of.token + 1 }),
  );
  await deps.engines.scratch.dropLowerTokens({ ...of, token: of.token + 1 });
  await deps.engines.scratch.dropBeside(of);
  return { containers: ours.length, queries, loads, transforms };
}

/** Removes everything outside that carries a run's name. */
export async function removeWholeRun(deps: Deps, run: string): Promise<Removed & { bytes: number }> {
  const containers = await deps.engines.containers.removeByLabels({ 'spillway.run': run });
  const ofTransforms = transformsOf({ run });
  const transforms = await endTransforms({ run });
  for (const attempt of ofTransforms) await deps.engines.transformGroups.removeUpTo(deps.config.pool.name, attempt);
  const queries = await eachTrino(deps, (trino) => trino.killBySource(runSource(run)));
  await Promise.all(
    Object.entries(deps.config.trino).map(([name, { lakeCatalog }]) =>
      dropRunTables(deps.engines.trino(name), lakeCatalog, run).catch(ignoreUnreachable(0)),
    ),
  );
  const loads = await eachPostgres(deps, (name) => removeRun(deps.engines.postgres(name), { run }));
  const { bytes } = await deps.engines.scratch.dropRun(run);
  return { containers: containers.length, queries, loads, transforms, bytes };
}

/** Proof that nothing carries a lease any more, taken after everything was removed and looked for again. */
export async function proveGone(deps: Deps, of: { run: string; step: string; token: number }): Promise<Proof> {
  const left = (
    await deps.engines.containers.listByLabels({ 'spillway.run': of.run, 'spillway.step': of.step })
  ).filter(({ labels }) => Number(labels['spillway.token']) <= of.token);
  if (left.length > 0) throw new Error(`container ${left[0]!.name} is still there`);
  const [process] = transformsOf({ run: of.run, step: of.step, upToToken: of.token });
  if (process) throw new Error(`process ${process.process.pid} of the transform is still there`);
  return { kind: 'exited', atMs: Date.now(), bytesLeft: 0 };
}

/** An engine that is not reachable runs nothing of ours that could be stopped from here; its own time limits end what is left. */
async function eachTrino(deps: Deps, act: (trino: Trino) => Promise<number>): Promise<number> {
  const counts = await Promise.all(
    Object.keys(deps.config.trino).map((name) => act(deps.engines.trino(name)).catch(ignoreUnreachable(0))),
  );
  return counts.reduce((sum, count) => sum + count, 0);
}

async function eachPostgres(deps: Deps, act: (name: string) => Promise<unknown[]>): Promise<number> {
  const lists = await Promise.all(
    Object.keys(deps.config.postgres).map((name) => act(name).catch(ignoreUnreachable([]))),
  );
  return lists.flat().length;
}

const ignoreUnreachable =
  <T>(instead: T) =>
  (error: unknown): T => {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'EngineUnreachable' || code === 'TargetUnreachable') return instead;
    throw error;
  };

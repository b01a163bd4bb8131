import { attemptName, safeName } from '../../handoff/attempt.ts';
import type { Attempt } from '../../handoff/attempt.ts';

/** Source of a query that an attempt runs: `spillway/<run>/<step>/<token>`. */
export function attemptSource(attempt: Attempt): string {
  return `${stepSource(attempt)}${attempt.token}`;
}

/** What the sources of all attempts of a step begin with. Ends in `/`, so that step `a` does not find step `ab`. */
export function stepSource({ run, step }: Pick<Attempt, 'run' | 'step'>): string {
  return `${runSource(run)}${safeName(step)}/`;
}

/** What the sources of all attempts of a run begin with. */
export function runSource(run: string): string {
  return `spillway/${safeName(run)}/`;
}

/** Token of an attempt's source; undefined when it is not one of an attempt. */
export function tokenOfSource(source: string): number | undefined {
  const token = /\/(\d+)$/.exec(source)?.[1];
  return token === undefined ? undefined : Number(token);
}

/** Table that an attempt unloads through; it lives only as long as the unload. */
export function attemptTable(attempt: Attempt): string {
  return `${runTables(attempt.run)}${attemptName(attempt)}`;
}

/** What the names of all tables of a run begin with. */
export function runTables(run: string): string {
  return `${safeName(run)}.`;
}

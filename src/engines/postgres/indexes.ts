import { quoteIdentifier, quoteTable, stagingIndex } from './identifiers.ts';
import type { IndexSpec } from '../../contracts/pipeline.ts';
import type { PlannedIndex, StagedTable } from './load-plan.ts';
import type { Session } from './session.ts';
import { SHARE_MAINTENANCE_MEMORY } from './sql.ts';

/** The key and the indexes that were asked for. */
export function plannedIndexes(key: readonly string[], indexes: readonly IndexSpec[]): PlannedIndex[] {
  const planned: PlannedIndex[] = indexes.map(({ columns, unique = false }) => ({ columns, unique, primary: false }));
  return key.length > 0 ? [{ columns: key, unique: true, primary: true }, ...planned] : planned;
}

/** What is wrong with them, in words that follow the table's name; `names` are the columns of the rows. */
export function problemsOfIndexes(
  names: readonly string[],
  key: readonly string[],
  indexes: readonly IndexSpec[],
): string[] {
  const asked = indexes.map(({ columns }, index) => ({ what: `indexes[${index}]`, columns }));
  if (key.length > 0) asked.unshift({ what: 'key', columns: [...key] });
  return asked.flatMap(({ what, columns }) => [
    ...(columns.length === 0 ? [`${what} names no column.`] : []),
    ...columns
      .filter((name) => !names.includes(name))
      .map((name) => `${what} names "${name}", which is no column of the rows (${names.join(', ')}).`),
    ...(new Set(columns).size !== columns.length ? [`${what} names a column twice.`] : []),
  ]);
}

const nameOf = (plan: StagedTable, index: PlannedIndex): string =>
  quoteIdentifier(stagingIndex(plan.attempt, plan.indexes.indexOf(index)));

async function build(session: Session, plan: StagedTable, index: PlannedIndex): Promise<void> {
  const what = index.using ?? `(${index.columns.map(quoteIdentifier).join(', ')})`;
  await session.run(
    `create ${index.unique ? 'unique ' : ''}index ${nameOf(plan, index)} on ${quoteTable(plan.staging)} ${what}`,
  );
}

/** Makes keys and constraints of the indexes that are theirs: with the index there it takes a moment. */
async function constrain(session: Session, plan: StagedTable): Promise<void> {
  for (const index of plan.indexes.filter(({ primary, constraint }) => primary || constraint)) {
    const kind = index.primary ? 'primary key' : 'unique';
    const name = nameOf(plan, index);
    await session.run(`alter table ${quoteTable(plan.staging)} add constraint ${name} ${kind} using index ${name}`);
  }
}

/** Builds the key and the indexes on the staging table, one after the other, in the transaction that `session` is in. */
export async function buildIndexes(session: Session, plan: StagedTable): Promise<void> {
  for (const index of plan.indexes) await build(session, plan, index);
  await constrain(session, plan);
}

/**
 * Builds them on a committed staging table, over several connections at one time: a build keeps others from writing, not from building. They share the
 * `maintenance_work_mem` of one. Fails with the first that fails; whoever ends the attempt ends the others.
 */
export async function buildIndexesOver(sessions: readonly Session[], plan: StagedTable): Promise<void> {
  const due = [...plan.indexes];
  const builders = sessions.slice(0, due.length);
  await Promise.all(
    builders.map(async (session) => {
      await session.query(SHARE_MAINTENANCE_MEMORY, [builders.length]);
      for (let index = due.shift(); index; index = due.shift()) await build(session, plan, index);
    }),
  );
  await constrain(sessions[0]!, plan); // a key locks out what else is being built
}

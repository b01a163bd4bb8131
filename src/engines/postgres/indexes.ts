import { quoteIdentifier, quoteTable, stagingIndex } from './identifiers.ts';
import type { LoadPlan, PlannedIndex } from './load-plan.ts';
import type { Session } from './session.ts';
import { SHARE_MAINTENANCE_MEMORY } from './sql.ts';

const nameOf = (plan: LoadPlan, index: PlannedIndex): string =>
  quoteIdentifier(stagingIndex(plan.attempt, plan.indexes.indexOf(index)));

async function build(session: Session, plan: LoadPlan, index: PlannedIndex): Promise<void> {
  const what = index.using ?? `(${index.columns.map(quoteIdentifier).join(', ')})`;
  await session.run(
    `create ${index.unique ? 'unique ' : ''}index ${nameOf(plan, index)} on ${quoteTable(plan.staging)} ${what}`,
  );
}

/** Makes keys and constraints of the indexes that are theirs: with the index there it takes a moment. */
async function constrain(session: Session, plan: LoadPlan): Promise<void> {
  for (const index of plan.indexes.filter(({ primary, constraint }) => primary || constraint)) {
    const kind = index.primary ? 'primary key' : 'unique';
    const name = nameOf(plan, index);
    await session.run(`alter table ${quoteTable(plan.staging)} add constraint ${name} ${kind} using index ${name}`);
  }
}

/** Builds the key and the indexes on the staging table, one after the other, in the transaction that `session` is in. */
export async function buildIndexes(session: Session, plan: LoadPlan): Promise<void> {
  for (const index of plan.indexes) await build(session, plan, index);
  await constrain(session, plan);
}

/**
 * Builds them on a committed staging table, over several connections at one time: a build keeps others from writing, not from building. They share the
 * `maintenance_work_mem` of one. Fails with the first that fails; whoever ends the attempt ends the others.
 */
export async function buildIndexesOver(sessions: readonly Session[], plan: LoadPlan): Promise<void> {
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

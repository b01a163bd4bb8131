import { quoteIdentifier, quoteTable, stagingIndex } from './identifiers.ts';
import type { LoadPlan, PlannedIndex } from './load-plan.ts';
import type { Session } from './session.ts';
import { SHARE_MAINTENANCE_MEMORY } from './sql.ts';

/** An index of the plan, and its place there: its name on the staging table is made of it. */
interface Build {
  readonly index: PlannedIndex;
  readonly name: string;
  readonly list: string;
}

const buildsOf = (plan: LoadPlan): Build[] =>
  plan.indexes.map((index, place) => ({
    index,
    name: quoteIdentifier(stagingIndex(plan.attempt, place)),
    list: index.columns.map(quoteIdentifier).join(', '),
  }));

/** Builds the key and the indexes on the staging table, one after the other, in the transaction that `session` is in. */
export async function buildIndexes(session: Session, plan: LoadPlan): Promise<void> {
  const staging = quoteTable(plan.staging);
  for (const { index, name, list } of buildsOf(plan)) {
    await session.run(
      index.primary
        ? `alter table ${staging} add constraint ${name} primary key (${list})`
        : `create ${index.unique ? 'unique ' : ''}index ${name} on ${staging} (${list})`,
    );
  }
}

/**
 * Builds them on a committed staging table, over several connections at one time: a build keeps others from writing, not from building. They share the
 * `maintenance_work_mem` of one. Fails with the first that fails; whoever ends the attempt ends the others.
 */
export async function buildIndexesOver(sessions: readonly Session[], plan: LoadPlan): Promise<void> {
  const staging = quoteTable(plan.staging);
  const builds = buildsOf(plan);
  const due = [...builds];
  const builders = sessions.slice(0, builds.length);
  await Promise.all(
    builders.map(async (session) => {
      await session.query(SHARE_MAINTENANCE_MEMORY, [builders.length]);
      for (let build = due.shift(); build; build = due.shift()) {
        const unique = build.index.unique ? 'unique ' : '';
        await session.run(`create ${unique}index ${build.name} on ${staging} (${build.list})`);
      }
    }),
  );
  // The key would lock out the other builds while its index is made; with the index there it takes a moment.
  const key = builds.find(({ index }) => index.primary);
  if (key)
    await sessions[0]!.run(`alter table ${staging} add constraint ${key.name} primary key using index ${key.name}`);
}

import { SpillwayError } from '../../contracts/errors.ts';
import type { AttemptName, TableName } from './identifiers.ts';
import { indexName, LEDGER_SCHEMA, quoteIdentifier, quoteTable, showTable, stagingIndex } from './identifiers.ts';
import type { StagedTable } from './load-plan.ts';
import type { Session } from './session.ts';
import { LOCK_CREATION, SCHEMA_EXISTS } from './sql.ts';
import { inspectTarget } from './target.ts';
import { withTargetAlone } from './target-lock.ts';
import { DEFAULT_RIGHTS, INHERIT_RIGHTS, NAMES_IN_SCHEMA } from './target-sql.ts';

/** Locks the table that is replaced. Answers its oid, undefined: none exists. */
const lockTarget = (session: Session, plan: StagedTable, signal: AbortSignal): Promise<string | undefined> =>
  withTargetAlone(session, plan, signal, async () => {
    const existing = await inspectTarget(session, plan.target, [], []);
    if (!existing) return { done: undefined };
    await session.run(`lock table ${quoteTable(plan.target)} in access exclusive mode`);
    // Looked at again under the lock: a view or a trigger may have come since the plan was made.
    const locked = await inspectTarget(session, plan.target, [], []);
    return locked?.oid === existing.oid ? { done: locked.oid } : undefined;
  });

export const runAll = async (session: Session, statements: readonly { statement: string }[]): Promise<void> => {
  for (const { statement } of statements) await session.run(statement);
};

/**
 * Puts the staging table in the target's place, inside the transaction that publishes: same name, rights, owner and comments,
 * indexes named after the table. The old table is dropped, never with what depends on it.
 */
export async function swap(session: Session, plan: StagedTable, signal: AbortSignal): Promise<void> {
  const { target, staging } = plan;
  const old = await lockTarget(session, plan, signal);
  if (old !== undefined && plan.write !== 'replace')
    throw new SpillwayError('LoadInterrupted', `${showTable(target)} was made by somebody else meanwhile. Nothing was published; the next attempt adds its rows to it.`); // prettier-ignore
  if (old === undefined) {
    await createSchema(session, target.schema);
  }
  const columns = plan.table.columns.map(({ name }) => name);
  const name = quoteTable(target);
  const rights =
    old === undefined
      ? await session.query<{ statement: string }>(DEFAULT_RIGHTS, [target.schema, name])
      : await session.query<{ statement: string }>(INHERIT_RIGHTS, [old, name, columns]);
  if (old !== undefined) await session.run(`drop table ${name}`);
  // Schema first, and a name that cannot be taken there; then the name.
  await session.run(`alter table ${quoteTable(staging)} set schema ${quoteIdentifier(target.schema)}`);
  const moved: TableName = { schema: target.schema, table: staging.table };
  await session.run(`alter table ${quoteTable(moved)} rename to ${quoteIdentifier(target.table)}`);
  await renameIndexes(session, plan.attempt, target, plan);
  await runAll(session, rights);
}

/** Makes the target's schema; several loads may need it in the same moment. */
async function createSchema(session: Session, schema: string): Promise<void> {
  await session.run(`set local lock_timeout = '10s'`);
  await session.query(LOCK_CREATION);
  // Reads the catalogue, and so learns what was committed while it waited: `if not exists` alone trusts its cache.
  const [{ there } = { there: false }] = await session.query<{ there: boolean }>(SCHEMA_EXISTS, [schema]);
  if (!there) await session.run(`create schema ${quoteIdentifier(schema)}`);
}

/** Names the indexes of a table that has come out of staging as the server would. */
export async function renameIndexes(
  session: Session,
  attempt: AttemptName,
  target: TableName,
  plan: StagedTable,
): Promise<void> {
  const taken = new Set(
    (await session.query<{ name: string }>(NAMES_IN_SCHEMA, [target.schema])).map(({ name }) => name),
  );
  for (const [index, { columns, unique, primary }] of plan.indexes.entries()) {
    const name = primary
      ? indexName(target.table, [], 'pkey', taken)
      : indexName(target.table, columns, unique ? 'key' : 'idx', taken);
    taken.add(name);
    const current: TableName = { schema: target.schema, table: stagingIndex(attempt, index) };
    await session.run(`alter index ${quoteTable(current)} rename to ${quoteIdentifier(name)}`);
  }
}

/** Where staging tables are: beside the ledger, in no publication that a schema's tables are in. */
export const stagingName = (table: string): TableName => ({ schema: LEDGER_SCHEMA, table });

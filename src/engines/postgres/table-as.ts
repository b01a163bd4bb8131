import { SpillwayError } from '../../contracts/errors.ts';
import type { IndexSpec } from '../../contracts/pipeline.ts';
import { quoteIdentifier, quoteTable, showTable, type TableName } from './identifiers.ts';
import { buildIndexes, plannedIndexes, problemsOfIndexes } from './indexes.ts';
import type { Claim } from './ledger.ts';
import type { StagedTable } from './load-plan.ts';
import { stagingName } from './publish.ts';
import type { Session } from './session.ts';
import { inspectTarget, readColumns } from './target.ts';

/** The table that a statement's rows replace. */
export interface StatementTarget {
  readonly table: TableName;
  readonly key: readonly string[];
  readonly indexes: readonly IndexSpec[];
}

/** A table that was made of a statement, ready to be put in the target's place. */
export interface TableMade {
  readonly rows: number;
  readonly staged: StagedTable;
  readonly warnings: readonly string[];
}

/**
 * Makes a table beside the target of what a SELECT gives, with its key and indexes, inside the transaction that publishes.
 * @throws SpillwayError `LoadRefused` when the target may not be replaced, or the key or an index names no column of the rows
 */
export async function createTableAs(
  session: Session,
  claim: Claim,
  { table: target, key, indexes }: StatementTarget,
  sql: string,
): Promise<TableMade> {
  const existing = await inspectTarget(session, target, key, indexes);
  const staging = stagingName(claim.staging);
  const name = quoteTable(staging);
  const rows = await underOwnPath(session, () =>
    session.runAlone(`create table ${name} as ${sql.replace(/;\s*$/, '')}`),
  );
  const [made] = await session.query<{ oid: string }>('select to_regclass($1)::oid::int8::text as oid', [name]);
  const columns = await readColumns(session, made!.oid);
  const names = columns.map((column) => column.name);
  const problems = problemsOfIndexes(names, key, indexes);
  if (problems.length > 0)
    throw new SpillwayError('LoadRefused', `The rows cannot replace ${showTable(target)}: ${problems.join(' ')}`, {
      details: { problems },
    });
  const notNull = key.map((column) => `alter column ${quoteIdentifier(column)} set not null`);
  if (notNull.length > 0) await session.run(`alter table ${name} ${notNull.join(', ')}`);
  const staged: StagedTable = {
    ...{ attempt: claim, target, staging, indexes: plannedIndexes(key, indexes), write: 'replace' },
    table: { columns, key, indexes, warnings: [], alterations: [] },
  };
  await buildIndexes(session, staged);
  await session.run(`analyze ${name}`);
  return { rows, staged, warnings: existing?.warnings ?? [] };
}

/** Runs what somebody else wrote inside our transaction: names without a schema are looked for where the role's `search_path` says. */
export async function underOwnPath<T>(session: Session, act: () => Promise<T>): Promise<T> {
  await session.run('set local search_path to default');
  const result = await act();
  await session.run('set local search_path to pg_catalog, pg_temp');
  return result;
}

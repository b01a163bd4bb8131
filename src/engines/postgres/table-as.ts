import type { QueryConfig } from 'pg';
import { SpillwayError } from '../../contracts/errors.ts';
import type { IndexSpec } from '../../contracts/pipeline.ts';
import { quoteIdentifier, quoteTable, showTable, type TableName } from './identifiers.ts';
import { buildIndexes } from './indexes.ts';
import type { Claim } from './ledger.ts';
import type { LoadPlan, PlannedIndex } from './load-plan.ts';
import { stagingName } from './publish.ts';
import type { Session } from './session.ts';
import { abortable } from './session.ts';
import { inspectTarget, readColumns } from './target.ts';

/** The table that a statement's rows replace. */
export interface StatementTarget {
  readonly table: TableName;
  readonly key: readonly string[];
  readonly indexes: readonly IndexSpec[];
}

/** A table that was made of a statement, ready to be put in the target's place. */
export interface TableMade {
  rows: number;
  plan: LoadPlan;
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
  signal: AbortSignal,
): Promise<TableMade> {
  const existing = await inspectTarget(session, target, key, indexes);
  const staging = stagingName(claim.staging);
  const name = quoteTable(staging);
  await session.run('set local search_path to default');
  // By the extended protocol: several statements in one text are refused.
  const create: QueryConfig & { queryMode: 'extended' } = { text: `create table ${name} as ${sql.replace(/;\s*$/, '')}`, queryMode: 'extended' }; // prettier-ignore
  const { rowCount } = await abortable(session.client.query(create), signal);
  await session.run('set local search_path to pg_catalog, pg_temp');
  const [{ oid } = { oid: '' }] = await session.query<{ oid: string }>('select to_regclass($1)::oid::int8::text as oid', [name]); // prettier-ignore
  const columns = await readColumns(session, oid);
  requireColumns(target, columns.map((column) => column.name), key, indexes); // prettier-ignore
  const notNull = key.map((column) => `alter column ${quoteIdentifier(column)} set not null`);
  if (notNull.length > 0) await session.run(`alter table ${name} ${notNull.join(', ')}`);
  const planned: PlannedIndex[] = indexes.map(({ columns: of, unique = false }) => ({ columns: of, unique, primary: false })); // prettier-ignore
  if (key.length > 0) planned.unshift({ columns: key, unique: true, primary: true });
  const warnings = (existing?.lostIndexes ?? []).map(
    (lost) => `index ${lost} of the replaced table was not asked for and is gone`,
  );
  const plan: LoadPlan = {
    ...{ attempt: claim, claim, target, staging, warnings, indexes: planned, write: 'replace', intoExisting: false },
    table: { columns, key, indexes, warnings, alterations: [] },
    choice: {
      strategy: 'sql',
      because: 'one statement makes the table, and the transaction that does puts it in place',
    },
    ...{ indexOrder: 'after-logged', connections: 1, chunkBytes: 0, expectedRows: undefined },
  };
  await buildIndexes(session, plan);
  await session.run(`analyze ${name}`);
  return { rows: rowCount ?? 0, plan };
}

function requireColumns(
  target: TableName,
  names: readonly string[],
  key: readonly string[],
  indexes: readonly IndexSpec[],
): void {
  const asked = [{ what: 'key', columns: key }, ...indexes.map(({ columns }, at) => ({ what: `indexes[${at}]`, columns }))]; // prettier-ignore
  const problems = asked.flatMap(({ what, columns }) =>
    columns
      .filter((column) => !names.includes(column))
      .map((column) => `${what} names "${column}", which is no column of the rows (${names.join(', ')}).`),
  );
  if (problems.length > 0)
    throw new SpillwayError('LoadRefused', `The rows cannot replace ${showTable(target)}: ${problems.join(' ')}`, {
      details: { problems },
    });
}

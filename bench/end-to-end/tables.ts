import type { Client } from 'pg';
import { SpillwayError } from '../../src/contracts/errors.ts';
import type { Work } from './pipeline.ts';

/** Makes a schema afresh, and has the server write down what is pending, so that nobody pays for what came before. */
export async function freshSchema(postgres: Client, schema: string): Promise<void> {
  await dropSchema(postgres, schema);
  await postgres.query(`create schema ${schema}`);
  await postgres.query('checkpoint');
}

export async function dropSchema(postgres: Client, schema: string): Promise<void> {
  await postgres.query(`drop schema if exists ${schema} cascade`);
}

/** What is compared of a table: its rows, columns and indexes. */
interface TableFacts {
  rows: string;
  /** Sum of the revenue in whole units: floats are summed in any order. */
  revenue: string;
  columns: string;
  indexes: string;
}

async function factsOf(postgres: Client, schema: string, table: string): Promise<TableFacts> {
  const { rows: counted } = await postgres.query<Pick<TableFacts, 'rows' | 'revenue'>>(
    `select count(*)::text as rows, round(sum(revenue)::numeric, -1)::text as revenue from ${schema}.${table}`,
  );
  const { rows: columns } = await postgres.query<{ text: string }>(
    `select column_name || ' ' || data_type || ' ' || is_nullable as text from information_schema.columns
     where table_schema = $1 and table_name = $2 order by ordinal_position`,
    [schema, table],
  );
  const { rows: indexes } = await postgres.query<{ text: string }>(
    `select case when i.indisprimary then 'primary ' when i.indisunique then 'unique ' else '' end || pg_get_indexdef(i.indexrelid) as text
     from pg_index i where i.indrelid = ($1 || '.' || $2)::regclass`,
    [schema, table],
  );
  // Names differ; kind and columns must not.
  const shapes = indexes.map(({ text }) => text.replace(/INDEX .* USING/, 'USING')).sort();
  return { ...counted[0]!, columns: columns.map(({ text }) => text).join(', '), indexes: shapes.join('; ') };
}

/** Compares what two sides loaded and answers the rows of each table. @throws SpillwayError when they differ */
export async function sameTables(
  postgres: Client,
  work: Work,
  ours: string,
  theirs: string,
): Promise<Record<string, number>> {
  const rows: Record<string, number> = {};
  for (const { name } of work.targets) {
    const [a, b] = [await factsOf(postgres, ours, name), await factsOf(postgres, theirs, name)];
    for (const key of ['rows', 'revenue', 'columns', 'indexes'] as const) {
      if (a[key] !== b[key])
        throw new SpillwayError(
          'Unexpected',
          `The comparison is void: ${key} of ${name} differ, ours ${a[key]}, the script's ${b[key]}.`,
        );
    }
    rows[name] = Number(a.rows);
  }
  return rows;
}

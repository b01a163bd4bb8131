import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type {
  DatafusionSqlStep,
  PipelineSpec,
  PostgresLoadStep,
  StepSpec,
  TransformStep,
  WriteStep,
} from '../../src/contracts/pipeline.ts';
import { readParquetFooter } from '../../src/handoff/parquet-footer.ts';
import { datafusion, load, pairs, query, slowJob, smallJob, wideJob, wideSql } from '../integration/stack-jobs.ts';
import type { Stack } from '../integration/stack.ts';
import { trinoRows } from '../integration/stack-trino.ts';
import type { JobKind } from './chaos-plan.ts';

/** Orders on the left of the slow job: a container works some seconds. */
const LEFT = 12_000;
const COPIES = 12;

/** Called by its kind, whatever table it loads: the pool remembers what its steps used, and keeps their rows in memory next time. */
export const jobOf = (stack: Stack, kind: JobKind, table: string): PipelineSpec => ({
  ...stepsOf(stack, kind, table),
  name: kind,
});

function stepsOf(stack: Stack, kind: JobKind, table: string): PipelineSpec {
  switch (kind) {
    case 'small':
      return smallJob(stack, table);
    case 'slow':
      return slowJob(stack, table, LEFT);
    case 'wide':
      return wideJob(stack, table, COPIES, 'freeze');
    case 'wideUnlogged':
      return wideJob(stack, table, COPIES, 'unlogged');
    case 'wideParallel': {
      // By way of Arrow files: an attempt goes on with the chunks of theirs that the one before it left.
      const [lines, publish] = wideJob(stack, table, COPIES, 'parallel').steps as [StepSpec, PostgresLoadStep];
      const all = datafusion('all', 'lines', 'select * from lines');
      return { name: table, steps: [lines, all, { ...publish, from: 'all' }] };
    }
    case 'append': {
      const wide = wideJob(stack, table, COPIES, 'auto');
      const steps = wide.steps.map((step) => (step.verb === 'postgres.load' ? load(stack, 'lines', table, { write: 'append' }) : step)); // prettier-ignore
      return { ...wide, steps };
    }
    case 'transform': {
      const urgent: TransformStep = { step: 'urgent', verb: 'transform', from: 'orders', run: 'urgency' };
      const counts = 'select orderpriority, count(*) as orders from urgent group by 1';
      const steps = [query('orders', ORDERS), urgent, datafusion('counts', 'urgent', counts), load(stack, 'counts', table)]; // prettier-ignore
      return { name: table, steps };
    }
    case 'folder': {
      // A checkpoint, and one container for statements of which two read the third: a table and a folder of alike rows.
      const orders = query('orders', 'select orderkey, orderpriority, totalprice from tpch.tiny.orders', {
        checkpoint: true,
      });
      const all: DatafusionSqlStep = { step: 'all', verb: 'datafusion.sql', from: { orders: 'orders' }, sql: 'select orderpriority from orders where totalprice > 0' }; // prettier-ignore
      const counted = (step: string): StepSpec => datafusion(step, 'all', 'select orderpriority, count(*) as orders from all group by 1'); // prettier-ignore
      const out: WriteStep = { step: 'out', verb: 'write.parquet', from: 'filed', directory: 'lake', path: table };
      return { name: table, steps: [orders, all, counted('counted'), counted('filed'), load(stack, 'counted', table), out] }; // prettier-ignore
    }
    case 'whole': {
      // All that can be lent: rows that others keep in memory go to disk, and Trino is asked for what it keeps.
      const counted = datafusion('counted', 'orders', 'select orderpriority, count(*) as orders from orders group by 1', { profile: 'whole' }); // prettier-ignore
      return { name: table, steps: [query('orders', ORDERS), counted, load(stack, 'counted', table)] };
    }
    case 'light':
      return { name: table, steps: [query('orders', ORDERS), load(stack, 'orders', table, { key: ['orderkey'] })] };
  }
}
const ORDERS = 'select orderkey, orderpriority from tpch.tiny.orders';

/** Makes what a job needs before it runs. */
export async function prepare(stack: Stack, kind: JobKind, table: string): Promise<void> {
  if (kind !== 'append') return;
  await stack.sql(`create schema if not exists ${stack.schema}`);
  await stack.sql(`drop table if exists ${stack.schema}.${table}`); // of a seed that was interrupted
  await stack.sql(
    `create table ${stack.schema}.${table} (orderkey bigint, linenumber integer, copy bigint, extendedprice float8, shipdate date, comment text)`,
  );
}

/** What a table holds, in one line: rows, and sums that tell a row too many from one too few. */
const DIGEST: Record<JobKind, string> = {
  small: 'count(*), sum(orders)',
  slow: 'count(*), sum(pairs), sum(rest * pairs)',
  wide: 'count(*), sum(orderkey), sum(copy)',
  wideUnlogged: 'count(*), sum(orderkey), sum(copy)',
  wideParallel: 'count(*), sum(orderkey), sum(copy)',
  append: 'count(*), sum(orderkey), sum(copy)',
  transform: 'count(*), sum(orders)',
  light: 'count(*), sum(orderkey)',
  folder: 'count(*), sum(orders)',
  whole: 'count(*), sum(orders)',
};
const COUNTED = 'select orderpriority, count(*) as orders from tpch.tiny.orders group by 1';
const SOURCE: Record<JobKind, string> = {
  small: COUNTED,
  slow: pairs('tpch.tiny.orders', LEFT),
  wide: wideSql(COPIES),
  wideUnlogged: wideSql(COPIES),
  wideParallel: wideSql(COPIES),
  append: wideSql(COPIES),
  transform: COUNTED,
  light: ORDERS,
  folder: COUNTED,
  whole: COUNTED,
};

const wanted = new Map<JobKind, Promise<string>>();
/** What the table of a job holds once it was loaded, by Trino's own word. */
export function wantedDigest(stack: Stack, kind: JobKind): Promise<string> {
  if (!wanted.has(kind)) {
    const rows = trinoRows(stack.parts.trino.url, `select ${DIGEST[kind]} from (${SOURCE[kind]})`);
    wanted.set(
      kind,
      rows.then(([row]) => row!.map(String).join(' ')),
    );
  }
  return wanted.get(kind)!;
}

/** What the table of a job holds now; undefined when there is none, or it was made by us and is empty. */
export async function digest(stack: Stack, kind: JobKind, table: string): Promise<string | undefined> {
  const name = `${stack.schema}.${table}`;
  const [found] = await stack.sql<{ there: boolean }>(`select to_regclass('${name}') is not null as there`);
  if (!found!.there) return undefined;
  const [row] = await stack.sql<Record<string, string | null>>(`select ${numbered(DIGEST[kind])} from ${name}`);
  const values = Object.values(row!);
  return kind === 'append' && Number(values[0]) === 0 ? undefined : values.map(String).join(' ');
}

/** What is wrong with the folders that jobs wrote: one that is not whole, or something beside it. */
export async function brokenFolders(stack: Stack, kind: JobKind, table: string, completed: boolean): Promise<string[]> {
  const lake = join(stack.directory, 'lake');
  const left = readdirSync(lake).filter((name) => name.startsWith('.')).map((name) => `${name} is left in the lake`); // prettier-ignore
  if (kind !== 'folder') return left;
  const folder = join(lake, table);
  const parts = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.parquet')) : [];
  const footers = await Promise.all(parts.map((name) => readParquetFooter(join(folder, name))));
  const rows = footers.reduce((sum, footer) => sum + footer.rows, 0);
  const wanted = Number((await wantedDigest(stack, kind)).split(' ')[0]);
  const isWhole = rows === wanted || (!completed && parts.length === 0);
  rmSync(folder, { recursive: true, force: true });
  return isWhole ? left : [...left, `the folder of ${table} holds ${rows} rows, not ${wanted}`];
}

/** A name for each column: two sums are both called `sum`. */
const numbered = (list: string): string => list.split(', ').map((column, at) => `${column} as d${at}`).join(', '); // prettier-ignore

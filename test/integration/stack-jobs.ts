import type {
  DatafusionSqlStep,
  LoadStrategy,
  PipelineSpec,
  PostgresLoadStep,
  TrinoQueryStep,
} from '../../src/contracts/pipeline.ts';
import type { Stack } from './stack.ts';

/** Rows of a Trino query. */
export const query = (step: string, sql: string, more: Partial<TrinoQueryStep> = {}): TrinoQueryStep => ({
  step,
  verb: 'trino.query',
  sql,
  ...more,
});

/** Rows of a DataFusion query; tables are called as the steps they come from. */
export const datafusion = (step: string, from: string, sql: string, more: Partial<DatafusionSqlStep> = {}): DatafusionSqlStep => ({
  step, verb: 'datafusion.sql', from: { [from]: from }, sql, profile: 'S', ...more,
}); // prettier-ignore

/** A load into a table of the stack's schema. */
export const load = (stack: Stack, from: string, table: string, more: Partial<PostgresLoadStep> = {}): PostgresLoadStep => ({
  step: 'publish', verb: 'postgres.load', from, into: `${stack.schema}.${table}`, ...more,
}); // prettier-ignore

/** Trino, DataFusion, PostgreSQL in two seconds: orders by priority. */
export const smallJob = (stack: Stack, table: string): PipelineSpec => ({
  name: table,
  steps: [
    query('orders', 'select orderkey, orderpriority from tpch.tiny.orders'),
    datafusion('counted', 'orders', 'select orderpriority, count(*) as orders from orders group by 1'),
    load(stack, 'counted', table, { key: ['orderpriority'] }),
  ],
});

/** What {@link smallJob} loads, ordered. */
export const SMALL_SQL = 'select orderpriority, count(*) from tpch.tiny.orders group by 1 order by 1';

/**
 * Pairs every order whose key is at most `left` with all 15,000: work for a container that takes little memory, and time
 * in proportion to `left`. Keys go to 60,000; a quarter of the numbers are used.
 */
export const slowJob = (stack: Stack, table: string, left: number): PipelineSpec =>
  paired(stack, table, pairs('orders', left));
/** The statement of {@link slowJob}, which both engines answer alike. */
export const pairs = (orders: string, left: number): string =>
  `select (a.orderkey * b.orderkey) % 7 as rest, count(*) as pairs from ${orders} a cross join ${orders} b where a.orderkey <= ${left} group by 1`;

/** Works for hours, if nobody ends it. */
export const endlessJob = (stack: Stack, table: string): PipelineSpec =>
  paired(
    stack,
    table,
    `select (a.orderkey * b.orderkey + c.orderkey) % 7 as rest, count(*) as pairs
     from orders a cross join orders b cross join orders c group by 1`,
  );

const paired = (stack: Stack, table: string, sql: string): PipelineSpec => ({
  name: table,
  steps: [
    query('orders', 'select orderkey from tpch.tiny.orders'),
    datafusion('paired', 'orders', sql),
    load(stack, 'paired', table, { key: ['rest'] }),
  ],
});

/** Many rows from few: `rows` is in steps of 60,175, the line items of the tiny scale. */
export const wideJob = (stack: Stack, table: string, copies: number, strategy: LoadStrategy): PipelineSpec => ({
  name: table,
  steps: [
    query('lines', wideSql(copies)),
    load(stack, 'lines', table, { key: ['orderkey', 'linenumber', 'copy'], strategy }),
  ],
});
export const wideSql = (copies: number): string =>
  `select l.orderkey, l.linenumber, c.copy, l.extendedprice, l.shipdate, l.comment
   from tpch.tiny.lineitem l cross join unnest(sequence(1, ${copies})) as c (copy)`;

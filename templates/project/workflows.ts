import { datafusion, postgres, transform, trino, type SinkResult } from 'spillway/workflow';

export interface OrdersByDayInput {
  /** First order date that counts, as `1998-01-01`. */
  since: string;
}

/** Orders and their value per day: Trino reads, DataFusion aggregates, a function of our own names the days, PostgreSQL is loaded. */
export async function ordersByDay({ since }: OrdersByDayInput): Promise<SinkResult> {
  const orders = trino.query('orders', {
    sql: `select orderdate, cast(totalprice as decimal(15,2)) as totalprice
          from tpch.tiny.orders where orderdate >= date(?)`,
    params: [since],
  });
  const daily = datafusion.sql('daily', {
    from: { orders },
    sql: `select orderdate, count(*) as orders, sum(totalprice) as value from orders group by orderdate order by orderdate`,
    profile: 'S',
  });
  const named = transform('named', { from: daily, run: 'weekday', args: { column: 'orderdate' } });
  return postgres.load('publish', { from: named, into: 'mart.orders_by_day', key: ['orderdate'], write: 'replace' });
}

import { datafusion, postgres, trino, type SinkResult } from 'spillway/workflow';

export interface DailyRevenueInput {
  /** First ship date that counts, as `1998-01-01`. */
  since: string;
  strategy?: 'auto' | 'freeze' | 'unlogged';
}

/** Revenue per ship date and ship mode: Trino reads TPC-H, DataFusion aggregates, PostgreSQL is loaded. */
export async function dailyRevenue({ since, strategy = 'auto' }: DailyRevenueInput): Promise<SinkResult> {
  const lines = trino.query('lines', {
    sql: `select l.shipdate, l.shipmode, cast(l.extendedprice * (1 - l.discount) as decimal(15,2)) as revenue
          from tpch.sf1.lineitem l where l.shipdate >= date(?)`,
    params: [since],
  });
  const daily = datafusion.sql('daily', {
    from: { lines },
    sql: `select shipdate, shipmode, sum(revenue) as revenue from lines group by 1, 2 order by 1, 2`,
    profile: 'M',
  });
  return postgres.load('publish', {
    from: daily,
    into: 'mart.daily_revenue',
    key: ['shipdate', 'shipmode'],
    write: 'replace',
    strategy,
  });
}

import { datafusion, files, write } from 'spillway/workflow';

/** Sums a month of files, and leaves one folder of Parquet for each day that it runs. */
export async function monthlyRevenue({ month, day }: { month: string; day: string }) {
  const orders = files('orders', { directory: 'landing', path: `${month}/*.parquet` });
  const daily = datafusion.sql('daily', {
    from: { orders },
    sql: 'select orderdate, sum(totalprice) as revenue from orders group by orderdate',
  });
  return write.parquet('export', { from: daily, directory: 'lake', path: `revenue/${day}` });
}

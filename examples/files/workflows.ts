import { datafusion, files, mergeFiles, perPartition, sortExternal, write } from 'spillway/workflow';

/** Sums a month of files, and leaves one folder of Parquet for each day that it runs. */
export async function monthlyRevenue({ month, day }: { month: string; day: string }) {
  const orders = files('orders', { directory: 'landing', path: `${month}/*.parquet` });
  const daily = datafusion.sql('daily', {
    from: { orders },
    sql: 'select orderdate, sum(totalprice) as revenue from orders group by orderdate',
  });
  return write.parquet('export', { from: daily, directory: 'lake', path: `revenue/${day}` });
}

/** Downloads the rates of a day, one file for each bank, and gives them types. */
export async function ratesOfDay({ day, banks }: { day: string; banks: string[] }) {
  const path = banks.map((bank) => `${bank}/${day}.csv`);
  const rates = files('rates', { directory: 'rates', path, csv: { types: 'text' }, scratch: '1 GiB' });
  const typed = datafusion.sql('typed', {
    from: { rates },
    sql: 'select currency, cast(rate as decimal(18, 8)) as rate from rates',
  });
  return write.parquet('export', { from: typed, directory: 'lake', path: `rates/${day}` });
}

/** Many small files of a day become one folder of few, and one sorted folder for each country. */
export async function filesOfDay({ day, countries }: { day: string; countries: string[] }) {
  const into = { directory: 'lake', path: `orders/${day}/all` };
  await mergeFiles('merged', { directory: 'landing', path: `${day}/*.parquet`, into });
  const orders = files('orders', { directory: 'lake', path: `${into.path}/*.parquet` });
  return perPartition('of', { from: orders, by: 'country', values: countries }, (rows, country, step) => {
    const sorted = sortExternal(`${step}-sorted`, { from: rows, by: ['orderdate', { column: 'totalprice', descending: true }] }); // prettier-ignore
    return write.parquet(`${step}-out`, { from: sorted, directory: 'lake', path: `orders/${day}/${country}` });
  });
}

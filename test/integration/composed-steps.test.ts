import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { copyFileSync, mkdirSync, readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { PipelineSpec, SinkResult } from '../../src/contracts/pipeline.ts';
import { readParquetFooter } from '../../src/handoff/parquet-footer.ts';
import { exampleBundle } from './example-bundle.ts';
import { sharedHome } from './provision-home.ts';
import { load, query } from './stack-jobs.ts';
import { root, Stack } from './stack.ts';
import { trinoRows } from './stack-trino.ts';

/** The steps that are made of others, as the example of the docs uses them, on real parts. */
let stack: Stack;
let home: string;
const DAY = '2026-11-28';
beforeAll(async () => {
  mkdirSync(join(sharedHome, 'tmp'), { recursive: true });
  home = await mkdtemp(join(sharedHome, 'tmp', 'composed-'));
  for (const name of ['landing', 'lake']) mkdirSync(join(home, name), { mode: 0o755 });
  const workflows = join(root, 'examples', 'files', 'workflows.ts');
  stack = await Stack.open('composed', {
    pool: { limit: '6 GiB' },
    ...{ workflows, bundle: await exampleBundle(root, workflows) },
    directories: { landing: { path: join(home, 'landing') }, lake: { path: join(home, 'lake'), access: 'write' } },
  });
  await stack.worker();
}, 600_000);
afterEach(() => stack?.clean(), 90_000);
afterAll(async () => {
  await stack?.close();
  await rm(home, { recursive: true, force: true });
}, 90_000);

const ORDERS = `select o.orderkey, o.orderdate, o.totalprice, n.name as country
  from tpch.tiny.orders o join tpch.tiny.customer c on c.custkey = o.custkey join tpch.tiny.nation n on n.nationkey = c.nationkey`;
const SMALL_FILES = 4;

async function run(spec: PipelineSpec): Promise<SinkResult[]> {
  return (await stack.result(await stack.startJob(spec))) as SinkResult[];
}
const filesOf = (...path: string[]): string[] => readdirSync(join(home, ...path)).filter((name) => name.endsWith('.parquet')); // prettier-ignore

test('many files become few, and each country a folder of its own, in order', async () => {
  const parts = Array.from({ length: SMALL_FILES }, (_, part) => part);
  await run({
    name: 'small',
    steps: parts.flatMap((part): PipelineSpec['steps'] => [
      query(`q${part}`, `${ORDERS} where o.orderkey % ${SMALL_FILES} = ${part}`),
      { step: `w${part}`, verb: 'write.parquet', from: `q${part}`, directory: 'lake', path: `small/${part}` },
    ]),
  });
  mkdirSync(join(home, 'landing', DAY));
  for (const part of parts)
    for (const name of filesOf('lake', 'small', String(part))) copyFileSync(join(home, 'lake', 'small', String(part), name), join(home, 'landing', DAY, `${part}-${name}`)); // prettier-ignore
  expect(filesOf('landing', DAY).length).toBeGreaterThanOrEqual(SMALL_FILES);

  const countries = ['GERMANY', 'UNITED KINGDOM'];
  const id = stack.id('filesOfDay');
  await stack.start('filesOfDay', ['--input', JSON.stringify({ day: DAY, countries })], id);
  const written = (await stack.result(id)) as SinkResult[];

  const rows = await trinoRows(stack.parts.trino.url, `select country, count(*), sum(orderkey) from (${ORDERS}) where country in ('GERMANY', 'UNITED KINGDOM') group by 1 order by 1`); // prettier-ignore
  expect(written.map((sink, at) => [countries[at], sink.rows])).toEqual(rows.map(([country, count]) => [country, count])); // prettier-ignore
  const merged = filesOf('lake', 'orders', DAY, 'all');
  expect(merged.length).toBeLessThanOrEqual(2);
  const footers = await Promise.all(merged.map((name) => readParquetFooter(join(home, 'lake', 'orders', DAY, 'all', name)))); // prettier-ignore
  expect(footers.reduce((sum, footer) => sum + footer.rows, 0)).toBe(15_000);

  await run({
    name: 'check',
    steps: [
      { step: 'sorted', verb: 'files', directory: 'lake', path: `orders/${DAY}/UNITED KINGDOM/*.parquet` },
      load(stack, 'sorted', 'sorted'),
    ],
  });
  const [[, count, keys]] = rows.slice(1) as [[string, number, number]];
  const [found] = await stack.sql(`
    select count(*)::int as rows, sum(orderkey)::int as keys,
      bool_and(before is null or before <= at) as in_order, count(distinct country)::int as countries
    from (select *, (orderdate, -totalprice) as at, lag((orderdate, -totalprice)) over (order by ctid) as before from ${stack.schema}.sorted) as rows`);
  expect(found).toEqual({ rows: count, keys, in_order: true, countries: 1 });
}, 300_000);

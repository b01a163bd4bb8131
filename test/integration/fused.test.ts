import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DatafusionSqlStep, PipelineSpec } from '../../src/contracts/pipeline.ts';
import { RUN_REPORT_QUERY, type RunReport } from '../../src/contracts/report.ts';
import { load, query } from './stack-jobs.ts';
import { Stack } from './stack.ts';

/** Steps of DataFusion in a row are one statement in one container, which the engine plans as a whole. */
let stack: Stack;
beforeAll(async () => {
  stack = await Stack.open('fused', { pool: { limit: '8 GiB' } });
  await stack.worker();
}, 600_000);
afterEach(() => stack?.clean(), 90_000);
afterAll(() => stack?.close(), 90_000);

// Each calls its tables alike, and so does the last one what the first one reads: none sees another's.
const sql = (step: string, from: Record<string, string>, text: string, over: object = {}): DatafusionSqlStep => ({ step, verb: 'datafusion.sql', from, sql: text, ...over }); // prettier-ignore
const job = (
  table: string,
  over: object = {},
  middle = 'select custkey, price * 2 as price from rows',
): PipelineSpec => ({
  // prettier-ignore
  name: table,
  steps: [
    query('orders', 'select orderkey, custkey, cast(totalprice as decimal(15,2)) as price from tpch.tiny.orders'),
    query('names', "select custkey, name from tpch.tiny.customer where mktsegment = 'BUILDING'"),
    sql('cheap', { rows: 'orders' }, 'select * from rows where price < 100000 -- all that is cheap', over),
    sql('doubled', { rows: 'cheap' }, middle, over),
    sql('named', { rows: 'doubled', names: 'names' }, 'with sums as (select custkey, sum(price) as price, count(*) as orders from rows group by 1) select name, price, orders from sums join names using (custkey)', over), // prettier-ignore
    load(stack, 'named', table, { key: ['name'] }),
  ],
});
const report = (workflowId: string): Promise<RunReport> =>
  stack.client.workflow.getHandle(workflowId).query<RunReport>(RUN_REPORT_QUERY);

test('they give the rows that they give one by one, and what people see says which', async () => {
  const [fused, apart] = await Promise.all([stack.startJob(job('fused')), stack.startJob(job('apart', { isolate: true }))]); // prettier-ignore
  await Promise.all([stack.result(fused), stack.result(apart)]);
  const containers = async (id: string): Promise<string[]> => (await stack.summaries(id)).filter((text) => text.includes('DataFusion')); // prettier-ignore
  expect(await containers(fused)).toEqual([expect.stringMatching(/^named · DataFusion · S .* with cheap, doubled$/)]);
  expect(await containers(apart)).toHaveLength(3);
  expect((await report(fused)).steps.map(({ step }) => step).sort()).toEqual(['named', 'names', 'orders', 'publish']);
  expect((await report(fused)).warnings).toEqual([]);
  const rows = (table: string): Promise<unknown[]> => stack.sql(`select * from ${stack.schema}.${table} order by name`);
  expect((await rows('fused')).length).toBeGreaterThan(100);
  expect(await rows('fused')).toEqual(await rows('apart'));
}, 300_000);

/** What is cheap is read by two, each of which is loaded. */
const fork = (
  name: string,
  sums = 'select custkey, sum(price) as price, min(dice) as dice from rows group by 1',
): PipelineSpec => ({
  // prettier-ignore
  name,
  steps: [
    query('orders', 'select orderkey, custkey, cast(totalprice as decimal(15,2)) as price from tpch.tiny.orders'),
    sql('cheap', { rows: 'orders' }, 'select *, random() as dice from rows where price < 100000'),
    sql('sums', { rows: 'cheap' }, sums),
    sql('counts', { rows: 'cheap' }, 'select custkey, count(*) as orders, min(dice) as dice from rows group by 1'),
    load(stack, 'sums', `${name}_sums`, { key: ['custkey'], step: 'load-sums' }),
    load(stack, 'counts', `${name}_counts`, { key: ['custkey'], step: 'load-counts' }),
  ],
});

test('what two steps read is computed once, in one container that hands over the rows of both', async () => {
  const workflowId = await stack.startJob(fork('forked'));
  await stack.result(workflowId);
  const heavy = (await stack.summaries(workflowId)).filter((text) => text.includes('DataFusion'));
  expect(heavy).toEqual([expect.stringMatching(/^sums · DataFusion · S .* with cheap, counts$/)]);
  const { steps, warnings } = await report(workflowId);
  expect(warnings).toEqual([]);
  const [sums, counts] = ['sums', 'counts'].map((name) => steps.find(({ step }) => step === name)!);
  expect(sums).toMatchObject({ mode: 'arrow', attempts: 1 });
  expect(counts).toMatchObject({ mode: 'arrow', rung: 'with sums', rows: sums!.rows });
  const rows = await stack.sql<{ same: boolean; orders: number }>(
    `select s.dice = c.dice as same, sum(c.orders)::int as orders from ${stack.schema}.forked_sums s full join ${stack.schema}.forked_counts c using (custkey) group by 1`,
  );
  const [{ expected }] = (await stack.sql<{ expected: number }>(`select sum(orders)::int as expected from ${stack.schema}.forked_counts`)) as [{ expected: number }]; // prettier-ignore
  // Each throw of the dice is the same to both, so what they read is.
  expect(rows).toEqual([{ same: true, orders: expected }]);
}, 300_000);

test('a container that hands over rows of several climbs, and hands all of them over', async () => {
  // 0.7 GB of texts in an aggregate that cannot spill.
  const held = `select 1 as custkey, cardinality(array_agg(concat(repeat('x', 1000), number))) as price, (select min(dice) from rows) as dice
    from (select unnest(range(0, 700000)) as number) as numbers where number < (select max(orderkey) from rows) * 100`;
  const workflowId = await stack.startJob(fork('climbing', held));
  await stack.result(workflowId);
  const heavy = (await stack.summaries(workflowId)).filter((text) => text.includes('DataFusion'));
  expect(heavy.length).toBeGreaterThan(1);
  expect(heavy.at(-1)).toMatch(/^sums · DataFusion · [ML] .* with cheap, counts \([SM] ran out of memory\)$/);
  const [{ rows }] = (await stack.sql<{ rows: number }>(`select count(*)::int as rows from ${stack.schema}.climbing_counts`)) as [{ rows: number }]; // prettier-ignore
  expect(rows).toBeGreaterThan(500);
}, 300_000);

test('a statement that is wrong is named after its own step', async () => {
  const workflowId = await stack.startJob(job('wrong', {}, 'select custkey, prise from rows'));
  await expect(stack.result(workflowId)).rejects.toMatchObject({
    cause: { type: 'SqlError', message: expect.stringMatching(/^named: .*doubled: .*prise/s) },
  });
}, 300_000);

test('a plan shows which steps are part of another one', async () => {
  const file = join(stack.directory, 'job.json');
  writeFileSync(file, JSON.stringify(job('planned')));
  const { stdout, exit } = await stack.spillway('plan', [file]);
  expect(exit).toBe(0);
  expect(stdout).toMatch(/^cheap +DataFusion .* fused +part of doubled; same engine before and after/m);
  expect(stdout).toMatch(/-- named\n-- cheap; tables: rows = orders\nselect \* from rows[^]*-- doubled; tables: rows = cheap[^]*-- named; tables: rows = doubled, names = names/); // prettier-ignore
  writeFileSync(file, JSON.stringify(fork('planned')));
  const forked = await stack.spillway('plan', [file]);
  expect(forked.stdout).toMatch(/^cheap +DataFusion .* fused +part of sums; /m);
  expect(forked.stdout).toMatch(/^counts +DataFusion +– +sums's .* arrow +in the container of sums, as both read the same steps; its size is unknown/m); // prettier-ignore
}, 60_000);

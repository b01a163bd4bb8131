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
}, 60_000);

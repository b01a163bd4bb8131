import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import type { PipelineSpec } from '../../src/contracts/pipeline.ts';
import { RUN_REPORT_QUERY, type RunReport } from '../../src/contracts/report.ts';
import { datafusion, load, query } from './stack-jobs.ts';
import { Stack } from './stack.ts';

/** Rows of a run that failed are found again when it is reset, and gone when nobody needs them. */
let stack: Stack;
beforeAll(async () => {
  stack = await Stack.open('checkpoints', { pool: { limit: '8 GiB' } });
  await stack.worker();
  await listed('remove', 'all'); // what tests that were interrupted kept on the scratch that all share
}, 600_000);
afterEach(() => stack?.clean(), 90_000);
afterAll(async () => {
  await listed('remove', 'all');
  await stack?.close();
}, 90_000);

const ORDERS = 15_000;
/** Five steps, the third of which is a checkpoint; the load is refused as long as the table has a view. */
const job = (table: string): PipelineSpec => ({
  name: 'five',
  steps: [
    query('orders', 'select orderkey, totalprice, orderdate from tpch.tiny.orders'),
    datafusion('priced', 'orders', 'select orderkey, totalprice * 2 as price, orderdate from orders'),
    { ...datafusion('dated', 'priced', 'select orderkey, price, orderdate from priced'), checkpoint: true },
    datafusion('numbered', 'dated', 'select orderkey, price from dated'),
    { ...load(stack, 'numbered', table), retry: { maximumAttempts: 1 } },
  ],
});

interface Listed {
  checkpoints: { id: string; step: string; run: string; rows: number; bytes: number }[];
}
async function listed(...args: string[]): Promise<Listed> {
  const { stdout, exit, stderr } = await stack.spillway('checkpoints', [...args, '--json']);
  if (exit !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Listed;
}
const failed = (workflowId: string): Promise<unknown> => stack.result(workflowId).then(() => 'it completed', (error: unknown) => error); // prettier-ignore
const report = (workflowId: string): Promise<RunReport> =>
  stack.client.workflow.getHandle(workflowId).query<RunReport>(RUN_REPORT_QUERY);
async function resetToFirst(workflowId: string): Promise<void> {
  const { exit, stderr } = await stack.temporal('reset', ['--workflow-id', workflowId, '--type', 'FirstWorkflowTask', '--reason', 'mended']); // prettier-ignore
  if (exit !== 0) throw new Error(stderr);
}

test('a reset run reads what it kept: the steps before run no more, its rows arrive, and nothing stays', async () => {
  await stack.sql(`create schema if not exists ${stack.schema}`);
  await stack.sql(`create table ${stack.schema}.five (orderkey bigint, price double precision)`);
  await stack.sql(`create view ${stack.schema}.reads as select * from ${stack.schema}.five`);
  const workflowId = await stack.startJob(job('five'));
  expect(await failed(workflowId)).toMatchObject({ cause: { type: 'LoadRefused' } });
  await stack.clean();
  expect((await listed()).checkpoints).toMatchObject([{ step: 'dated', rows: ORDERS }]);
  const { stdout } = await stack.spillway('checkpoints');
  expect(stdout).toMatch(/^id .*\n\S+\.dated\.[0-9a-f]{16} +dated /);
  expect((await stack.spillway('sweep')).stdout).toContain('but for checkpoints that are kept');

  await stack.sql(`drop view ${stack.schema}.reads`);
  await resetToFirst(workflowId);
  await stack.result(workflowId);
  const { steps, warnings } = await report(workflowId);
  expect(steps.map(({ step, rung }) => [step, rung === 'checkpoint'])).toEqual([['dated', true], ['numbered', false], ['publish', false]]); // prettier-ignore
  expect(steps[0]!.because).toMatch(/^found as a checkpoint that this run made/);
  expect(warnings).toEqual([]);
  expect(await stack.sql(`select count(*)::int as rows, sum(price) is not null as has from ${stack.schema}.five`)).toEqual([{ rows: ORDERS, has: true }]); // prettier-ignore
  expect((await listed()).checkpoints).toEqual([]);
}, 300_000);

test('a query for every run is answered once by Trino; kill -9 of the worker loses nothing of it', async () => {
  const shared = (version: string, table: string): PipelineSpec => ({
    name: 'shared',
    steps: [
      { ...query('orders', 'select orderkey, comment from tpch.tiny.orders'), checkpoint: { reuse: 'any-run', version } }, // prettier-ignore
      load(stack, 'orders', table),
    ],
  });
  const first = await stack.startJob(shared('monday', 'once'));
  await stack.result(first);
  expect((await report(first)).steps[0]).toMatchObject({ step: 'orders', rows: ORDERS, rung: expect.not.stringMatching('checkpoint') }); // prettier-ignore
  await Promise.all(stack.workers.map((worker) => worker.kill()));
  await stack.worker();
  const second = await stack.startJob(shared('monday', 'twice'));
  await stack.result(second);
  expect((await report(second)).steps[0]).toMatchObject({ step: 'orders', rung: 'checkpoint', rows: ORDERS });
  const third = await stack.startJob(shared('tuesday', 'thrice'));
  await stack.result(third);
  expect((await report(third)).steps[0]!.rung).not.toBe('checkpoint');
  const sum = `select sum(orderkey)::bigint as keys, md5(string_agg(comment, '' order by orderkey)) as comments from ${stack.schema}.`; // prettier-ignore
  expect(await stack.sql(`${sum}twice`)).toEqual(await stack.sql(`${sum}once`));
  expect((await listed()).checkpoints).toHaveLength(2);
  const { exit, stderr } = await stack.spillway('checkpoints', ['remove', 'any.orders.0']);
  expect([exit, stderr]).toEqual([2, expect.stringContaining('no checkpoint is called any.orders.0')]);
  await listed('remove', (await listed()).checkpoints[0]!.id);
  expect((await listed()).checkpoints).toHaveLength(1);
}, 300_000);

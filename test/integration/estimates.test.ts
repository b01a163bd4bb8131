import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DatafusionSqlStep, PipelineSpec } from '../../src/contracts/pipeline.ts';
import type { StepHistory } from '../../src/contracts/pool.ts';
import { poolWorkflowId } from '../../src/contracts/pool.ts';
import { MiB } from '../../src/policy/sizes.ts';
import { load, query } from './stack-jobs.ts';
import { Stack } from './stack.ts';

/** What a pool remembers of steps decides what their next runs are lent. */
let stack: Stack;
beforeAll(async () => {
  stack = await Stack.open('estimates', { pool: { limit: '8 GiB' } });
  await stack.worker();
}, 600_000);
afterEach(() => stack?.clean(), 90_000);
afterAll(() => stack?.close(), 90_000);

/** Holds `count` texts of 1 KB in an aggregate that cannot spill. */
const held = (table: string, count: number, more: Partial<DatafusionSqlStep>): PipelineSpec => {
  const sql = `select cardinality(array_agg(concat(repeat('x', 1000), number))) as texts
    from (select unnest(range(0, ${count})) as number) as numbers where number < (select max(orderkey) from orders) * 100`;
  const step: DatafusionSqlStep = { step: 'held', verb: 'datafusion.sql', from: { orders: 'orders' }, sql, ...more };
  const steps = [query('orders', 'select orderkey from tpch.tiny.orders'), step, load(stack, 'held', table)];
  return { name: table, steps };
};

/** Runs it; answers what each attempt of `held` was lent, as a person sees it. */
async function attempts(job: PipelineSpec): Promise<string[]> {
  const workflowId = await stack.startJob(job);
  await stack.result(workflowId);
  const [{ texts }] = (await stack.sql<{ texts: string }>(`select texts from ${stack.schema}.${job.name}`)) as [{ texts: string }]; // prettier-ignore
  expect(Number(texts)).toBeGreaterThan(0);
  return (await stack.summaries(workflowId)).filter((summary) => summary.startsWith('held'));
}

const histories = async (): Promise<Record<string, StepHistory>> =>
  JSON.parse((await stack.spillway('pool', ['--estimates', '--json'])).stdout) as Record<string, StepHistory>;

test('a step that needs L declared as S climbs and completes; the next run starts at L', async () => {
  const job = held('climbs', 700_000, { profile: 'S' });
  const workflowId = await stack.startJob(job);
  await stack.result(workflowId);
  expect((await stack.summaries(workflowId)).filter((summary) => summary.startsWith('held'))).toEqual([
    expect.stringMatching(/^held · DataFusion · S [\d.]+ MiB$/),
    expect.stringMatching(/^held · DataFusion · M [\d.]+ GiB \(S ran out of memory\)$/),
    expect.stringMatching(/^held · DataFusion · L [\d.]+ GiB \(M ran out of memory\)$/),
  ]);
  const shown = await stack.temporal('show', ['--workflow-id', workflowId, '--detailed']);
  expect(shown.stdout.match(/input\[0\]\.rung: \w+/g)).toEqual(expect.arrayContaining(['S', 'M', 'L'].map((rung) => `input[0].rung: ${rung}`))); // prettier-ignore
  expect(await attempts(job)).toEqual([expect.stringMatching(/^held · DataFusion · L [\d.]+ GiB$/)]);
  const { stdout } = await stack.spillway('pool', ['--estimates']);
  expect(stdout).toMatch(/climbs\/held +2 +[12](\.\d)? GiB .* 1\.\d GiB +–/);
}, 300_000);

test('a step that nobody sized asks for what it needed before, over the end of its worker and of its pool', async () => {
  const job = held('measured', 20_000, {});
  const [first] = await attempts(job);
  expect(first).toMatch(/ S [\d.]+ MiB$/);
  expect(await attempts(job)).toEqual([expect.stringMatching(/^held · DataFusion · measured 577 MiB$/)]);
  writeFileSync(join(stack.directory, 'measured.json'), JSON.stringify(job));
  expect((await stack.spillway('plan', ['measured.json'])).stdout).toMatch(/held .* measured 576 MiB .* was measured in 2 runs/); // prettier-ignore
  await Promise.all(stack.workers.map((worker) => worker.kill()));
  await stack.client.workflow.getHandle(poolWorkflowId(stack.pool)).terminate('a test');
  await stack.worker();
  expect(await attempts(job)).toEqual([expect.stringMatching(/ measured 577 MiB$/)]);
  const { runs } = (await histories())['measured/held']!;
  expect(runs).toHaveLength(3);
  for (const run of runs) {
    expect(run.peakBytes).toBeGreaterThan(20 * MiB);
    expect(run.peakBytes).toBeLessThan(run.leaseBytes);
    expect(run.inputBytes).toBeGreaterThan(0);
  }
}, 300_000);

test('an operator pins a size, by both command lines, and has it forgotten', async () => {
  const job = held('pinned', 10, {});
  expect(await stack.spillway('pool', ['pin', 'pinned/held', '1GiB'])).toMatchObject({ exit: 0, stderr: expect.stringContaining('starts with 1 GiB') }); // prettier-ignore
  expect(await attempts(job)).toEqual(['held · DataFusion · pinned 1 GiB']);
  const forget = '{"act":"forget","history":"pinned/held"}';
  const update = ['--workflow-id', poolWorkflowId(stack.pool), '--name', 'operate', '--input', forget];
  expect(await stack.temporal('update', ['execute', ...update])).toMatchObject({ exit: 0 });
  expect(await histories()).not.toHaveProperty(['pinned/held']);
  expect(await stack.spillway('pool', ['pin', 'pinned/held', '1 TiB'])).toMatchObject({ exit: 2, stderr: expect.stringContaining('can lend') }); // prettier-ignore
  expect(await stack.spillway('pool', ['pin', 'pinned/held'])).toMatchObject({ exit: 2, stderr: expect.stringContaining('pin daily/totals 6GB') }); // prettier-ignore
}, 120_000);

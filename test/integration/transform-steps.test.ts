import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PipelineSpec, StepReport, TransformStep } from '../../src/contracts/pipeline.ts';
import { readProcessId } from '../../src/host/process-id.ts';
import { MiB } from '../../src/policy/sizes.ts';
import { datafusion, load, query } from './stack-jobs.ts';
import { stackTransforms } from './stack-leftovers.ts';
import { root, Stack } from './stack.ts';
import { trinoRows } from './stack-trino.ts';
import { eventually } from './stack-waiting.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await Stack.open('transforms', {
    transforms: join(root, 'test', 'integration', 'transforms-of-stack.ts'),
    light: { batchRows: 4000 },
  });
  await stack.worker();
}, 600_000);
afterEach(() => stack?.clean(), 90_000);
afterAll(() => stack?.close(), 90_000);

const ORDERS = 'select orderkey, orderpriority from tpch.tiny.orders';
const transform = (step: string, from: string, run: string, more: Partial<TransformStep> = {}): TransformStep => ({ step, verb: 'transform', from, run, ...more }); // prettier-ignore

/** Counts orders per priority, and passes them through a transform before they are loaded. */
const counted = (table: string, run: string, more: Partial<TransformStep> = {}): PipelineSpec => ({
  name: table,
  steps: [
    query('orders', ORDERS),
    datafusion('counted', 'orders', 'select orderpriority, count(*) as orders from orders group by 1'),
    transform('own', 'counted', run, more),
    load(stack, 'own', table, { key: ['orderpriority'] }),
  ],
});

const expectCounts = async (table: string): Promise<void> => {
  const rows = await stack.sql<{ orderpriority: string; orders: string }>(
    `select orderpriority, orders from ${stack.schema}.${table} order by 1`,
  );
  const wanted = await trinoRows(stack.parts.trino.url, 'select orderpriority, count(*) from tpch.tiny.orders group by 1 order by 1'); // prettier-ignore
  expect(rows.map((row) => [row.orderpriority, Number(row.orders)])).toEqual(wanted);
};

test('rows of Trino go through a transform, DataFusion and another transform into PostgreSQL', async () => {
  const job: PipelineSpec = {
    name: 'both',
    steps: [
      query('orders', ORDERS),
      transform('marked', 'orders', 'urgency'),
      datafusion('counted', 'marked', 'select orderpriority, urgent, count(*) as orders from marked group by 1, 2'),
      transform('again', 'counted', 'hold', { args: { bytes: 0 } }),
      load(stack, 'again', 'both', { key: ['orderpriority'] }),
    ],
  };
  writeFileSync(join(stack.directory, 'job.json'), JSON.stringify(job));
  const ran = await stack.spillway('run', ['job.json', '--json']);
  expect(ran).toMatchObject({ exit: 0, stderr: expect.not.stringContaining('failed') });
  const rows = await stack.sql(`select orderpriority, urgent, orders::int from ${stack.schema}.both order by 1`);
  const wanted = await trinoRows(
    stack.parts.trino.url,
    `select orderpriority, if(orderpriority < '3', 'yes', 'no'), count(*) from tpch.tiny.orders group by 1, 2 order by 1`,
  );
  expect(rows.map((row) => Object.values(row) as unknown[])).toEqual(wanted);
  const { report } = JSON.parse(ran.stdout) as { report: { steps: StepReport[] } };
  const reported = Object.fromEntries(report.steps.map((step) => [step.step, step]));
  // Parquet of Trino is decoded by a container within the same lease; DataFusion's Arrow is read as it lies.
  expect(reported['marked']).toMatchObject({
    queue: `${stack.pool}.light`,
    mode: 'arrow',
    rows: 15_000,
    rung: 'stream',
  });
  expect(reported['again']!.leaseBytes).toBeLessThan(reported['marked']!.leaseBytes);
  for (const step of ['marked', 'again']) {
    expect(reported[step]!.peakBytes).toBeGreaterThan(20 * MiB);
    expect(reported[step]!.peakBytes).toBeLessThan(reported[step]!.leaseBytes);
  }
}, 120_000);

test('a transform that nobody registered is named before anything runs, with what was meant', async () => {
  const ran = stack.result(await stack.startJob(counted('slip', 'urgensy')));
  await expect(ran).rejects.toMatchObject({
    cause: { message: expect.stringContaining('own.run must be a transform that is registered, got urgensy. Did you mean urgency?') }, // prettier-ignore
  });
}, 120_000);

test('one that holds more than it was lent climbs a rung, as a person sees in the history', async () => {
  const workflowId = await stack.startJob(counted('held', 'hold', { args: { bytes: 400 * MiB } }));
  await stack.result(workflowId);
  const own = (await stack.summaries(workflowId)).filter((summary) => summary.startsWith('own'));
  expect(own).toEqual([
    expect.stringMatching(/^own · TypeScript · stream 2\d\d(\.\d)? MiB$/),
    expect.stringMatching(/^own · TypeScript · S .* \(stream ran out of memory\)$/),
  ]);
  await expectCounts('held');
}, 120_000);

test('kill -9 of the worker: the process that spins for it is ended, and the run completes with another worker', async () => {
  const marker = join(stack.directory, 'spun');
  const workflowId = await stack.startJob(counted('spun', 'spinOnce', { args: { marker } }));
  const pid = await eventually(async () => (existsSync(marker) ? Number(readFileSync(marker, 'utf8')) : undefined), { what: 'the transform' }); // prettier-ignore
  await stack.workers[0]!.kill();
  expect(readProcessId(pid)).toBeDefined(); // it spins: it does not hear that its worker is gone
  await stack.worker();
  await stack.result(workflowId);
  expect(readProcessId(pid)).toBeUndefined();
  await expectCounts('spun');
}, 120_000);

test('cancel ends it', async () => {
  const workflowId = await stack.startJob(counted('cancelled', 'sleep'));
  await eventually(async () => stackTransforms(stack).length > 0 || undefined, { what: 'the transform' });
  await stack.client.workflow.getHandle(workflowId).cancel();
  await expect(stack.result(workflowId)).rejects.toThrow();
  expect(stackTransforms(stack)).toEqual([]);
}, 120_000);

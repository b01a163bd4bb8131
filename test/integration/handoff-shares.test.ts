import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { PipelineSpec, StepReport } from '../../src/contracts/pipeline.ts';
import { RUN_REPORT_QUERY, type RunReport } from '../../src/contracts/report.ts';
import { rssAnon } from '../../src/engines/trino/heap.ts';
import { GiB, MiB } from '../../src/policy/sizes.ts';
import { datafusion, endlessJob, load, query } from './stack-jobs.ts';
import { runningContainer } from './stack-containers.ts';
import { Stack } from './stack.ts';
import { eventually } from './stack-waiting.ts';

/** Of the pool of the reference machine at 1/64: `SPILLWAY_SHARES_POOL="8 GiB"`, by hand, as it writes 60 GB. There all modes of the table are met. */
const POOL = process.env['SPILLWAY_SHARES_POOL'];
const SHARES: [number, string, string][] = [
  [30, 'shm', 'shm'],
  [45, 'shm', 'parquet'],
  [60, 'arrow', 'parquet'],
  [85, 'parquet', 'parquet'],
];

/** Rows that are known to be so large a share of what can be lent, on real parts. */
let stack: Stack;
let lendableBytes: number;
beforeAll(async () => {
  stack = await Stack.open('shares', { pool: { limit: POOL ?? '5 GiB' } });
  await stack.worker();
  ({ lendableBytes } = await stack.status());
}, 600_000);
afterEach(() => stack?.clean(), 90_000);
afterAll(() => stack?.close(), 90_000);

/** Orders of the tiny scale, each with two numbers of 8 bytes. */
const ORDERS = 15_000;
/** What a pool expects is a quarter more than the most it has seen. */
const GROWTH = 1.25;
const copiesFor = (bytes: number): number => Math.round(bytes / (ORDERS * 16));

/** Makes rows of so many bytes, and counts them in another container. */
const job = (name: string, bytes: number): PipelineSpec => ({
  name,
  steps: [
    query('orders', 'select orderkey from tpch.tiny.orders'),
    datafusion('rows', 'orders', `select orderkey, number from orders cross join (select unnest(range(0, ${copiesFor(bytes)})) as number) as numbers`, { isolate: true, scratch: Math.ceil(bytes) + GiB }), // prettier-ignore
    datafusion('counted', 'rows', 'select count(*) as rows, sum(number) as total from rows'),
    load(stack, 'counted', name),
  ],
});

async function reportOf(workflowId: string): Promise<StepReport> {
  await stack.result(workflowId);
  const { steps } = await stack.client.workflow.getHandle(workflowId).query<RunReport>(RUN_REPORT_QUERY);
  return steps.find(({ step }) => step === 'rows')!;
}
/** Runs it; answers how its rows were handed over, once it is sure that they all arrived. */
async function ran(spec: PipelineSpec, bytes: number): Promise<StepReport> {
  const workflowId = await stack.startJob(spec);
  const report = await reportOf(workflowId);
  await arrived(spec.name, bytes);
  return report;
}
async function arrived(table: string, bytes: number): Promise<void> {
  const copies = copiesFor(bytes);
  const [row] = await stack.sql<{ rows: string; total: string }>(`select rows, total from ${stack.schema}.${table}`);
  expect(row).toEqual({ rows: String(ORDERS * copies), total: String((ORDERS * copies * (copies - 1)) / 2) });
}

describe.each(POOL === undefined ? SHARES.filter(([share]) => share === 45) : SHARES)(
  'rows of %i % of what can be lent',
  (share, alone, contended) => {
    const name = `share_${share}`;
    const bytes = (): number => (share / 100 / GROWTH) * lendableBytes;

    test(`go to ${alone} with nothing else running`, async () => {
      expect((await ran(job(name, bytes()), bytes())).mode).toBe('arrow'); // nobody knows yet how many there are
      const known = await ran(job(name, bytes()), bytes());
      expect(known).toMatchObject({
        mode: alone,
        because: expect.stringMatching(new RegExp(`is ${share}(\\.\\d)? % of`)),
      });
    }, 300_000);

    test(`go to ${contended} while another run's heavy step works`, async () => {
      const other = await stack.startJob(endlessJob(stack, 'endless'));
      await runningContainer(stack, 'paired');
      const workflowId = await stack.startJob(job(name, bytes()));
      await eventually(async () => (await stack.status()).queue.some(({ step }) => step === 'orders') || undefined, { what: 'its wait for the heavy slot' }); // prettier-ignore
      await stack.client.workflow.getHandle(other).cancel();
      expect(await reportOf(workflowId)).toMatchObject({ mode: contended });
      await arrived(name, bytes());
    }, 300_000);
  },
);

test('rows that are ten times what was known go on to Arrow and to Parquet in one pass, and nobody is killed', async () => {
  const few = (0.09 / GROWTH) * lendableBytes;
  await ran(job('tenfold', few), few);
  const workflowId = await stack.startJob(job('tenfold', 10 * few * GROWTH));
  const report = await reportOf(workflowId);
  await arrived('tenfold', 10 * few * GROWTH);
  expect(report).toMatchObject({ mode: 'parquet', attempts: 1, rung: 'S' });
  expect(report.because).toMatch(/more came than the .* that Arrow may take: .* are Arrow, .* of that in memory, .* Parquet/); // prettier-ignore
  expect(await stack.failures(workflowId)).toEqual([]);
}, 300_000);

test('a worker holds nothing of a gigabyte that was handed over in memory', async () => {
  const bytes = Math.min(GiB, (0.49 / GROWTH) * lendableBytes);
  const { pid } = stack.workers[0]!;
  await ran(job('gigabyte', bytes), bytes);
  const before = await rssAnon(pid);
  expect(await ran(job('gigabyte', bytes), bytes)).toMatchObject({ mode: 'shm' });
  const workflowId = await stack.startJob(endlessJob(stack, 'endless'));
  await runningContainer(stack, 'paired');
  expect(await rssAnon(pid)).toBeLessThan(before + 64 * MiB);
  await stack.client.workflow.getHandle(workflowId).cancel();
}, 300_000);

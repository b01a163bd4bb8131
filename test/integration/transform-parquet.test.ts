import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PipelineSpec, StepReport } from '../../src/contracts/pipeline.ts';
import { RUN_REPORT_QUERY, type RunReport } from '../../src/contracts/report.ts';
import { datafusion, load, query } from './stack-jobs.ts';
import { root, Stack } from './stack.ts';

/** A pool of which a transform of the test fills more than Arrow may. */
let stack: Stack;
let lake: string;
let lendableBytes: number;
beforeAll(async () => {
  lake = mkdtempSync(join(tmpdir(), 'spillway-lake-'));
  chmodSync(lake, 0o755); // containers write it as another user
  stack = await Stack.open('transform-parquet', {
    transforms: join(root, 'test', 'integration', 'transforms-of-stack.ts'),
    pool: { limit: '4 GiB' },
    light: { batchRows: 15_000 },
    handoff: { parquetAbove: 0.6 },
    directories: { lake: { path: lake, access: 'write' } },
  });
  await stack.worker();
  ({ lendableBytes } = await stack.status());
}, 600_000);
afterEach(() => stack?.clean(), 90_000);
afterAll(async () => {
  await stack?.close();
  rmSync(lake, { recursive: true, force: true });
}, 90_000);

/** Orders of the tiny scale, and bytes of one in Arrow. */
const ORDERS = 15_000;
const ROW_BYTES = 16;

const made = async (spec: PipelineSpec, step: string): Promise<StepReport> => {
  const workflowId = await stack.startJob(spec);
  await stack.result(workflowId);
  const { steps } = await stack.client.workflow.getHandle(workflowId).query<RunReport>(RUN_REPORT_QUERY);
  expect(await stack.failures(workflowId)).toEqual([]);
  return steps.find((found) => found.step === step)!;
};

test('rows of a transform that turn out larger than Arrow may be go on in Parquet, and all of them are read', async () => {
  const times = Math.ceil((0.7 * lendableBytes) / (ORDERS * ROW_BYTES));
  const table = 'larger';
  const report = await made(
    {
      name: table,
      steps: [
        query('orders', 'select orderkey, custkey from tpch.tiny.orders'),
        { step: 'many', verb: 'transform', from: 'orders', run: 'copies', args: { times }, scratch: '3GB' },
        datafusion('counted', 'many', 'select count(*) as rows, sum(orderkey) as total from many'),
        load(stack, 'counted', table),
      ],
    },
    'many',
  );
  expect(report).toMatchObject({ mode: 'parquet', attempts: 1, rows: ORDERS * times });
  expect(report.because).toMatch(/more came than the .* that Arrow may take: .* of it are Arrow, .* Parquet/);
  const [orders] = await stack.sql<{ total: string }>(`select total::text from ${stack.schema}.${table}`);
  const [once] = await stack.sql<{ rows: string }>(`select rows::text from ${stack.schema}.${table}`);
  expect([once!.rows, Number(BigInt(orders!.total) % BigInt(times))]).toEqual([String(ORDERS * times), 0]);
}, 300_000);

test('rows of a transform that are a checkpoint are Parquet, and are loaded from it', async () => {
  const table = 'checkpointed';
  const report = await made(
    {
      name: table,
      steps: [
        query('orders', 'select orderkey, orderdate, orderpriority from tpch.tiny.orders'),
        { step: 'urgent', verb: 'transform', from: 'orders', run: 'urgency', checkpoint: true },
        load(stack, 'urgent', table, { key: ['orderkey'] }),
      ],
    },
    'urgent',
  );
  expect(report).toMatchObject({ mode: 'parquet', rows: ORDERS });
  expect(await stack.sql(`select count(*)::int as rows, count(distinct orderkey)::int as keys, bool_and((urgent = 'yes') = (orderpriority < '3')) as right from ${stack.schema}.${table}`)).toEqual([{ rows: ORDERS, keys: ORDERS, right: true }]); // prettier-ignore
}, 300_000);

test('rows of a transform are copied into a folder as the Parquet that they are; a column that has no place there is named', async () => {
  const written = (run: string): PipelineSpec => ({
    name: 'written',
    steps: [
      query('orders', 'select orderkey, orderpriority from tpch.tiny.orders'),
      { step: 'made', verb: 'transform', from: 'orders', run },
      { step: 'out', verb: 'write.parquet', from: 'made', directory: 'lake', path: run },
    ],
  });
  expect(await made(written('urgency'), 'made')).toMatchObject({ mode: 'parquet', because: 'write.parquet copies it as it is' }); // prettier-ignore
  expect(readdirSync(join(lake, 'urgency')).sort()).toEqual(['_spillway.json', 'part-00000.parquet']);
  await expect(made(written('spans'), 'made')).rejects.toMatchObject({
    cause: {
      message: expect.stringMatching(
        /out: its rows cannot be copied as Parquet: .* Parquet has no place for span \(Interval<DAY_TIME>\)\. Cast such columns/,
      ),
    },
  });
}, 300_000);

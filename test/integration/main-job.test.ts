import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { RUN_REPORT_QUERY, type RunReport } from '../../src/contracts/report.ts';
import type { PoolStatus } from '../../src/contracts/pool.ts';
import type { StepRequest } from '../../src/contracts/steps.ts';
import { exampleFolder, Stack } from './stack.ts';
import { wideJob, wideSql } from './stack-jobs.ts';
import { trinoRows } from './stack-trino.ts';
import { eventually } from './stack-waiting.ts';

const LINES = 6_001_215;
const TABLE = 'mart.daily_revenue';
/** The whole job as one statement of Trino. */
const AGGREGATE = `
  select cast(shipdate as varchar), shipmode, cast(sum(cast(extendedprice * (1 - discount) as decimal(15,2))) as varchar), count(*)
  from tpch.sf1.lineitem where shipdate >= date '1992-01-01' group by shipdate, shipmode`;

let stack: Stack;
/** Asked once: the answer is the same for both doors. */
let expected: Promise<unknown[][]>;

beforeAll(async () => {
  stack = await Stack.open('main-job');
  await Promise.all([stack.worker(), stack.sql(`drop table if exists ${TABLE}`)]);
}, 600_000);
afterEach(() => stack?.clean(), 90_000);
afterAll(() => stack?.close(), 90_000);

const digest = (rows: readonly (readonly unknown[])[]): string =>
  createHash('sha256').update(rows.map((row) => row.join('|')).sort().join('\n')).digest('hex'); // prettier-ignore

describe('the example, from TPC-H to a table', () => {
  test.each<[string, string, string[], string]>([
    [
      'as a workflow, loaded UNLOGGED',
      'dailyRevenue',
      ['--input', '{"since":"1992-01-01","strategy":"unlogged"}'],
      'unlogged',
    ],
    [
      'as a pipeline in a file, loaded with COPY FREEZE',
      'eltPipeline',
      ['--input-file', join(exampleFolder, 'job.json')],
      'freeze',
    ],
  ])(
    'runs %s',
    async (_title, type, input, strategy) => {
      const workflowId = await stack.start(type, input, stack.id(type));
      const handle = stack.client.workflow.getHandle(workflowId);
      await handle.result();
      expect(await stack.describe(workflowId)).toEqual({ status: 'COMPLETED', pending: [] });

      // Loaded and answered by Trino itself: as many rows, and all of them alike to the last digit.
      const wanted = await (expected ??= trinoRows(stack.parts.trino.url, AGGREGATE));
      const loaded = await stack.sql<{ d: string; m: string; r: string }>(
        `select shipdate::text as d, shipmode as m, revenue::text as r from ${TABLE}`,
      );
      expect(loaded).toHaveLength(wanted.length);
      expect(digest(loaded.map(({ d, m, r }) => [d, m, r]))).toBe(digest(wanted.map((row) => row.slice(0, 3))));
      const [sums] = await stack.sql<{ sum: string }>(`select sum(revenue)::text as sum from ${TABLE}`);
      const total = wanted.reduce((sum, row) => sum + BigInt(String(row[2]).replace('.', '')), 0n);
      expect(BigInt(sums!.sum.replace('.', ''))).toBe(total);

      // Every line went through the container: so many rows were handed to it, and so many are in the sums.
      expect(wanted.reduce((sum, row) => sum + Number(row[3]), 0)).toBe(LINES);
      const report = await handle.query<RunReport>(RUN_REPORT_QUERY);
      expect(report.steps.map(({ step, rows, mode }) => [step, rows, mode])).toEqual([
        ['lines', LINES, 'parquet'],
        ['daily', wanted.length, 'arrow'],
        ['publish', wanted.length, strategy],
      ]);
      expect(await handedTo(workflowId, 'datafusionSql')).toEqual([LINES]);
      expect(await shapeOf(TABLE)).toEqual({ persistence: 'p', key: ['shipdate', 'shipmode'] });
    },
    240_000,
  );
});

describe('a load UNLOGGED', () => {
  test('copies into a table without log, and ends with a logged one that has its primary key', async () => {
    const copies = 10;
    const workflowId = await stack.startJob(wideJob(stack, 'wide', copies, 'unlogged'));
    const done = stack.result(workflowId);
    const copying = eventually(
      async () => {
        const [copying] = await stack.sql<{ persistence: string }>(`
          select c.relpersistence as persistence from pg_stat_progress_copy p join pg_class c on c.oid = p.relid
          join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'spillway' and p.tuples_processed > 0`);
        return copying;
      },
      { everyMs: 10, what: 'a COPY' },
    );
    await Promise.race([copying, done]); // a run that fails says more than a COPY that never came
    expect(await copying).toEqual({ persistence: 'u' });
    await done;
    expect(await shapeOf(`${stack.schema}.wide`)).toEqual({
      persistence: 'p',
      key: ['orderkey', 'linenumber', 'copy'],
    });
    const sum = (from: string): string =>
      `select count(*) as lines, sum(orderkey) as orders, sum(length(comment)) as letters from ${from}`;
    const [wanted] = await trinoRows(stack.parts.trino.url, sum(`(${wideSql(copies)})`));
    const [row] = await stack.sql<Record<string, string>>(sum(`${stack.schema}.wide`));
    expect(Object.values(row!)).toEqual(wanted!.map(String));
  }, 120_000);
});

describe('the pool', () => {
  test('answers who holds what, through the Temporal command line', async () => {
    const ran = await stack.temporal('query', [
      '--workflow-id',
      `pool:${stack.pool}`,
      '--type',
      'status',
      '--output',
      'json',
    ]);
    expect(ran.exit).toBe(0);
    const { queryResult } = JSON.parse(ran.stdout) as { queryResult: [PoolStatus] };
    expect(queryResult[0]).toMatchObject({ pool: stack.pool, heavyTaken: false });
    // The worker and Trino.
    expect(queryResult[0].leases.filter(({ kind }) => kind === 'standing')).toHaveLength(2);
    expect(queryResult[0].lendableBytes).toBe(queryResult[0].limitBytes - queryResult[0].standingBytes);
  });
});

/** Rows of the handoffs that attempts of this activity were given, as the history has them. */
async function handedTo(workflowId: string, activity: string): Promise<number[]> {
  const shown = await stack.temporal('show', ['--workflow-id', workflowId, '--output', 'json']);
  const { events } = JSON.parse(shown.stdout) as {
    events: {
      activityTaskScheduledEventAttributes?: {
        activityType: { name: string };
        input: { payloads: { data: string }[] };
      };
    }[];
  };
  return events.flatMap(({ activityTaskScheduledEventAttributes: scheduled }) => {
    if (scheduled?.activityType.name !== activity) return [];
    const request = JSON.parse(Buffer.from(scheduled.input.payloads[0]!.data, 'base64').toString()) as StepRequest;
    return Object.values(request.inputs).map(({ rows }) => rows);
  });
}

/** How a table is kept, and the columns of its primary key. */
async function shapeOf(table: string): Promise<{ persistence: string; key: string[] } | undefined> {
  const [shape] = await stack.sql<{ persistence: string; key: string[] }>(
    `select c.relpersistence as persistence, array(
       select a.attname::text from pg_index i, unnest(i.indkey) with ordinality k (number, place)
       join pg_attribute a on a.attnum = k.number and a.attrelid = $1::regclass
       where i.indrelid = $1::regclass and i.indisprimary and i.indisvalid order by k.place) as key
     from pg_class c where c.oid = $1::regclass`,
    [table],
  );
  return shape;
}

import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { PipelineSpec, StepReport } from '../../src/contracts/pipeline.ts';
import { type LeaseStatus, poolWorkflowId } from '../../src/contracts/pool.ts';
import { RUN_REPORT_QUERY, type RunReport } from '../../src/contracts/report.ts';
import { filesUnder, type FoundFile } from '../../src/handoff/bytes-under.ts';
import { memoryRootOf } from '../../src/host/tmpfs.ts';
import { MiB } from '../../src/policy/sizes.ts';
import { datafusion, load, query } from './stack-jobs.ts';
import { eventually } from './stack-waiting.ts';
import { root as projectRoot, Stack } from './stack.ts';

/** Rows of a container that are known to be small stay in memory between their steps, and are lent like any other byte. */
let stack: Stack;
let root: string;
beforeAll(async () => {
  stack = await Stack.open('rows', {
    pool: { limit: '8 GiB' },
    transforms: join(projectRoot, 'test', 'integration', 'transforms-of-stack.ts'),
  });
  await stack.worker();
  root = (await memoryRootOf(stack.parts.scratch))!;
}, 600_000);
afterEach(() => stack?.clean(), 90_000);
afterAll(() => stack?.close(), 90_000);

const ROWS = 60_000;
const job = (table: string, times = 4): PipelineSpec => ({
  name: 'rows',
  steps: [
    query('orders', 'select orderkey, comment from tpch.tiny.orders'),
    datafusion('copies', 'orders', `select orderkey, comment, number from orders cross join (select unnest(range(0, ${times})) as number) as numbers`), // prettier-ignore
    load(stack, 'copies', table, { write: 'append' }),
  ],
});

const count = async (table: string): Promise<number> =>
  Number((await stack.sql<{ rows: string }>(`select count(*) as rows from ${stack.schema}.${table}`))[0]!.rows);
const report = (workflowId: string): Promise<RunReport> =>
  stack.client.workflow.getHandle(workflowId).query<RunReport>(RUN_REPORT_QUERY);
const copiesOf = async (workflowId: string): Promise<StepReport> =>
  (await report(workflowId)).steps.find(({ step }) => step === 'copies')!;

/** Runs it; answers how the rows of `copies` were handed over. */
async function ran(spec: PipelineSpec): Promise<StepReport> {
  const workflowId = await stack.startJob(spec);
  await stack.result(workflowId);
  return copiesOf(workflowId);
}

/** What lies in memory now, but for what was there before this file began. */
const filesInMemory = async (): Promise<FoundFile[]> =>
  (await filesUnder(root)).filter(({ path }) => !stack.before.has(`file ${path}`));

/** Starts it with its load held up by a lock; answers what lies in memory once it waits there. */
async function held(table: string): Promise<{ workflowId: string; files: FoundFile[]; data: LeaseStatus }> {
  const workflowId = await stack.startJob(job(table));
  const seen = await eventually(async () => {
    const data = (await stack.status()).leases.find(({ kind, step, bytes }) => kind === 'data' && step === 'copies' && bytes > 0); // prettier-ignore
    const waits = await stack.sql(`select 1 from pg_stat_activity where application_name like 'spillway/%' and wait_event_type = 'Lock'`); // prettier-ignore
    return data && waits.length > 0 ? { data, files: await filesInMemory() } : undefined;
  });
  return { workflowId, ...seen };
}

/** Does something while the table is locked. */
async function whileLocked(table: string, act: () => Promise<void>): Promise<void> {
  const lock = await stack.connect();
  try {
    await lock.query(`begin; lock table ${stack.schema}.${table} in access exclusive mode`);
    await act();
  } finally {
    await lock.end();
  }
}

test('the second run keeps them in memory, charged to the dataset until they are read', async () => {
  expect(await ran(job('first'))).toMatchObject({ mode: 'arrow', rows: ROWS });
  let workflowId = '';
  await whileLocked('first', async () => {
    const { files, data, ...started } = await held('first');
    workflowId = started.workflowId;
    expect(files).toHaveLength(1);
    expect(data.bytes).toBe(Math.ceil(files[0]!.bytes / 4096) * 4096);
    expect(data.bytes).toBeGreaterThan(3 * MiB);
    expect((await stack.status()).lentBytes).toBeGreaterThanOrEqual(data.bytes);
  });
  await stack.result(workflowId);
  expect(await copiesOf(workflowId)).toMatchObject({ mode: 'shm', because: expect.stringContaining('in another process') }); // prettier-ignore
  expect(await count('first')).toBe(2 * ROWS);
}, 300_000);

test('kill -9 of the worker loses none of them; what is lost all the same is computed again, once', async () => {
  await ran(job('second'));
  for (const lose of [false, true]) {
    let workflowId = '';
    await whileLocked('second', async () => {
      const { files, ...started } = await held('second');
      workflowId = started.workflowId;
      await Promise.all(stack.workers.map((worker) => worker.kill()));
      if (lose) for (const { path } of files) rmSync(path);
    });
    await stack.worker();
    await stack.result(workflowId);
    const runs = (await stack.summaries(workflowId)).filter((summary) => summary.startsWith('copies'));
    expect(runs).toHaveLength(lose ? 2 : 1);
    expect((await report(workflowId)).warnings.filter((warning) => warning.includes('computed again'))).toHaveLength(lose ? 1 : 0); // prettier-ignore
  }
  expect(await count('second')).toBe(3 * ROWS);
}, 300_000);

test('rows of a transform stay in memory as well', async () => {
  const told = (table: string): PipelineSpec => ({
    name: 'told',
    steps: [
      query('orders', 'select orderkey, comment from tpch.tiny.orders'),
      { step: 'copies', verb: 'transform', from: 'orders', run: 'hold', args: { bytes: 0 } },
      load(stack, 'copies', table, { write: 'append' }),
    ],
  });
  expect(await ran(told('told'))).toMatchObject({ verb: 'transform', mode: 'arrow', rows: ROWS / 4 });
  let workflowId = '';
  await whileLocked('told', async () => {
    workflowId = await stack.startJob(told('told'));
    const data = await eventually(async () => (await stack.status()).leases.find(({ kind, step, bytes }) => kind === 'data' && step === 'copies' && bytes > 0)); // prettier-ignore
    const [file, ...others] = await filesInMemory();
    expect(others).toEqual([]);
    expect(data.bytes).toBe(Math.ceil(file!.bytes / 4096) * 4096);
  });
  await stack.result(workflowId);
  expect(await copiesOf(workflowId)).toMatchObject({ mode: 'shm', rows: ROWS / 4 });
  expect(await count('told')).toBe(ROWS / 2);
}, 300_000);

test('more rows than were expected go on on disk, and all arrive', async () => {
  await ran(job('third'));
  const grown = await ran(job('third', 40));
  expect(grown).toMatchObject({ mode: 'arrow', rows: 10 * ROWS, because: expect.stringMatching(/more came than was expected, and [\d.]+ MiB of it are on disk/) }); // prettier-ignore
  expect(await count('third')).toBe(11 * ROWS);
  // Now it is known how many there may be.
  expect(await ran(job('third', 40))).toMatchObject({ mode: 'shm' });
}, 300_000);

/** Runs `copies` and then a step that is lent all there is, so that its own input has to go. */
const greedy = (table: string): PipelineSpec => ({
  name: 'greedy',
  steps: [
    query('orders', 'select orderkey, comment from tpch.tiny.orders'),
    datafusion('copies', 'orders', 'select orderkey, comment, number from orders cross join (select unnest(range(0, 4)) as number) as numbers'), // prettier-ignore
    { step: 'all', verb: 'datafusion.sql', from: { copies: 'copies' }, sql: 'select orderkey, comment, number from copies', profile: 'whole' }, // prettier-ignore
    load(stack, 'all', table, { write: 'append' }),
  ],
});

describe('rows in the way of a step that needs the whole pool', () => {
  const demoted = async (): Promise<number> => {
    const { workflow } = stack.client;
    const { raw } = await workflow.getHandle(poolWorkflowId(stack.pool)).describe();
    let count = 0;
    // Through all its runs: it continues as a new one now and then.
    for (let runId = raw.workflowExecutionInfo?.firstRunId; runId;) {
      const { events } = await workflow.getHandle(poolWorkflowId(stack.pool), runId).fetchHistory();
      count += events!.filter((event) => event.activityTaskScheduledEventAttributes?.activityType?.name === 'demoteRows').length; // prettier-ignore
      runId = events!.at(-1)?.workflowExecutionContinuedAsNewEventAttributes?.newExecutionRunId;
    }
    return count;
  };

  test('go to disk, also when they are its own input, and are read there', async () => {
    for (const expected of [0, 1]) {
      const before = await demoted();
      const workflowId = await stack.startJob(greedy('fourth'));
      await stack.result(workflowId);
      expect(await copiesOf(workflowId)).toMatchObject({ mode: expected === 0 ? 'arrow' : 'shm' });
      expect((await demoted()) - before).toBe(expected);
      expect((await report(workflowId)).warnings).toEqual([]);
    }
    expect(await count('fourth')).toBe(2 * ROWS);
    expect((await stack.status()).lentBytes).toBe(0);
  }, 300_000);

  test('stay where they are while another run reads them; both runs end well', async () => {
    await ran(job('fifth'));
    let reads = '';
    let waits = '';
    await whileLocked('fifth', async () => {
      const { workflowId, files } = await held('fifth');
      reads = workflowId;
      waits = await stack.startJob(greedy('sixth'));
      await eventually(async () => ((await demoted()) > 1 ? true : undefined));
      expect(await filesInMemory()).toEqual(expect.arrayContaining(files));
    });
    await Promise.all([stack.result(reads), stack.result(waits)]);
    expect([await count('fifth'), await count('sixth')]).toEqual([2 * ROWS, ROWS]);
  }, 300_000);
});

import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { readProcessId } from '../../src/host/process-id.ts';
import { bringUp } from '../../src/provision/bring-up.ts';
import { cacheDir, hostHardware, sharedHome } from './provision-home.ts';
import { runningContainer } from './stack-containers.ts';
import { endlessJob, pairs, slowJob, wideJob, wideSql } from './stack-jobs.ts';
import { Stack } from './stack.ts';
import { trinoRows } from './stack-trino.ts';
import { eventually } from './stack-waiting.ts';

/** Orders on the left of {@link slowJob}: a container that works for seconds. */
const SECONDS = 30_000;

let stack: Stack;
beforeAll(async () => {
  stack = await Stack.open('faults');
  await stack.worker();
}, 600_000);
afterEach(() => stack?.clean(), 90_000);
afterAll(() => stack?.close(), 90_000);

/** Holds a table of {@link slowJob} to what Trino answers. */
async function expectPairs(table: string, left: number): Promise<void> {
  const wanted = await trinoRows(stack.parts.trino.url, `${pairs('tpch.tiny.orders', left)} order by 1`);
  const rows = await stack.sql<{ rest: string; pairs: string }>(
    `select rest, pairs from ${stack.schema}.${table} order by 1`,
  );
  expect(rows.map(({ rest, pairs: count }) => [Number(rest), Number(count)])).toEqual(wanted);
}

/** Rows of a COPY that is under way; undefined when none is. */
async function rowsCopied(): Promise<number | undefined> {
  const [copy] = await stack.sql<{ rows: string }>(
    `select tuples_processed as rows from pg_stat_progress_copy where tuples_processed > 0`,
  );
  return copy && Number(copy.rows);
}

/** Starts the server of the stack again, on its port and data. */
const startPostgres = (): Promise<unknown> =>
  bringUp({
    ...{ home: sharedHome, cacheDir, hardware: hostHardware(), systemPackages: false, env: process.env },
    ...{ only: ['postgres'], report: () => undefined },
  });

describe('PostgreSQL stopped while a table is loaded', () => {
  test('is waited for: the failed attempt says what happened, nothing of it is seen, and the load completes', async () => {
    const copies = 20;
    const workflowId = await stack.startJob(wideJob(stack, 'wide', copies, 'freeze'));
    await eventually(rowsCopied, { everyMs: 10, what: 'a COPY' });
    const { pid } = stack.parts.postgres;
    process.kill(pid!, 'SIGINT'); // its fast stop: sessions are ended
    await eventually(async () => readProcessId(pid!) === undefined || undefined, {
      withinMs: 20_000,
      what: 'the stop of PostgreSQL',
    });
    await sleep(10_000);
    // Asked from before the server is back until it has failed: the next attempt takes seconds.
    const [load] = await Promise.all([
      eventually(async () => (await stack.describe(workflowId)).pending.find(({ attempt = 1 }) => attempt >= 2), {
        what: 'a second attempt',
      }),
      startPostgres(),
    ]);
    expect(load).toMatchObject({ activityType: { name: 'postgresLoad' } });
    expect(load.lastFailure!.message).toMatch(/PostgreSQL.*[Nn]othing was published/);

    await stack.result(workflowId);
    const sum = (from: string): string =>
      `select count(*) as lines, sum(orderkey) as orders, sum(copy) as copies from ${from}`;
    const [wanted] = await trinoRows(stack.parts.trino.url, sum(`(${wideSql(copies)})`));
    const [row] = await stack.sql<Record<string, string>>(sum(`${stack.schema}.wide`));
    expect(Object.values(row!)).toEqual(wanted!.map(String));
  }, 180_000);
});

describe('a worker that dies while its heavy container runs', () => {
  test('is replaced: another ends what it left and completes the run', async () => {
    const [dying] = stack.workers;
    const workflowId = await stack.startJob(slowJob(stack, 'killed', SECONDS));
    const orphan = await runningContainer(stack, 'paired');
    await dying!.kill();
    await stack.worker();
    await runningContainer(stack, 'paired', [orphan]);
    await stack.result(workflowId);
    await expectPairs('killed', SECONDS);
  }, 180_000);
});

describe('a run that is stopped from outside leaves nothing within a minute', () => {
  test.each<[string, string, string]>([
    ['terminated', 'terminate', 'TERMINATED'],
    ['cancelled', 'cancel', 'CANCELED'],
  ])(
    'when it is %s while its container runs',
    async (_title, command, status) => {
      const workflowId = await stack.startJob(endlessJob(stack, command));
      await runningContainer(stack, 'paired');
      expect(await stack.temporal(command, ['--workflow-id', workflowId])).toMatchObject({ exit: 0 });
      await expect(stack.result(workflowId)).rejects.toThrow();
      expect((await stack.describe(workflowId)).status).toBe(status);
      await stack.clean();
    },
    120_000,
  );

  test.each<[string, string, string]>([
    ['terminated', 'terminate', 'TERMINATED'],
    ['cancelled', 'cancel', 'CANCELED'],
  ])(
    'when it is %s while its query runs',
    async (_title, command, status) => {
      const workflowId = await stack.startJob(wideJob(stack, command, 2_000, 'freeze'));
      await eventually(
        async () => {
          const rows = await trinoRows(
            stack.parts.trino.url,
            `select 1 from system.runtime.queries where source like 'spillway/%/lines/%' and state = 'RUNNING'`,
          );
          return rows[0];
        },
        { what: 'a query of the run' },
      );
      expect(await stack.temporal(command, ['--workflow-id', workflowId])).toMatchObject({ exit: 0 });
      await expect(stack.result(workflowId)).rejects.toThrow();
      expect((await stack.describe(workflowId)).status).toBe(status);
      await stack.clean();
    },
    120_000,
  );
});

describe('a run that is reset while its container runs', () => {
  test('starts over: the old container ends, and the new run completes', async () => {
    const workflowId = await stack.startJob(slowJob(stack, 'reset', SECONDS));
    const old = await runningContainer(stack, 'paired');
    const ran = await stack.temporal('reset', [
      '--workflow-id',
      workflowId,
      '--type',
      'FirstWorkflowTask',
      '--reason',
      'a test',
    ]);
    expect(ran).toMatchObject({ exit: 0 });
    await runningContainer(stack, 'paired', [old]);
    await stack.result(workflowId);
    await expectPairs('reset', SECONDS);
  }, 180_000);
});

describe('a worker that is told to stop', () => {
  test('ends the step it runs, leaves the rest to others, and exits with 0', async () => {
    const [draining] = stack.workers;
    const workflowId = await stack.startJob(slowJob(stack, 'drained', SECONDS / 3));
    await runningContainer(stack, 'paired');
    draining!.signal('SIGTERM');
    expect(await draining!.ended).toEqual({ exit: 0, signal: null });
    expect(draining!.log).toMatch(/SIGTERM: draining/);
    // The step came to its end under the worker that drained; the load waits for the next one.
    expect((await stack.describe(workflowId)).pending).toEqual([]);
    expect(await activitiesOf(workflowId)).toEqual([
      ['trinoQuery', draining!.pid],
      ['datafusionSql', draining!.pid],
    ]);
    const next = await stack.worker();
    await stack.result(workflowId);
    expect((await activitiesOf(workflowId)).slice(2, 3)).toEqual([['postgresLoad', next.pid]]);
    await expectPairs('drained', SECONDS / 3);
  }, 180_000);
});

describe('a worker that is told to stop while it starts', () => {
  test('ends its start, whatever it was at, and nothing stays charged to it', async () => {
    await Promise.all(stack.workers.map((worker) => worker.end()));
    const told = [];
    for (const afterMs of [700, 1000, 1300, 1600, 1900]) {
      const starting = stack.spawnWorker();
      await sleep(afterMs);
      starting.signal('SIGTERM');
      // One that does not hear signals yet has been charged nothing.
      expect([0, null]).toContain((await starting.ended).exit);
      told.push(starting);
    }
    expect(told.map(({ log }) => log).join('')).toMatch(/SIGTERM: stopping before it polls/);
    expect(told.map(({ log }) => log).join('')).not.toMatch(/warning|Error/);
    await stack.worker();
    const { leases } = await stack.status();
    const charged = leases.map(({ step }) => step);
    for (const { pid } of told) expect(charged).not.toContain(`worker ${pid}`);
  }, 180_000);
});

/** Activities that completed, in order, each with the process that ran it. */
async function activitiesOf(workflowId: string): Promise<[string, number][]> {
  const { events } = await stack.client.workflow.getHandle(workflowId).fetchHistory();
  const names = new Map<string, string>();
  const done: [string, number][] = [];
  for (const event of events ?? []) {
    const scheduled = event.activityTaskScheduledEventAttributes;
    if (scheduled) names.set(String(event.eventId), scheduled.activityType?.name ?? '');
    const completed = event.activityTaskCompletedEventAttributes;
    if (completed)
      done.push([names.get(String(completed.scheduledEventId))!, Number(completed.identity?.split('@')[0])]);
  }
  return done;
}

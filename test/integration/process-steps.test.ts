import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { existsSync } from 'node:fs';
import type { DoctorReport } from '../../src/contracts/doctor.ts';
import { readProcessId } from '../../src/host/process-id.ts';
import { datafusionProcess } from '../../src/provision/datafusion-process.ts';
import { cacheDir } from './provision-home.ts';
import { endlessJob, pairs, slowJob, smallJob, SMALL_SQL } from './stack-jobs.ts';
import { stepProcesses } from './stack-leftovers.ts';
import { Stack } from './stack.ts';
import { trinoRows } from './stack-trino.ts';
import { eventually } from './stack-waiting.ts';

/** The product on a host that has no containers. */
let stack: Stack;
beforeAll(async () => {
  const { name } = await datafusionProcess(cacheDir, process.env, () => undefined);
  stack = await Stack.open('process', { runtime: { kind: 'process', image: name } });
  await stack.worker();
}, 600_000);
afterEach(() => stack?.clean(), 90_000);
afterAll(() => stack?.close(), 90_000);

/** The process of a step, other than those that are known. */
const running = (known: readonly number[] = []): Promise<number> =>
  eventually(
    async () => (await stepProcesses(stack)).map(({ process: { pid } }) => pid).find((pid) => !known.includes(pid)),
    { what: 'a process of the step' },
  );

test('a run goes through Trino, a DataFusion process and PostgreSQL', async () => {
  await stack.result(await stack.startJob(smallJob(stack, 'small')));
  const rows = await stack.sql<{ orderpriority: string; orders: string }>(
    `select orderpriority, orders from ${stack.schema}.small order by 1`,
  );
  expect(rows.map((row) => [row.orderpriority, Number(row.orders)])).toEqual(
    await trinoRows(stack.parts.trino.url, SMALL_SQL),
  );
}, 120_000);

test('kill -9 of the worker: another ends the process it left, and completes the run', async () => {
  const left = 30_000;
  const workflowId = await stack.startJob(slowJob(stack, 'killed', left));
  const orphan = await running();
  process.kill(orphan, 'SIGSTOP'); // or it may end by itself, when it tells nobody of its progress
  await stack.workers[0]!.kill();
  expect(readProcessId(orphan)).toBeDefined();
  await stack.worker();
  const next = await running([orphan]);
  expect(readProcessId(orphan)).toBeUndefined();
  expect(existsSync(`/proc/${next}`)).toBe(true);
  await stack.result(workflowId);
  const rows = await stack.sql<{ rest: string; pairs: string }>(
    `select rest, pairs from ${stack.schema}.killed order by 1`,
  );
  expect(rows.map((row) => [Number(row.rest), Number(row.pairs)])).toEqual(
    await trinoRows(stack.parts.trino.url, `${pairs('tpch.tiny.orders', left)} order by 1`),
  );
}, 180_000);

test.each(['terminate', 'cancel'])(
  '%s of the run ends it',
  async (command) => {
    const workflowId = await stack.startJob(endlessJob(stack, command));
    const pid = await running();
    expect(await stack.temporal(command, ['--workflow-id', workflowId])).toMatchObject({ exit: 0 });
    await expect(stack.result(workflowId)).rejects.toThrow();
    await stack.clean();
    expect(readProcessId(pid)).toBeUndefined();
  },
  120_000,
);

test('doctor says what this weakens', async () => {
  const { stdout } = await stack.spillway('doctor', ['--json']);
  const { findings } = JSON.parse(stdout) as DoctorReport;
  expect(findings.find(({ check }) => check === 'container runtime')).toMatchObject({
    verdict: 'warn',
    because: expect.stringMatching(
      /^DataFusion runs in processes of this user: memory is .*, network and files are not shut off$/,
    ),
  });
}, 60_000);

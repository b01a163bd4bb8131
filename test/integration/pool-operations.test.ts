import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { poolWorkflowId } from '../../src/contracts/pool.ts';
import { GiB } from '../../src/policy/sizes.ts';
import { runningContainer } from './stack-containers.ts';
import { endlessJob, slowJob, smallJob } from './stack-jobs.ts';
import { Stack } from './stack.ts';
import { eventually } from './stack-waiting.ts';

/** What an operator says to a pool, by both command lines. */
let stack: Stack;
beforeAll(async () => {
  stack = await Stack.open('operations', { pool: { limit: '8 GiB' } });
  await stack.worker();
}, 600_000);
afterEach(async () => {
  await stack?.spillway('pool', ['resume']); // whatever a test that failed had said
  await stack?.clean();
}, 90_000);
afterAll(() => stack?.close(), 90_000);

test('paused by the Temporal command line, runs wait and say why; resumed, they complete', async () => {
  const update = ['execute', '--workflow-id', poolWorkflowId(stack.pool), '--name', 'operate', '--input'];
  const paused = await stack.temporal('update', [...update, '{"act":"pause","because":"a new disk"}']);
  expect(paused).toMatchObject({ exit: 0 });
  const workflowId = await stack.startJob(smallJob(stack, 'paused'));
  const waiting = await eventually(async () => (await stack.status()).queue[0], { what: 'a step that waits' });
  expect(waiting.because).toBe('the pool is paused: a new disk');
  expect((await stack.spillway('pool')).stdout).toContain('paused: a new disk');
  expect(await stack.spillway('pool', ['resume'])).toMatchObject({ exit: 0, stderr: expect.stringContaining('grants go on') }); // prettier-ignore
  await stack.result(workflowId);
}, 120_000);

test('drained, it waits for what runs; nothing new starts until it is resumed', async () => {
  const workflowId = await stack.startJob(slowJob(stack, 'drained', 60_000));
  await runningContainer(stack, 'paired');
  const ran = await stack.spillway('pool', ['drain', '--because', 'a kernel']);
  expect(ran).toMatchObject({ exit: 0, stdout: expect.stringContaining('is drained') });
  expect(ran.stderr).toContain('1 steps hold');
  expect(await stack.spillway('pool', ['resume'])).toMatchObject({ exit: 0 });
  await stack.result(workflowId);
}, 180_000);

test('resized, it lends less, and never more than its host has', async () => {
  expect(await stack.spillway('pool', ['resize', '6 GiB'])).toMatchObject({ exit: 0 });
  expect(await stack.status()).toMatchObject({ limitBytes: 6 * GiB });
  const more = await stack.spillway('pool', ['resize', '1 TiB']);
  expect(more).toMatchObject({ exit: 2, stderr: expect.stringMatching(/at most 8 GiB, which host .* announced, got 1 TiB/) }); // prettier-ignore
  expect(await stack.spillway('pool', ['resize', '8 GiB'])).toMatchObject({ exit: 0 });
  expect(await stack.status()).toMatchObject({ limitBytes: 8 * GiB });
}, 60_000);

test('a lease that is kicked is free once its container is gone; the run asks anew', async () => {
  const workflowId = await stack.startJob(endlessJob(stack, 'kicked'));
  const first = await runningContainer(stack, 'paired');
  const lease = (await stack.status()).leases.find(({ step, kind }) => step === 'paired' && kind === 'work')!;
  expect(await stack.spillway('pool', ['kick', lease.leaseId, '--because', 'it hangs'])).toMatchObject({ exit: 0 });
  await runningContainer(stack, 'paired', [first]);
  const { leases } = await stack.status();
  expect(leases.map(({ leaseId }) => leaseId)).not.toContain(lease.leaseId);
  await stack.client.workflow.getHandle(workflowId).cancel();
  await expect(stack.result(workflowId)).rejects.toThrow();
}, 180_000);

test('an act or a lease that nobody knows is named', async () => {
  expect(await stack.spillway('pool', ['pauze'])).toMatchObject({ exit: 2, stderr: expect.stringContaining('Did you mean pause?') }); // prettier-ignore
  expect(await stack.spillway('pool', ['kick', 'no/such#0'])).toMatchObject({ exit: 2, stderr: expect.stringContaining('knows no lease') }); // prettier-ignore
}, 60_000);

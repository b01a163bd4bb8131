import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { WorkflowFailedError } from '@temporalio/client';
import { SpillwayError } from '../../src/contracts/errors.ts';
import type { PoolStatus } from '../../src/contracts/pool.ts';
import { GiB } from '../../src/policy/sizes.ts';
import { countTypes, eventsOf, failureOf, localActivities, typeOf } from './history.ts';
import { ask } from './pool-double.ts';
import { eventually, type Run, Stage } from './stage.ts';

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.open({ pool: 'endings' });
}, 120_000);
afterAll(() => stage.close());
beforeEach(() => {
  stage.steps.reset();
  stage.control.drops.length = 0;
  stage.control.reconciles.length = 0;
});

const input = { since: '1998-01-01' };
const endOf = async (handle: Run): Promise<string> => {
  await handle.result().catch((error: unknown) => {
    if (!(error instanceof WorkflowFailedError)) throw error;
  });
  return (await handle.describe()).status.name;
};
/** How many workflow tasks a run has completed. */
const tasksOf = async (handle: Run): Promise<number> =>
  countTypes(await eventsOf(handle))['WORKFLOW_TASK_COMPLETED'] ?? 0;

describe('a cancelled run', () => {
  test('that waits takes its ask back, and whoever runs is not disturbed', async () => {
    const gate = stage.steps.hold('lines');
    const first = await stage.start('threeSteps', input);
    await gate.reached;
    const second = await stage.start('threeSteps', input);
    await eventually(
      'it waits',
      () => stage.status(),
      ({ queue }) => queue.length === 1,
    );
    await second.cancel();
    expect(await endOf(second)).toBe('CANCELLED');
    await eventually(
      'its ask is gone',
      () => stage.status(),
      ({ queue }) => queue.length === 0,
    );
    gate.open();
    expect(await endOf(first)).toBe('COMPLETED');
    await stage.idle();
  }, 30_000);

  test('whose step runs ends after the step has ended, and gives its bytes back with proof', async () => {
    const gate = stage.steps.hold('daily');
    const handle = await stage.start('threeSteps', input);
    await gate.reached;
    await handle.cancel();
    expect(await endOf(handle)).toBe('CANCELLED');
    const events = await eventsOf(handle);
    const types = events.map(typeOf);
    expect(types.indexOf('ACTIVITY_TASK_CANCELED')).toBeGreaterThan(0);
    expect(types.indexOf('ACTIVITY_TASK_CANCELED')).toBeLessThan(types.indexOf('WORKFLOW_EXECUTION_CANCELED'));
    expect(localActivities(events).slice(-1)).toEqual(['endLeases']);
    const run = (await handle.describe()).runId;
    expect(stage.control.drops).toEqual([
      { pool: 'endings', run, dataIds: [`${run}/lines`, `${run}/daily`], everything: false },
    ]);
    expect(stage.control.reconciles).toEqual([]); // nobody had to look: the attempt itself said how it left things
    await stage.idle();
  }, 30_000);
});

test('when one branch fails the other is stopped, what was computed is dropped, and the run fails with the first failure', async () => {
  const right = stage.steps.hold('right');
  stage.steps.on('left', async () => {
    await right.reached;
    throw new SpillwayError('SqlError', 'mart.left has no column day');
  });
  const handle = await stage.start('twoBranches');
  expect(await failureOf(handle)).toEqual({ type: 'SqlError', message: 'left: mart.left has no column day' });
  expect((await eventsOf(handle)).map(typeOf)).toContain('ACTIVITY_TASK_CANCELED');
  const run = (await handle.describe()).runId;
  expect(stage.control.drops.map(({ dataIds }) => dataIds.includes(`${run}/source`))).toEqual([true]);
  await stage.idle();
}, 30_000);

describe('a terminated run', () => {
  test('is suspected by the watch; what it held is looked after and freed, what it kept is dropped', async () => {
    const gate = stage.steps.hold('daily');
    const handle = await stage.start('threeSteps', input);
    const { request } = await gate.reached;
    await handle.terminate('a test');
    await stage.idle(20_000);
    expect(stage.control.reconciles).toContainEqual(
      expect.objectContaining({ leaseId: request.leaseId, step: 'daily', withdrawn: false }),
    );
  }, 30_000);

  test('that waited leaves the queue', async () => {
    const gate = stage.steps.hold('lines');
    const first = await stage.start('threeSteps', input);
    await gate.reached;
    const second = await stage.start('threeSteps', input);
    await eventually(
      'it waits',
      () => stage.status(),
      ({ queue }) => queue.length === 1,
    );
    await second.terminate('a test');
    await eventually(
      'its ask is gone',
      () => stage.status(),
      ({ queue }) => queue.length === 0,
      20_000,
    );
    gate.open();
    await first.result();
    await stage.idle();
  }, 30_000);
});

describe('a reset run', () => {
  test('whose step runs goes on with the lease that was asked for, and completes', async () => {
    const gate = stage.steps.hold('daily');
    const handle = await stage.start('threeSteps', input);
    await gate.reached;
    const run = (await handle.describe()).runId;
    const continued = await stage.reset(handle);
    gate.open();
    await continued.result();
    expect(stage.steps.of('lines')).toHaveLength(1);
    expect(stage.steps.of('daily').map(({ request }) => request.leaseId)).toEqual([`${run}/daily#0`, `${run}/daily#0`]);
    await stage.idle(20_000);
  }, 40_000);

  test('whose attempt begins on a lease of the run before is told so, and asks anew', async () => {
    const left = stage.steps.hold('left');
    const handle = await stage.start('twoBranches');
    await left.reached;
    await eventually(
      'the other branch is done',
      () => stage.report(handle),
      ({ steps }) => steps.some(({ step }) => step === 'right'),
    );
    const run = (await handle.describe()).runId;
    const continued = await stage.reset(handle);
    left.open();
    await continued.result();
    expect(stage.steps.of('left').map(({ request }) => request.leaseId)).toEqual([`${run}/left#0`, `${run}/left#1`]);
    expect((await stage.status()).stats['stale']).toBeGreaterThan(0);
    await stage.idle(20_000);
  }, 40_000);

  test('that waited asks again, since nobody can grant what the run before asked for', async () => {
    const all = ask({ bytes: 60 * GiB });
    await stage.pool.acquire('endings', all);
    const handle = await stage.start('oneLoad');
    await eventually(
      'it waits',
      () => stage.status(),
      ({ queue }) => queue.length === 1,
    );
    const tasks = await tasksOf(handle);
    await handle.signal('nudge'); // a workflow task after the one that asked
    await eventually(
      'one task more',
      () => tasksOf(handle),
      (now) => now > tasks,
    );
    const continued = await stage.reset(handle);
    await stage.pool.withdraw('endings', [{ leaseId: all.leaseId }]);
    await continued.result();
    await stage.idle(20_000);
  }, 40_000);
});

describe('a run that is reset to its start with the grant of its earlier life', () => {
  test('does not take it for a new one: it waits its turn', async () => {
    const all = ask({ bytes: 60 * GiB });
    await stage.pool.acquire('endings', all);
    const handle = await stage.start('oneLoad');
    const waits = (): Promise<PoolStatus> =>
      eventually(
        'it waits',
        () => stage.status(),
        ({ queue }) => queue.length === 1,
      );
    await waits();
    await stage.pool.withdraw('endings', [{ leaseId: all.leaseId }]);
    await handle.result();
    const again = ask({ leaseId: 'again/step#0', bytes: 60 * GiB });
    await stage.pool.acquire('endings', again);
    const { stale } = (await stage.status()).stats;

    const continued = await stage.reset(handle, 'first');
    await waits();
    const signals = countTypes(await eventsOf(continued))['WORKFLOW_EXECUTION_SIGNALED'];
    expect(signals).toBe(1); // the server brought the old grant along
    expect(stage.steps.of('load')).toHaveLength(1);
    await stage.pool.withdraw('endings', [{ leaseId: again.leaseId }]);
    await continued.result();
    expect((await stage.status()).stats['stale']).toBe(stale);
    await stage.idle(20_000);
  }, 40_000);
});

describe('faults around a run', () => {
  test('a pool terminated in the middle of a run opens again, and the run completes', async () => {
    const gate = stage.steps.hold('daily');
    const handle = await stage.start('threeSteps', input);
    await gate.reached;
    await stage.poolHandle.terminate('a test');
    gate.open();
    await handle.result();
    const open = ({ limitBytes, standingBytes }: PoolStatus): boolean =>
      limitBytes === 64 * GiB && standingBytes === 4 * GiB;
    await eventually('the host says its limits again', () => stage.status(), open);
    expect(await stage.idle()).toMatchObject({ lentBytes: 0, queue: [] });
    expect(await stage.run('oneLoad')).toMatchObject({ step: 'load' });
  }, 40_000);

  test('a worker that stops with a running step hands it to the next worker, which works with a higher token', async () => {
    let first = true;
    const gate = stage.steps.hold('daily');
    stage.steps.on('daily', async (call, attempt) => {
      if (!first) return;
      first = false;
      await gate.script(call, attempt);
    });
    const handle = await stage.start('threeSteps', input);
    await gate.reached;
    await stage.stopStepWorkers();
    await stage.startStepWorkers();
    await handle.result();
    const [before, after] = stage.steps.of('daily');
    expect(after).toMatchObject({ attempt: 2, request: { leaseId: before!.request.leaseId } });
    expect(after!.token).toBeGreaterThan(before!.token);
    await stage.idle();
  }, 40_000);
});

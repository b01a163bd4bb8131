import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { HandoffPart, HandoffRef } from '../../src/contracts/handoff.ts';
import { SpillwayError } from '../../src/contracts/errors.ts';
import type { PoolStatus } from '../../src/contracts/pool.ts';
import { GiB } from '../../src/policy/sizes.ts';
import { failureOf } from './history.ts';
import { eventually, Stage } from './stage.ts';
import { Gate, type Script, type StepCall } from './step-doubles.ts';

/** Rows that a step keeps in memory are lent like any other byte, and come back once they were read. */
let stage: Stage;
beforeAll(async () => {
  stage = await Stage.open({ pool: 'kept', shmFreeBytes: 64 * GiB });
}, 120_000);
afterAll(() => stage.close());
beforeEach(() => {
  stage.steps.reset();
  stage.control.drops.length = 0;
  stage.control.demotions.length = 0;
  delete stage.control.onDemote;
});

/** Leaves 3 GiB of rows in memory. */
const keeps: Script = ({ request }: StepCall) => {
  const part = { kind: 'arrow', uri: 'file:///dev/shm/rows.arrow', rows: 1000, bytes: 3 * GiB, inMemory: true } as const; // prettier-ignore
  const output: HandoffRef = {
    ...{ mode: 'shm', because: 'a test', parts: [part], schema: [], rows: 1000, bytes: part.bytes },
    ...{ host: 'reference-host', dataId: `${request.run}/${request.spec.step}`, fingerprint: 'f' },
  };
  return { output };
};
const dataBytes = ({ leases }: PoolStatus): number =>
  leases.filter(({ kind }) => kind === 'data').reduce((sum, { bytes }) => sum + bytes, 0);
const lost = (): never => {
  throw new SpillwayError('HandoffLost', 'the rows are gone');
};

test('they are lent to the dataset while it is read, and are back when it has ended', async () => {
  stage.steps.on('source', keeps);
  const [left, right] = [stage.steps.hold('left'), stage.steps.hold('right')];
  const handle = await stage.start('twoReaders');
  await Promise.all([left.reached, right.reached]);
  await eventually('the dataset has its bytes', () => stage.status(), (status) => dataBytes(status) === 3 * GiB); // prettier-ignore
  left.open();
  await eventually('one reader is done', () => stage.report(handle), ({ steps }) => steps.some(({ step }) => step === 'left')); // prettier-ignore
  expect(dataBytes(await stage.status())).toBe(3 * GiB);
  expect(stage.control.drops).toEqual([]);
  right.open();
  await handle.result();
  expect(await stage.idle()).toMatchObject({ lentBytes: 0 });
}, 60_000);

test('they are back once all who were to read them have; a later reader has them computed again, with a warning', async () => {
  const again = new Gate();
  stage.steps.on('first', async (call, attempt) => {
    if (stage.steps.of('first').length > 1) await again.script(call, attempt);
    return keeps(call, attempt);
  });
  const handle = await stage.start<string[]>('readsAgain');
  const { request } = await again.reached;
  expect(stage.control.drops).toEqual([
    { pool: 'kept', run: request.run, dataIds: [`${request.run}/first`], steps: ['first'], everything: false },
  ]);
  await eventually('the dataset is gone', () => stage.status(), (status) => dataBytes(status) === 0); // prettier-ignore
  again.open();
  expect(await handle.result()).toEqual(['one', 'two']);
  const calls = stage.steps.of('first');
  expect(calls).toHaveLength(2);
  expect(calls[1]!.token).toBeGreaterThan(calls[0]!.token);
  expect((await stage.report(handle)).warnings).toEqual([expect.stringMatching(/^first is read again after .* Promise\.all/)]); // prettier-ignore
  expect(await stage.idle()).toMatchObject({ lentBytes: 0 });
}, 60_000);

describe('rows that were lost', () => {
  test('are computed again, once, by whoever misses them', async () => {
    stage.steps.on('source', keeps);
    for (const step of ['left', 'right']) stage.steps.on(step, () => (stage.steps.of('source').length < 2 ? lost() : undefined)); // prettier-ignore
    const handle = await stage.start('twoReaders');
    await handle.result();
    expect(stage.steps.of('source')).toHaveLength(2);
    expect(stage.steps.of('source').at(1)!.request).toMatchObject({
      handoff: { mode: 'arrow', because: 'its rows in memory were lost' },
    });
    expect((await stage.report(handle)).warnings).toEqual([
      expect.stringContaining('source is computed again, onto disk'),
    ]);
    expect(await stage.idle()).toMatchObject({ lentBytes: 0 });
  }, 60_000);

  test('time and again fail the run', async () => {
    stage.steps.on('source', keeps);
    stage.steps.on('left', lost);
    expect(await failureOf(await stage.start('twoReaders'))).toMatchObject({ type: 'HandoffLost' });
    expect(stage.steps.of('left')).toHaveLength(2);
    expect(await stage.idle()).toMatchObject({ lentBytes: 0 });
  }, 60_000);

  test('from disk fail the run at once', async () => {
    stage.steps.on('left', lost);
    expect(await failureOf(await stage.start('twoReaders'))).toMatchObject({ type: 'HandoffLost' });
    expect(stage.steps.of('source')).toHaveLength(1);
  }, 60_000);
});

test('rows that went to Parquet while they were written are decoded under a lease of their reader, which was planned for Arrow', async () => {
  const parts = ['arrow', 'parquet'].map((kind, i) => ({ kind, uri: `file:///scratch/part-0000${i}.${kind}`, rows: 500, bytes: GiB })) as HandoffPart[]; // prettier-ignore
  stage.steps.on('source', ({ request }) => ({
    output: {
      ...{ mode: 'parquet', because: 'a test', parts, schema: [], rows: 1000, bytes: 2 * GiB },
      ...{ host: 'reference-host', dataId: `${request.run}/source`, fingerprint: 'f' },
    },
  }));
  await (await stage.start('twoReaders')).result();
  expect(stage.steps.of('source')[0]!.request.handoff).toMatchObject({ parquetPastBytes: expect.any(Number) }); // prettier-ignore
  for (const step of ['left', 'right'])
    expect(stage.steps.of(step).map(({ request }) => request)).toMatchObject([
      { leaseId: expect.any(String), leaseBytes: 600_000_000, rung: 'decode' },
    ]);
  expect(await stage.idle()).toMatchObject({ lentBytes: 0 });
}, 60_000);

describe('rows that are in the way of a step that waits', () => {
  /** Lends all that can be lent to a step of another run; answers once it has it. */
  const takesAll = async (): Promise<void> => {
    await stage.pool.operate('kept', { act: 'forget', history: 'asksFor/big' }); // or it is asked what it used before
    await (await stage.start('asksFor', { memory: '60 GiB' })).result();
  };

  test('go to disk while their own run goes on, and that step runs', async () => {
    stage.steps.on('source', keeps);
    const [left, right] = [stage.steps.hold('left'), stage.steps.hold('right')];
    const handle = await stage.start('twoReaders');
    const { request } = await left.reached;
    await right.reached;
    await takesAll();
    const [demotion, ...others] = stage.control.demotions;
    expect(demotion).toEqual({ pool: 'kept', dataId: `${request.run}/source`, step: 'source', token: stage.steps.of('source')[0]!.token, scratchBytes: 3 * GiB }); // prettier-ignore
    expect(others).toEqual([]);
    expect((await stage.status()).leases.find(({ kind, step }) => kind === 'data' && step === 'source')).toMatchObject({ scratchBytes: 3 * GiB }); // prettier-ignore
    left.open();
    right.open();
    await handle.result();
    expect(await stage.idle()).toMatchObject({ lentBytes: 0, scratchLentBytes: 0 });
  }, 60_000);

  test('stay while they are read, and that step runs once they were', async () => {
    stage.steps.on('source', keeps);
    stage.control.onDemote = ({ dataId, token }) => ({ dataId, token, outcome: 'busy', scratchBytes: 0, because: 'a double' }); // prettier-ignore
    const [left, right] = [stage.steps.hold('left'), stage.steps.hold('right')];
    const handle = await stage.start('twoReaders');
    await Promise.all([left.reached, right.reached]);
    const all = takesAll();
    await eventually('somebody was told', async () => stage.control.demotions, (demotions) => demotions.length > 0); // prettier-ignore
    expect(dataBytes(await stage.status())).toBe(3 * GiB);
    left.open();
    right.open();
    await Promise.all([handle.result(), all]);
    expect(await stage.idle()).toMatchObject({ lentBytes: 0 });
  }, 60_000);

  test('are dropped where the disk is full, and computed again onto disk by their reader', async () => {
    stage.steps.on('source', keeps);
    stage.control.onDemote = ({ dataId, token }) => ({ dataId, token, outcome: 'dropped', scratchBytes: 0, because: 'a double' }); // prettier-ignore
    const right = stage.steps.hold('right');
    stage.steps.on('left', () => (stage.steps.of('source').length < 2 ? lost() : undefined));
    const handle = await stage.start('twoReaders');
    await right.reached;
    await takesAll();
    right.open();
    await handle.result();
    expect(stage.steps.of('source')).toHaveLength(2);
    expect(await stage.idle()).toMatchObject({ lentBytes: 0 });
  }, 60_000);
});

test('a step whose rows were small before asks for them beside its rung, and gives what it kept to the dataset', async () => {
  const daily = async (): Promise<StepCall> => {
    await stage.run('threeSteps', { since: '1998-01-01' });
    return stage.steps.of('daily').at(-1)!;
  };
  expect((await daily()).request).toMatchObject({ leaseBytes: 6 * GiB, handoff: { mode: 'arrow' } });
  const { request } = await daily();
  // 8 MiB of rows were measured; a quarter more is asked.
  expect(request).toMatchObject({ leaseBytes: 6 * GiB + 10 * 2 ** 20, shmBytes: 10 * 2 ** 20, handoff: { mode: 'shm' } }); // prettier-ignore
}, 60_000);

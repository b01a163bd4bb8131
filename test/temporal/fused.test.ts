import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { SpillwayError } from '../../src/contracts/errors.ts';
import { eventsOf, scheduled } from './history.ts';
import { Stage } from './stage.ts';

/** Steps of one engine in a row are one activity, under one lease. */
let stage: Stage;
beforeAll(async () => {
  stage = await Stage.open({ pool: 'fused' });
}, 120_000);
afterAll(() => stage.close());
beforeEach(() => stage.steps.reset());

const ran = (): string[] => stage.steps.calls.map(({ step }) => step);

test('the last of them runs with the statements of all, and is given what the first one reads', async () => {
  const handle = await stage.start('inARow', {});
  await handle.result();
  expect(ran()).toEqual(['rows', 'third', 'load']);
  const { request } = stage.steps.of('third')[0]!;
  expect(request.fused).toMatchObject({ step: 'third', from: { rows: { step: 'second', from: { rows: { step: 'first', from: { rows: 'rows' } } } } } }); // prettier-ignore
  expect(Object.keys(request.inputs)).toEqual(['first.rows']);
  expect((await stage.report(handle)).warnings).toEqual([]);
  const [heavy] = scheduled(await eventsOf(handle)).filter(({ type }) => type === 'datafusionSql');
  expect(heavy!.summary).toBe('third · DataFusion · S 2 GiB with first, second');
  expect(await stage.idle()).toMatchObject({ lentBytes: 0 });
}, 60_000);

test('what was part of another step is computed again for a later turn, with a warning', async () => {
  const handle = await stage.start('inARow', { again: true });
  expect(await handle.result()).toEqual(['load', 'later']);
  expect(ran()).toEqual(['rows', 'third', 'load', 'second', 'later']);
  expect(stage.steps.of('second')[0]!.request.fused).toMatchObject({
    step: 'second',
    from: { rows: { step: 'first' } },
  });
  expect((await stage.report(handle)).warnings).toEqual([expect.stringMatching(/^second is computed again: it was part of third before.* isolate: true/)]); // prettier-ignore
}, 60_000);

test('what one of them reads and is lost is computed again, once', async () => {
  stage.steps.on('third', ({ request: { inputs } }) => {
    if (stage.steps.of('rows').length < 2) throw new SpillwayError('HandoffLost', 'gone', { details: { lost: Object.keys(inputs) } }); // prettier-ignore
  });
  await stage.run('inARow', {});
  expect(ran()).toEqual(['rows', 'third', 'rows', 'third', 'load']);
}, 60_000);

describe('steps that read the same one', () => {
  const lostOnce = (of: string): void =>
    stage.steps.on(`load-${of}`, ({ request: { inputs } }) => {
      if (stage.steps.of(`load-${of}`).length < 2) throw new SpillwayError('HandoffLost', 'gone', { details: { lost: Object.keys(inputs) } }); // prettier-ignore
    });

  test('are one activity, whose container hands over the rows of both', async () => {
    const handle = await stage.start('inAFork', {});
    expect(await handle.result()).toEqual(['load-left', 'load-right']);
    expect(ran().slice(0, 2)).toEqual(['rows', 'left']);
    expect(ran().slice(2).toSorted()).toEqual(['load-left', 'load-right']);
    const { request } = stage.steps.of('left')[0]!;
    const shared = { step: 'shared', from: { rows: 'rows' } };
    expect(request.fused).toMatchObject({ step: 'left', from: { rows: shared } });
    expect(request.further).toMatchObject([{ step: 'right', query: { step: 'right', from: { rows: shared } } }]);
    expect(Object.keys(request.inputs)).toEqual(['shared.rows']);
    const [heavy] = scheduled(await eventsOf(handle)).filter(({ type }) => type === 'datafusionSql');
    expect(heavy!.summary).toBe('left · DataFusion · S 2 GiB with shared, right');
    const { steps, warnings } = await stage.report(handle);
    expect(steps.find(({ step }) => step === 'right')).toMatchObject({ rung: 'with left', leaseBytes: 0, rows: 1000, attempts: 1 }); // prettier-ignore
    expect(warnings).toEqual([]);
    expect(await stage.idle()).toMatchObject({ lentBytes: 0 });
    // Both are told to whoever cleans up.
    expect(stage.control.drops.at(-1)!.dataIds).toEqual(expect.arrayContaining([expect.stringContaining('left'), expect.stringContaining('right')])); // prettier-ignore
  }, 60_000);

  test.each(['left', 'right'])(
    'are apart once rows of %s are lost: those alone are computed again',
    async (side) => {
      lostOnce(side);
      const handle = await stage.start('inAFork', {});
      await handle.result();
      expect(ran().filter((step) => !step.startsWith('load-'))).toEqual(['rows', 'left', side]);
      expect(stage.steps.of(side).at(-1)!.request).toMatchObject({ fused: { step: side, from: { rows: { step: 'shared' } } } }); // prettier-ignore
      expect(stage.steps.of(side).at(-1)!.request.further).toBeUndefined();
      expect((await stage.report(handle)).warnings).toEqual([
        `${side} is needed again: its rows are gone from scratch.`,
      ]);
      expect(await stage.idle()).toMatchObject({ lentBytes: 0 });
    },
    60_000,
  );

  test('are apart where a worker of an earlier release computes the first alone', async () => {
    stage.steps.on('left', () => ({ further: undefined }) as never);
    const handle = await stage.start('inAFork', {});
    expect(await handle.result()).toEqual(['load-left', 'load-right']);
    expect(ran().filter((step) => !step.startsWith('load-'))).toEqual(['rows', 'left', 'right']);
    expect(await stage.idle()).toMatchObject({ lentBytes: 0 });
  }, 60_000);

  test('climb together', async () => {
    stage.steps.on('left', () => {
      if (stage.steps.of('left').length < 2) throw new SpillwayError('EngineExhausted', 'no room');
    });
    await stage.run('inAFork', {});
    const [first, second, ...more] = stage.steps.of('left').map(({ request }) => request);
    expect(more).toEqual([]);
    expect(second!.leaseBytes).toBeGreaterThan(first!.leaseBytes);
    expect(second!.further).toEqual(first!.further);
    expect(stage.steps.of('right')).toEqual([]);
  }, 60_000);
});

import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
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

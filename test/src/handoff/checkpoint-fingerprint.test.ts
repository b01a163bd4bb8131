import { describe, expect, test } from '@jest/globals';
import type { Checkpoint, StepSpec } from '../../../src/contracts/pipeline.ts';
import { checkpointsOf } from '../../../src/handoff/checkpoint-fingerprint.ts';

const steps = (checkpoint: Checkpoint | undefined = true, params: number[] = [1]): StepSpec[] => [
  { step: 'lines', verb: 'trino.query', sql: 'select ?', params },
  { step: 'rated', verb: 'transform', from: 'lines', run: 'rate', args: { by: 2 } },
  { step: 'daily', verb: 'datafusion.sql', from: { rated: 'rated' }, sql: 'select 1 from rated', ...(checkpoint !== undefined && { checkpoint }) }, // prettier-ignore
  { step: 'publish', verb: 'postgres.load', from: 'daily', into: 'mart.daily' },
];
const print = (of: StepSpec[], transforms?: string): string => checkpointsOf(of, transforms).get('daily')!.fingerprint;
const changed = (place: number, by: object): StepSpec[] =>
  steps().map((step, i) => (i === place ? { ...step, ...by } : step));

test('only steps that ask for it are checkpoints', () => {
  expect([...checkpointsOf(steps()).keys()]).toEqual(['daily']);
  expect(checkpointsOf(steps(false)).size).toBe(0);
  expect(checkpointsOf(changed(2, { checkpoint: undefined })).size).toBe(0);
});

test.each<[string, Checkpoint, object]>([
  ['of the run, dropped with it', true, { reuse: 'run', keep: false }],
  ['that is kept', { keep: true }, { reuse: 'run', keep: true }],
  ['for every run', { reuse: 'any-run', version: '1' }, { reuse: 'any-run', keep: false }],
])('a checkpoint %s', (_title, checkpoint, says) =>
  expect(checkpointsOf(steps(checkpoint)).get('daily')).toMatchObject(says),
);

describe('a fingerprint', () => {
  test('is the same for the same steps, and does not know how they are run', () => {
    expect(print(steps(), 'code')).toBe(print(steps(), 'code'));
    expect(print(changed(2, { memory: '2 GiB', profile: 'L', priority: 1 }))).toBe(print(steps()));
    expect(print(changed(3, { into: 'mart.other' }))).toBe(print(steps()));
  });
  test.each<[string, StepSpec[], string]>([
    ['its statement', changed(2, { sql: 'select 2 from rated' }), 'code'],
    ['a parameter of what it reads', steps(true, [2]), 'code'],
    ['where that is read', changed(0, { connection: 'other' }), 'code'],
    ['arguments of a transform on the way', changed(1, { args: { by: 3 } }), 'code'],
    ['the code of the transforms', steps(), 'other code'],
    ['its version', steps({ version: '2' }), 'code'],
    ['the name of a table', changed(2, { from: { other: 'rated' } }), 'code'],
  ])('changes with %s', (_title, of, transforms) => expect(print(of, transforms)).not.toBe(print(steps(), 'code')));
});

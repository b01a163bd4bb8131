import { describe, expect, test } from '@jest/globals';
import type { DatafusionSqlStep, StepSpec } from '../../../src/contracts/pipeline.ts';
import { fusable, fusedQuery, inputsOfQuery, stepsOfQuery } from '../../../src/policy/fuse.ts';

const sql = (step: string, from: Record<string, string>, over: object = {}): DatafusionSqlStep => ({ step, verb: 'datafusion.sql', from, sql: `select ${step}`, ...over }); // prettier-ignore
const load = (from: string, step = 'load'): StepSpec => ({ step, verb: 'postgres.load', from, into: 'a.b' });
/** Reads q, three steps of DataFusion in a row. */
const chain = (over: Record<string, object> = {}): StepSpec[] => [
  { step: 'q', verb: 'trino.query', sql: 'select 1' },
  sql('a', { t: 'q' }, over['a']),
  sql('b', { t: 'a', other: 'q' }, over['b']),
  sql('c', { t: 'b' }, over['c']),
  load('c'),
];
const found = (steps: StepSpec[], decided?: Record<string, unknown>): Record<string, string> => Object.fromEntries(fusable(steps, decided)); // prettier-ignore

test('steps of one engine in a row become one; the last keeps its name', () => {
  expect(found(chain())).toEqual({ a: 'b', b: 'c' });
  const query = fusedQuery(chain()[3] as DatafusionSqlStep, chain(), fusable(chain()));
  expect(query).toEqual({
    step: 'c',
    sql: 'select c',
    from: {
      t: { step: 'b', sql: 'select b', from: { t: { step: 'a', sql: 'select a', from: { t: 'q' } }, other: 'q' } },
    },
  });
  expect(inputsOfQuery(query)).toEqual([['a.t', 'q'], ['b.other', 'q']]); // prettier-ignore
  expect(stepsOfQuery(query)).toEqual(['a', 'b']);
});

describe('a step stays on its own', () => {
  test.each<[string, StepSpec[], Record<string, string>]>([
    ['that is a checkpoint', chain({ a: { checkpoint: true } }), { b: 'c' }],
    ['that wants to', chain({ b: { isolate: true } }), {}],
    ['that asks for memory', chain({ a: { memory: '2 GiB' } }), { b: 'c' }],
    ['that asks for a profile', chain({ b: { profile: 'L' } }), { a: 'b' }],
    ['that has its own way of trying again', chain({ a: { retry: { maximumAttempts: 1 } } }), { b: 'c' }],
    ['that two read', [...chain(), load('b', 'second')], { a: 'b' }],
    ['that one reads twice', [...chain().slice(0, 3), sql('c', { left: 'b', right: 'b' }), load('c')], { a: 'b' }],
    ['that another engine reads', [...chain().slice(0, 2), load('a')], {}],
  ])('%s', (_title, steps, into) => expect(found(steps)).toEqual(into));

  test('once it was computed for an earlier turn', () => expect(found(chain(), { a: {} })).toEqual({ b: 'c' }));
  test('no longer when a checkpoint is switched off', () =>
    expect(found(chain({ a: { checkpoint: false } }))).toEqual({ a: 'b', b: 'c' }));
});

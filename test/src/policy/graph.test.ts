import { describe, expect, test } from '@jest/globals';
import type { StepSpec } from '../../../src/contracts/pipeline.ts';
import { inputsOf, sourcesOf, stepsFor } from '../../../src/policy/graph.ts';

const query = (step: string): StepSpec => ({ step, verb: 'trino.query', sql: 'select 1' });
const join = (step: string, from: Record<string, string>): StepSpec => ({
  step,
  verb: 'datafusion.sql',
  from,
  sql: 'select 1',
});
const load = (step: string, from: string): StepSpec => ({ step, verb: 'postgres.load', from, into: 'a.b' });
const names = (steps: StepSpec[]): string[] => steps.map(({ step }) => step);

describe('what a step reads', () => {
  test.each<[string, StepSpec, [string, string][]]>([
    ['a query reads no step', query('q'), []],
    [
      'a join reads each table by the name its statement uses',
      join('j', { l: 'left', r: 'right' }),
      [
        ['l', 'left'],
        ['r', 'right'],
      ],
    ],
    ['a load reads what it loads', load('p', 'j'), [['from', 'j']]],
  ])('%s', (_title, step, inputs) => expect(inputsOf(step)).toEqual(inputs));

  test('a step read under two names is one source', () => {
    expect(sourcesOf(join('j', { a: 'q', b: 'q' }))).toEqual(['q']);
  });
});

describe('the steps that sinks need', () => {
  const steps = [
    load('p', 'j'),
    load('p2', 'q'),
    join('j', { a: 'q', b: 'q2' }),
    query('q'),
    query('q2'),
    query('unread'),
  ];

  test.each<[string, string[], string[]]>([
    ['come sources first', ['p'], ['q', 'q2', 'j', 'p']],
    ['come once, although several sinks need them', ['p', 'p2'], ['q', 'q2', 'j', 'p', 'p2']],
    ['are only those', ['p2'], ['q', 'p2']],
    ['are none for no sinks', [], []],
  ])('%s', (_title, sinks, expected) => expect(names(stepsFor(sinks, steps))).toEqual(expected));

  test('a chain of a thousand steps is no matter', () => {
    const chain = [
      query('s0'),
      ...Array.from({ length: 1_000 }, (_, i) => join(`s${i + 1}`, { t: `s${i}` })),
    ].reverse();
    expect(names(stepsFor(['s1000'], chain))).toHaveLength(1_001);
  });
});

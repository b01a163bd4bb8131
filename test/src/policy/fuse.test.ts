import { describe, expect, test } from '@jest/globals';
import type { DatafusionSqlStep, StepSpec } from '../../../src/contracts/pipeline.ts';
import { seededNumbers } from '../../../bench/seeded-numbers.ts';
import { fuse, fusedQuery, inputsOfQuery, stepsOfQuery } from '../../../src/policy/fuse.ts';
import { inputsOf } from '../../../src/policy/graph.ts';

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
const found = (steps: StepSpec[], decided?: Record<string, unknown>): Record<string, string> => Object.fromEntries(fuse(steps, decided).into); // prettier-ignore

test('steps of one engine in a row become one; the last keeps its name', () => {
  expect(found(chain())).toEqual({ a: 'b', b: 'c' });
  const query = fusedQuery(chain()[3] as DatafusionSqlStep, chain(), fuse(chain()).into);
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
    ['that another engine reads', [...chain().slice(0, 2), load('a')], {}],
  ])('%s', (_title, steps, into) => expect(found(steps)).toEqual(into));

  test('once it was computed for an earlier turn', () => expect(found(chain(), { a: {} })).toEqual({ b: 'c' }));
  test('no longer when a checkpoint is switched off', () =>
    expect(found(chain({ a: { checkpoint: false } }))).toEqual({ a: 'b', b: 'c' }));
});

describe('what several tables stand for', () => {
  test('is part of the step that reads it twice, and of what that is part of', () => {
    const steps = [...chain().slice(0, 3), sql('c', { left: 'b', right: 'b' }), load('c')];
    expect(found(steps)).toEqual({ a: 'b', b: 'c' });
    const query = fusedQuery(steps[3] as DatafusionSqlStep, steps, fuse(steps).into);
    expect(query.from['left']).toEqual(query.from['right']);
    expect(inputsOfQuery(query)).toEqual([['a.t', 'q'], ['b.other', 'q']]); // prettier-ignore
    expect(stepsOfQuery(query)).toEqual(['a', 'b']);
  });

  test('is part of the step that all its readers are part of', () => {
    const steps = [chain()[0]!, sql('a', { t: 'q' }), sql('b', { t: 'a' }), sql('c', { t: 'a' }), sql('d', { b: 'b', c: 'c' }), load('d')]; // prettier-ignore
    expect(fuse(steps)).toEqual({ into: new Map([['c', 'd'], ['b', 'd'], ['a', 'd']]), madeWith: new Map() }); // prettier-ignore
  });
});

describe('several outputs', () => {
  /** Two read `a`, and their rows are loaded. */
  const fork = (over: Record<string, object> = {}): StepSpec[] => [
    { step: 'q', verb: 'trino.query', sql: 'select 1' },
    sql('a', { t: 'q' }, over['a']),
    sql('b', { t: 'a' }, over['b']),
    sql('c', { t: 'a' }, over['c']),
    load('b', 'load-b'),
    load('c', 'load-c'),
  ];
  const both = (steps: StepSpec[], decided?: Record<string, unknown>): Record<string, string>[] => {
    const { into, madeWith } = fuse(steps, decided);
    return [Object.fromEntries(into), Object.fromEntries(madeWith)];
  };
  const APART = [{}, {}];

  test('of what both read are computed by one container, that of the first', () =>
    expect(both(fork())).toEqual([{ a: 'b' }, { c: 'b' }]));

  test('are apart where one of them has a wish of its own, is a checkpoint, or was decided before', () => {
    expect(both(fork({ c: { memory: '2 GiB' } }))).toEqual(APART);
    expect(both(fork({ b: { checkpoint: true } }))).toEqual(APART);
    expect(both(fork({ b: { isolate: true } }))).toEqual(APART);
    expect(both(fork(), { c: {} })).toEqual(APART);
  });

  test('are apart where somebody else reads what they share', () =>
    expect(both([...fork(), load('a', 'load-a')])).toEqual(APART));

  test('are apart where one waits for the other, however long the way', () => {
    const direct = [...fork(), sql('d', { b: 'b', a: 'a' }), load('d', 'load-d')];
    expect(both(direct)).toEqual([{}, {}]);
    const over: StepSpec[] = [
      ...fork().slice(0, 3),
      { step: 't', verb: 'transform', from: 'b', run: 'x' },
      sql('c', { t: 'a', other: 't' }),
      load('b', 'load-b'),
      load('c', 'load-c'),
    ];
    expect(both(over)).toEqual(APART);
  });

  test('of two groups that share a step are of one, unless they would wait for each other', () => {
    const steps = (d: Record<string, string>): StepSpec[] => [
      ...fork().slice(0, 2),
      sql('e', { t: 'q' }),
      sql('b', { t: 'a' }),
      { step: 't', verb: 'transform', from: 'b', run: 'x' },
      sql('c', { t: 'a', e: 'e' }),
      sql('d', { e: 'e', ...d }),
      load('t', 'load-b'),
      load('c', 'load-c'),
      load('d', 'load-d'),
    ];
    expect(both(steps({}))).toEqual([{ e: 'b', a: 'b' }, { c: 'b', d: 'b' }]); // prettier-ignore
    // d needs t, which needs b: of a and e only one can be shared.
    expect(both(steps({ t: 't' }))).toEqual([{ e: 'c' }, { d: 'c' }]);
  });
});

/** Steps whose sources come before them; each may have a wish, be a checkpoint, or be of another engine. */
function graphOf(seed: number): StepSpec[] {
  const next = seededNumbers(seed);
  const upTo = (most: number): number => Math.floor(next() * most);
  const rows: StepSpec[] = [{ step: 's0', verb: 'trino.query', sql: 'select 1' }];
  for (let at = 1; at < 4 + upTo(9); at += 1) {
    const name = `s${at}`;
    const source = (): string => `s${Math.max(0, at - 1 - upTo(Math.min(at, 5)))}`;
    const over = [{}, {}, {}, {}, {}, { memory: '2 GiB' }, { checkpoint: true }, { isolate: true }][upTo(8)];
    rows.push(upTo(6) === 0 ? { step: name, verb: 'transform', from: source(), run: 'x' } : sql(name, { t: source(), ...(upTo(2) === 0 && { u: source() }) }, over)); // prettier-ignore
  }
  const read = new Set(rows.flatMap((step) => inputsOf(step).map(([, from]) => from)));
  const loads = rows
    .filter(({ step }) => !read.has(step) || upTo(5) === 0)
    .map(({ step }) => load(step, `load-${step}`));
  return [...rows, ...loads];
}

test('whatever reads whatever: rows are where they are read, and no container waits for itself', () => {
  let shared = 0;
  for (let seed = 0; seed < 3_000; seed += 1) {
    const steps = graphOf(seed);
    const { into, madeWith } = fuse(steps);
    const heads = steps.filter(({ step }) => !into.has(step));
    /** What a step's container is called; the statements of an inner one are found in all that read it. */
    const containerOf = (step: string): string => madeWith.get(step) ?? step;
    const reads = new Map<string, Set<string>>(heads.map(({ step }) => [containerOf(step), new Set()]));
    for (const step of heads) {
      const query = step.verb === 'datafusion.sql' ? fusedQuery(step, steps, into) : undefined;
      const sources = query ? inputsOfQuery(query).map(([, from]) => from) : inputsOf(step).map(([, from]) => from);
      for (const source of sources) {
        if (into.has(source)) throw new Error(`seed ${seed}: ${step.step} reads ${source}, which nobody hands over`);
        if (containerOf(source) === containerOf(step.step)) throw new Error(`seed ${seed}: ${step.step} reads ${source} of its own container`); // prettier-ignore
        reads.get(containerOf(step.step))!.add(containerOf(source));
      }
    }
    for (let before = Infinity; reads.size < before;) {
      before = reads.size;
      for (const [name, of] of reads) if (![...of].some((source) => reads.has(source))) reads.delete(name);
    }
    if (reads.size > 0) throw new Error(`seed ${seed}: ${[...reads.keys()].join(', ')} wait for each other`);
    // Computed in one container alone: else it would be computed twice.
    for (const inner of into.keys()) {
      const within = heads.filter((head) => head.verb === 'datafusion.sql' && stepsOfQuery(fusedQuery(head, steps, into)).includes(inner)); // prettier-ignore
      if (new Set(within.map(({ step }) => containerOf(step))).size !== 1) throw new Error(`seed ${seed}: ${inner} is computed by ${within.map(({ step }) => step).join(' and ')}`); // prettier-ignore
    }
    for (const [step, first] of madeWith)
      for (const one of [step, first])
        if (!/^s\d+$/.test(one) || steps.some((found) => found.step === one && ['memory', 'checkpoint', 'isolate'].some((key) => key in found))) throw new Error(`seed ${seed}: ${one} has a wish`); // prettier-ignore
    shared += madeWith.size;
  }
  expect(shared).toBeGreaterThan(100);
});

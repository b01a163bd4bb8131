import { describe, expect, test } from '@jest/globals';
import type { StepSpec } from '../../../src/contracts/pipeline.ts';
import type { PlannedStep } from '../../../src/contracts/plan.ts';
import type { StepHistory } from '../../../src/contracts/pool.ts';
import { splitMemory } from '../../../src/engines/datafusion/memory-rule.ts';
import { HEADROOM, rungsFor } from '../../../src/policy/learned-size.ts';
import type { PlanFacts } from '../../../src/policy/plan.ts';
import { GiB, MiB } from '../../../src/policy/sizes.ts';
import { expectedOutputBytes } from '../../../src/policy/step-history.ts';
import { planPipeline } from '../../../src/testing/index.ts';

const sizes = { lendableBytes: 64 * GiB, rungSizes: { kind: 'bytes', S: 4 * GiB, M: 16 * GiB, L: 32 * GiB } as const };
const ran = (peakBytes: number, leaseBytes: number, inputBytes = GiB) => ({ peakBytes, leaseBytes, inputBytes, seconds: 1, atMs: 0 }); // prettier-ignore
const history = (over: Partial<StepHistory> = {}): StepHistory => ({ runs: [], lastMs: 0, ...over });
const ranOut = { bytes: 16 * GiB, inputBytes: GiB, atMs: 0, fitted: 0 };

/** The plan of `totals`, a DataFusion step in pipeline `daily`. */
function planned(known: StepHistory | undefined, over: object = {}, of = 'daily/totals'): PlannedStep {
  const steps: StepSpec[] = [
    { step: 'rows', verb: 'trino.query', sql: 'select 1' },
    { step: 'totals', verb: 'datafusion.sql', from: { rows: 'rows' }, sql: 'select 1', ...over },
    { step: 'load', verb: 'postgres.load', from: 'totals', into: 'a.b' },
  ];
  const plan = planPipeline({ name: 'daily', steps }, { ...sizes, ...(known && { histories: { [of]: known } }) });
  return plan.steps.find(({ step }) => step === 'totals')!;
}
const rungs = (step: PlannedStep) => step.rungs.map(({ name, bytes }) => `${name} ${bytes / GiB}`);

describe('a step that nobody sized', () => {
  test('starts at S the first time, and tells the pool the name of its history', () => {
    expect(rungs(planned(undefined))).toEqual(['S 4', 'M 16', 'L 32', 'whole 64']);
    expect(planned(undefined)).toMatchObject({ history: 'daily/totals' });
    expect(planned(undefined).measured).toBeUndefined();
  });

  test('asks for what it needed before, and climbs from there', () => {
    const step = planned(history({ runs: [ran(6 * GiB, 16 * GiB), ran(3 * GiB, 16 * GiB)] }));
    expect(rungs(step)).toEqual(['measured 10', 'M 16', 'L 32', 'whole 64']);
    expect(step.because).toBe('a peak of 6 GiB was measured in 2 runs');
  });

  test('asks for less than S where that was enough, never for less than the engine needs', () => {
    expect(planned(history({ runs: [ran(47 * MiB, 4 * GiB)] })).rungs[0]).toEqual({ name: 'measured', bytes: 576 * MiB }); // prettier-ignore
  });

  test('asks by what it reads, once that is written', () => {
    const step = planned(history({ runs: [ran(3 * GiB, 16 * GiB, GiB)] }));
    expect(rungsFor(step, GiB)[0]).toEqual({ name: 'measured', bytes: 5 * GiB });
    expect(rungsFor(step, 2 * GiB).map(({ name }) => name)).toEqual(['measured', 'M', 'L', 'whole']);
    expect(rungsFor(step, 2 * GiB)[0]!.bytes / GiB).toBeCloseTo(9.94, 1);
    expect(rungsFor(step, 100 * GiB)[0]).toMatchObject({ name: 'measured', bytes: expect.any(Number) });
    expect(rungsFor({ rungs: step.rungs, measured: { ...step.measured!, headroom: 100 } }, 100 * GiB)).toEqual([{ name: 'whole', bytes: 64 * GiB }]); // prettier-ignore
  });

  test('starts above what it ran out of memory with, however little it used then', () => {
    expect(rungs(planned(history({ ranOut, runs: [ran(3 * GiB, 32 * GiB)] })))).toEqual(['measured 32', 'whole 64']);
  });

  test('a history of another pipeline is not its own', () =>
    expect(rungs(planned(history({ pinnedBytes: GiB }), {}, 'weekly/totals'))[0]).toBe('S 4'));
});

describe('what the engine took beside its pool', () => {
  const spilled = { ...ran(3 * GiB, 16 * GiB), spilled: true as const, besidePoolBytes: 100 * MiB };
  const known = (runs: number): StepHistory => history({ runs: Array.from({ length: runs }, () => spilled) });

  test('is planned with once five runs have shown it, whatever was declared', () => {
    expect(planned(known(4)).overhead).toBeUndefined();
    expect(planned(known(5)).overhead).toEqual({ partitionBytes: 100 * MiB, runs: 5 });
    expect(planned(known(5), { profile: 'L' }).overhead).toEqual({ partitionBytes: 100 * MiB, runs: 5 });
  });

  test('a step that spilled asks for no less than it had', () =>
    expect(rungs(planned(known(5)))[0]).toBe('measured 16'));
});

describe('a step that was sized', () => {
  test('keeps its profile, but starts above what an earlier run ran out of memory with', () => {
    const runs = [ran(20 * GiB, 32 * GiB)];
    expect(rungs(planned(history({ runs }), { profile: 'S' }))[0]).toBe('S 4');
    const step = planned(history({ runs, ranOut }), { profile: 'S' });
    expect(rungs(step)).toEqual(['L 32', 'whole 64']);
    expect(step.because).toBe('profile S, but an earlier run ran out of memory with 16 GiB');
    expect(step.measured).toBeUndefined();
  });

  test('keeps the whole pool when even that was too little', () =>
    expect(rungs(planned(history({ ranOut: { ...ranOut, bytes: 64 * GiB } }), { memory: '5 GiB' }))).toEqual(['whole 64'])); // prettier-ignore

  test('starts with what an operator pinned, whatever was declared, measured or ran out', () => {
    const step = planned(history({ runs: [ran(GiB, 4 * GiB)], ranOut, pinnedBytes: 6 * GiB }), { profile: 'L' });
    expect(rungs(step)).toEqual(['pinned 6', 'L 32', 'whole 64']);
    expect(step.because).toBe('6 GiB pinned by an operator');
    expect(step.measured).toBeUndefined();
  });
});

test('a light step never climbs past what a light step may have, by its history neither', () => {
  const facts = { ...sizes, lightStepBytes: 5 * GiB };
  const steps: StepSpec[] = [
    { step: 'rows', verb: 'trino.query', sql: 'select 1' },
    { step: 'totals', verb: 'datafusion.sql', from: { rows: 'rows' }, sql: 'select 1', weight: 'light' },
    { step: 'load', verb: 'postgres.load', from: 'totals', into: 'a.b' },
  ];
  for (const known of [history({ pinnedBytes: 20 * GiB }), history({ ranOut }), history({ runs: [ran(20 * GiB, 32 * GiB)] })]) {
    const plan = planPipeline({ name: 'daily', steps }, { ...facts, histories: { 'daily/totals': known } });
    const step = plan.steps.find(({ step: name }) => name === 'totals')!;
    expect(Math.max(...step.rungs.map(({ bytes }) => bytes))).toBeLessThanOrEqual(5 * GiB);
    expect(step.rungs.length).toBeGreaterThan(0);
  }
}); // prettier-ignore

test('a transform that reads Parquet has room for the container that decodes it', () => {
  const steps: StepSpec[] = [
    { step: 'rows', verb: 'trino.query', sql: 'select 1' },
    { step: 'named', verb: 'transform', from: 'rows', run: 'weekday' },
    { step: 'load', verb: 'postgres.load', from: 'named', into: 'a.b' },
  ];
  const known = history({ runs: [ran(800 * MiB, 4 * GiB)] });
  const plan = planPipeline({ name: 'daily', steps }, { ...sizes, histories: { 'daily/named': known } });
  const { rungs: ladder } = plan.steps.find(({ step }) => step === 'named')!;
  expect(ladder[0]!.bytes).toBeGreaterThanOrEqual(1.25 * 800 * MiB + 600_000_000);
});

test('DataFusion’s headroom is what its memory rule leaves to the engine', () => {
  const { poolBytes } = splitMemory(100 * GiB, 8);
  expect(poolBytes * HEADROOM['datafusion.sql']!).toBeCloseTo(100 * GiB, -3);
});

describe('rows of a size that earlier runs tell', () => {
  /** How rows that take this share of what can be lent are handed over. */
  const mode = (share: number, over: Partial<PlanFacts> = {}): string | undefined => {
    const steps: StepSpec[] = [
      { step: 'rows', verb: 'trino.query', sql: 'select 1' },
      { step: 'totals', verb: 'datafusion.sql', from: { rows: 'rows' }, sql: 'select 1' },
      { step: 'load', verb: 'postgres.load', from: 'totals', into: 'a.b' },
    ];
    const known = history({ runs: [{ ...ran(GiB, 4 * GiB), outputBytes: 1000 }] });
    const scale = expectedOutputBytes(known)! / 1000;
    const outputBytes = Math.floor((share * 64 * GiB) / scale);
    const histories = { 'daily/totals': history({ runs: [{ ...ran(GiB, 4 * GiB), outputBytes }] }) };
    const plan = planPipeline({ name: 'daily', steps }, { ...sizes, shmFreeBytes: 64 * GiB, histories, ...over });
    return plan.steps.find(({ step }) => step === 'totals')!.handoff!.mode;
  };

  test.each<[number, string, string]>([
    [0.3, 'shm', 'shm'],
    [0.45, 'shm', 'parquet'],
    [0.6, 'arrow', 'parquet'],
    [0.85, 'parquet', 'parquet'],
  ])('%d of what can be lent: %s, and %s while other heavy work runs', (share, alone, beside) =>
    expect([mode(share), mode(share, { otherHeavy: true })]).toEqual([alone, beside]),
  );

  test('go elsewhere at the borders that are configured', () => {
    const thresholds = { arrowAbove: 0.4, parquetAbove: 0.6, parquetAboveWhenContended: 0.2 };
    expect([mode(0.45, { thresholds }), mode(0.65, { thresholds }), mode(0.3, { thresholds, otherHeavy: true })]).toEqual(['arrow', 'parquet', 'parquet']); // prettier-ignore
  });
});

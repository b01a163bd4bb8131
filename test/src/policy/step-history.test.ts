import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { StepHistory, StepUsage } from '../../../src/contracts/pool.ts';
import {
  expectedSeconds,
  measuredBytes,
  measuredOverhead,
  remember,
  withHistory,
} from '../../../src/policy/step-history.ts';

const MB = 1_000_000;
const used = (over: Partial<StepUsage> = {}): StepUsage => ({
  ...{ peakBytes: 300 * MB, scratchPeakBytes: 0, inputBytes: 100 * MB, outputBytes: 0, rows: 1, seconds: 4 },
  ...{ verdict: 'ok', ...over },
});
const after = (...all: [over: Partial<StepUsage>, leaseBytes: number][]): StepHistory =>
  all.reduce<StepHistory | undefined>((history, [over, lease], at) => remember(history, used(over), lease, at), undefined)!; // prettier-ignore
const oom = { verdict: 'oom-own', peakBytes: 600 * MB };

describe('a history', () => {
  test('keeps the last 16 runs that went well', () => {
    const history = after(...Array.from({ length: 20 }, (_, at): [object, number] => [{ seconds: at }, 600 * MB]));
    expect(history.runs.map(({ seconds }) => seconds)).toEqual(Array.from({ length: 16 }, (_, at) => at + 4));
    expect(history.lastMs).toBe(19);
    expect(expectedSeconds(history)).toBe(12);
  });

  test.each(['cancelled', 'sql-error', 'timeout', 'oom-ceiling', 'Unexpected'])(
    'learns nothing from an attempt that ended with %s',
    (verdict) => {
      expect(remember(undefined, used({ verdict }), 600 * MB, 1)).toBeUndefined();
      const before = after([{}, 600 * MB]);
      expect(remember(before, used({ verdict }), 600 * MB, 1)).toBe(before);
    },
  );

  test.each(['oom-own', 'engine-exhausted'])('remembers the most it ran out of memory with (%s)', (verdict) => {
    const history = after([{ verdict }, 600 * MB], [{ verdict }, 2400 * MB], [{ verdict }, 600 * MB]);
    expect(history).toMatchObject({ runs: [], ranOut: { bytes: 2400 * MB, fitted: 0 } });
  });

  test('forgives after three runs in a row that would have fitted, of no less input', () => {
    const would: [object, number] = [{ peakBytes: 250 * MB }, 2400 * MB];
    expect(after([oom, 600 * MB], would, would).ranOut).toMatchObject({ fitted: 2 });
    expect(after([oom, 600 * MB], would, would, would).ranOut).toBeUndefined();
    expect(after([oom, 600 * MB], would, would, [{ peakBytes: 400 * MB }, 2400 * MB], would).ranOut).toMatchObject({ fitted: 1 }); // prettier-ignore
    const little: [object, number] = [{ peakBytes: 250 * MB, inputBytes: MB }, 2400 * MB];
    expect(after([oom, 600 * MB], little, little, little).ranOut).toMatchObject({ fitted: 0 });
  });

  test('forgives at once when it went well with no more than that', () => {
    expect(after([oom, 600 * MB], [{}, 600 * MB]).ranOut).toBeUndefined();
  });

  test('is no plain object that is changed in place', () => {
    const before = after([oom, 600 * MB], [{}, 2400 * MB]);
    const text = JSON.stringify(before);
    remember(before, used(), 600 * MB, 9);
    remember(before, used(oom), 6000 * MB, 9);
    expect(JSON.stringify(before)).toBe(text);
  });
});

test('histories are bounded: the one not used for longest goes, pinned ones and the newest stay', () => {
  const of = (lastMs: number, pinnedBytes?: number): StepHistory => ({ runs: [], lastMs, ...(pinnedBytes && { pinnedBytes }) }); // prettier-ignore
  const histories = { 'p/a': of(1, 5), 'p/b': of(3), 'p/c': of(2) };
  expect(Object.keys(withHistory(histories, 'p/d', of(0), 3))).toEqual(['p/a', 'p/b', 'p/d']);
  expect(Object.keys(withHistory(histories, 'p/b', of(4), 3))).toEqual(['p/a', 'p/b', 'p/c']);
});

describe('what lies beside a full pool', () => {
  const full = (peak: number, partitions = 2): [Partial<StepUsage>, number] => [
    { peakBytes: peak * MB, fullPool: { bytes: 600 * MB, partitions } },
    1000 * MB,
  ];
  const spare: [Partial<StepUsage>, number] = [{ peakBytes: 900 * MB }, 1000 * MB];

  test('is the most of five runs, a partition; runs that did not fill it show nothing', () => {
    expect(measuredOverhead(after(full(620), full(700), full(640), spare, full(500)))).toBeUndefined();
    expect(measuredOverhead(after(full(620), full(700), full(640), spare, full(500), full(600)))).toEqual({
      partitionBytes: 50 * MB,
      runs: 5,
    });
    expect(measuredOverhead(after(...Array.from({ length: 5 }, () => full(500))))?.partitionBytes).toBe(0);
    expect(measuredOverhead(after(...Array.from({ length: 5 }, () => full(700, 4))))?.partitionBytes).toBe(25 * MB);
  });

  test('is unknown once the step was killed for memory, until five runs show it again; that they spilled stays known', () => {
    const five = Array.from({ length: 5 }, () => full(620));
    const killed = after(...five, [oom, 1000 * MB]);
    expect(measuredOverhead(killed)).toBeUndefined();
    expect(killed.runs.every(({ spilled }) => spilled === true)).toBe(true);
    expect(measuredOverhead(after(...five, [oom, 1000 * MB], ...five.slice(1)))).toBeUndefined();
    expect(measuredOverhead(after(...five, [oom, 1000 * MB], ...five))).toEqual({ partitionBytes: 10 * MB, runs: 5 });
  });

  test('stays known when the pool itself was too small', () => {
    const five = Array.from({ length: 5 }, () => full(620));
    const exhausted = after(...five, [{ verdict: 'engine-exhausted' }, 1000 * MB]);
    expect(measuredOverhead(exhausted)).toEqual({ partitionBytes: 10 * MB, runs: 5 });
  });

  test('has nothing of rows that were kept in memory', () => {
    const kept = { peakBytes: 900 * MB, outputBytes: 250 * MB, shmBytes: 300 * MB, fullPool: { bytes: 600 * MB, partitions: 1 } }; // prettier-ignore
    expect(after([kept, 1300 * MB]).runs[0]).toMatchObject({ leaseBytes: 1000 * MB, besidePoolBytes: 50 * MB });
  });
});

describe('what a step needs', () => {
  const measured = (runs: StepHistory['runs'], besideBytes = 0) => ({ runs, headroom: 1.25, besideBytes, leastBytes: 0 }); // prettier-ignore
  const run = (peak: number, input: number, lease = 10_000) => ({ peakBytes: peak * MB, inputBytes: input * MB, leaseBytes: lease * MB, seconds: 1, atMs: 0 }); // prettier-ignore
  const inMB = (bytes: number | undefined) => bytes && Math.round(bytes / MB);

  test('is unknown before the first run', () => expect(measuredBytes(measured([]), 5)).toBeUndefined());

  test('is its peak and headroom for what was read last, while the input is not known', () =>
    expect(inMB(measuredBytes(measured([run(400, 100)])))).toBe(500));

  test('grows with the input above what any process needs, tenfold at most, and shrinks with it', () => {
    const history = measured([run(400, 100)]);
    expect(inMB(measuredBytes(history, 200 * MB))).toBe(90 + 2 * 410);
    expect(inMB(measuredBytes(history, 100_000 * MB))).toBe(90 + 10 * 410);
    expect(inMB(measuredBytes(history, 0))).toBe(90);
  });

  test('is never more than what it went well with, for the same input', () =>
    expect(inMB(measuredBytes(measured([run(590, 100, 600)]), 100 * MB))).toBe(600));

  test('is all that it was lent where it spilled: by its peak the lease would shrink from run to run', () => {
    const spilled = { ...run(200, 100, 600), spilled: true as const };
    expect(inMB(measuredBytes(measured([spilled]), 100 * MB))).toBe(600);
    expect(inMB(measuredBytes(measured([spilled]), 200 * MB))).toBe(90 + 2 * 510);
  });

  test('has room for what lies beside the engine, which does not grow', () => {
    const history = measured([run(400, 100)], 600 * MB);
    expect(inMB(measuredBytes(history, 100 * MB))).toBe(1100);
    expect(inMB(measuredBytes(history, 200 * MB))).toBe(690 + 2 * 410);
  });

  test('is the second largest of 16: one run that went astray does not count', () => {
    const runs = [...Array.from({ length: 14 }, () => run(100, 10)), run(200, 10), run(4000, 10)];
    expect(inMB(measuredBytes(measured(runs), 10 * MB))).toBe(250);
  });

  test('never falls when more is read, for any history', () => {
    const any = fc.record({ peakBytes: fc.nat(4e9), inputBytes: fc.nat(4e9), leaseBytes: fc.nat(6e9), seconds: fc.nat(9), atMs: fc.nat(9) }); // prettier-ignore
    fc.assert(
      fc.property(fc.array(any, { minLength: 1, maxLength: 16 }), fc.nat(8e9), fc.nat(8e9), (runs, a, b) => {
        const [less, more] = [a, b].sort((x, y) => x - y).map((input) => measuredBytes(measured(runs), input)!);
        expect(more!).toBeGreaterThanOrEqual(less!);
      }),
    );
  });
});

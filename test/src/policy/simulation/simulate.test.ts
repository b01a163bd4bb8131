import { describe, expect, test } from '@jest/globals';
import { countSlots, skipAhead, strictFifo } from '../../../../bench/admission/other-lenders.ts';
import { mixOf } from '../../../../bench/admission/mixes.ts';
import { drawing } from '../../../../src/policy/simulation/drawing.ts';
import { PoolLender } from '../../../../src/policy/simulation/pool-lender.ts';
import { lowerBound, type Scenario, type SimulatedStep } from '../../../../src/policy/simulation/scenario.ts';
import { simulate, type Simulated } from '../../../../src/policy/simulation/simulate.ts';

const step = (name: string, bytes: number, ms: number, more: Partial<SimulatedStep> = {}): SimulatedStep => ({
  ...{ step: name, after: [], weight: 'light', bytes, scratchBytes: 0, keepBytes: 0, keepScratchBytes: 0 },
  ...{ priority: 3, ms },
  ...more,
});
const scenario = (...runs: [arrivesMs: number, ...steps: SimulatedStep[]][]): Scenario => ({
  pool: { limitBytes: 110, standingBytes: 10, scratchLimitBytes: 50 },
  runs: runs.map(([arrivesMs, ...steps], index) => ({ run: `r${index}`, arrivesMs, steps })),
});
const lent = (of: Scenario): Simulated => simulate(of, new PoolLender(of));
const times = ({ steps }: Simulated): Record<string, [number?, number?]> =>
  Object.fromEntries(
    steps.map((one) => [`${one.run}.${one.step}`, [one.startedMs, one.endedMs] as [number?, number?]]),
  );

describe('the pool under a virtual clock', () => {
  test('a step starts when its bytes are free, and the next of its run when it has ended', () => {
    const went = lent(
      scenario(
        [0, step('a', 60, 10), step('b', 30, 5, { after: ['a'] })],
        [1, step('c', 60, 10)],
        [2, step('d', 40, 2)],
      ),
    );
    // c heads the queue with 60 of 100: d fits beside neither it nor a; b comes after both of them.
    expect(times(went)).toEqual({ 'r0.a': [0, 10], 'r1.c': [10, 20], 'r2.d': [10, 12], 'r0.b': [12, 17] });
    expect(went).toMatchObject({
      makespanMs: 20,
      passes: 0,
      refusals: 0,
      starved: 0,
      overCommits: 0,
      peakLentBytes: 100,
    });
    expect(went.waits).toEqual({ p50: 2, p90: 9, p99: 9, max: 9 });
    expect(went.utilisation).toBeCloseTo((60 * 10 + 60 * 10 + 40 * 2 + 30 * 5) / (100 * 20));
  });

  test('heavy steps run one at a time, whatever is free', () => {
    const heavy = { weight: 'heavy' } as const;
    expect(times(lent(scenario([0, step('a', 10, 7, heavy)], [0, step('b', 10, 7, heavy)])))).toEqual({
      'r0.a': [0, 7],
      'r1.b': [7, 14],
    });
  });

  test('a step that can never fit is refused, and its run is over', () => {
    const went = lent(
      scenario([0, step('a', 10, 5), step('b', 101, 5, { after: ['a'] }), step('c', 1, 1, { after: ['b'] })]),
    );
    expect(went).toMatchObject({ refusals: 1, starved: 0, makespanMs: 5 });
    expect(went.steps.map(({ step: name }) => name)).toEqual(['a', 'b']);
  });

  test('what a step keeps stays lent until its run ends', () => {
    const went = lent(scenario([0, step('a', 60, 5, { keepBytes: 60 }), step('b', 10, 5, { after: ['a'] })], [6, step('c', 35, 1)])); // prettier-ignore
    expect(times(went)['r1.c']).toEqual([10, 11]);
    expect(went.lent).toEqual([
      { atMs: 0, lentBytes: 60 },
      { atMs: 5, lentBytes: 70 },
      { atMs: 10, lentBytes: 35 },
      { atMs: 11, lentBytes: 0 },
    ]);
  });

  test('runs that keep and wait for more do not wait for ever: what one keeps goes to disk', () => {
    const run = [step('a', 40, 5, { keepBytes: 40 }), step('b', 60, 5, { after: ['a'] })];
    const given = scenario([0, ...run], [0, ...run]);
    expect(lent({ ...given, pool: { ...given.pool, scratchLimitBytes: 100 } })).toMatchObject({ starved: 0, refusals: 0, overCommits: 0, demotedBytes: 40, makespanMs: 16 }); // prettier-ignore
  });
});

describe.each(['bytes', 'slot'] as const)('mixes in which the %s runs short', (mix) => {
  const seeds = [1, 2, 3, 4, 5];

  test.each(seeds)(
    'seed %d: nothing over the ceiling, nobody starves, and the first in the queue waits for no more than one step',
    (seed) => {
      const given = mixOf(mix, seed);
      const went = lent(given);
      expect(went).toMatchObject({ overCommits: 0, starved: 0, refusals: 0 });
      const longest = Math.max(...given.runs.flatMap(({ steps }) => steps.map(({ ms }) => ms)));
      for (const [index, one] of went.steps.entries()) {
        const before = went.steps.slice(0, index).map(({ startedMs = 0 }) => startedMs);
        expect(one.startedMs! - Math.max(one.askedMs, ...before)).toBeLessThanOrEqual(longest);
      }
      expect(lent(given)).toEqual(went);
    },
  );

  test('other lenders over-commit, or keep large jobs waiting', () => {
    const [given] = seeds.map((seed) => mixOf(mix, seed)) as [Scenario];
    expect(simulate(given, strictFifo(given))).toMatchObject({ overCommits: 0, passes: 0, starved: 0 });
    expect(simulate(given, skipAhead(given))).toMatchObject({ overCommits: 0, starved: 0 });
    const counted = seeds
      .map((seed) => mixOf('bytes', seed))
      .map((one) => simulate(one, countSlots(8)(one)).overCommits);
    expect(Math.min(...counted)).toBeGreaterThan(0);
  });
});

test('the lower bound is the largest of bytes, the longest run and heavy steps one by one', () => {
  const heavy = { weight: 'heavy' } as const;
  const chain = [step('a', 10, 5), step('b', 10, 7, { after: ['a'] }), step('c', 10, 3, { after: ['a'] })];
  expect(lowerBound(scenario([4, ...chain]))).toMatchObject({ criticalPathMs: 16, heavyMs: 4, ms: 16 });
  expect(lowerBound(scenario([0, step('a', 1, 9, heavy)], [2, step('b', 1, 9, heavy)]))).toMatchObject({ heavyMs: 18, ms: 18 }); // prettier-ignore
  expect(lowerBound(scenario([0, step('a', 100, 5), step('b', 100, 5)]))).toMatchObject({ bytesMs: 10, ms: 10 });
});

test('a drawing shows what was lent below the line of what can be', () => {
  const given = scenario([0, step('a', 60, 10)]);
  const svg = drawing(given, lent(given));
  expect(svg).toMatch(/^<svg xmlns="[^"]+" viewBox="0 0 960 320"/);
  expect(svg).toContain('stroke-dasharray');
  expect(svg).not.toMatch(/NaN|undefined/);
});

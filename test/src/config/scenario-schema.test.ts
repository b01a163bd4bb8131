import { expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readScenario } from '../../../src/config/scenario-schema.ts';
import { GiB } from '../../../src/policy/sizes.ts';
import { root } from '../render/golden.ts';

const here = { limitBytes: 8 * GiB, standingBytes: 1 * GiB, scratchLimitBytes: 100 * GiB };
const step = { step: 'a', memory: '2 GiB', takes: '1 min' };
const withStep = (over: object) => ({ runs: [{ run: 'r', steps: [{ ...step, ...over }] }] });

test('a scenario has the pool of this host where it names none', () => {
  expect(readScenario(withStep({}), here)).toEqual({
    pool: here,
    runs: [
      {
        ...{ run: 'r', arrivesMs: 0 },
        steps: [
          {
            ...{ step: 'a', after: [], weight: 'heavy', bytes: 2 * GiB, scratchBytes: 0, keepBytes: 0 },
            ...{ keepScratchBytes: 0, priority: 3, ms: 60_000 },
          },
        ],
      },
    ],
  });
});

test('runs may come many times', () => {
  const { runs } = readScenario(
    { runs: [{ run: 'r', arrives: '1 min', times: 3, every: '30s', steps: [step] }] },
    here,
  );
  expect(runs.map(({ run, arrivesMs }) => [run, arrivesMs])).toEqual([['r-1', 60_000], ['r-2', 90_000], ['r-3', 120_000]]); // prettier-ignore
});

test('the example is one', () => {
  const text = readFileSync(join(root, 'examples', 'scenario.json'), 'utf8');
  expect(readScenario(JSON.parse(text), here).runs.length).toBeGreaterThan(50);
});

test.each<[string, unknown, string]>([
  ['no runs', {}, 'runs must be a list of runs, but is missing. Add it.'],
  ['a size that is none', withStep({ memory: 'lots' }), 'runs.0.steps.0.memory must be a size such as "6 GiB" or a whole number of bytes, got "lots". Change it.'],
  ['a duration that is none', withStep({ takes: 'long' }), 'runs.0.steps.0.takes must be a duration such as "2 minutes" or a whole number of milliseconds, got "long". Change it.'],
  ['a key of nobody', withStep({ memmory: 1 }), 'runs.0.steps.0: memmory is not known. Remove it.'],
  ['a step of another run', withStep({ after: ['b'] }), 'r.a.after must name a step of its run, got b. Known: a.'],
  ['a circle', withStep({ after: ['a'] }), 'r.a.after must name a step that stands before it, got a. Move it up.'],
  ['more kept than had', withStep({ keep: '3 GiB' }), 'r.a.keep must be at most its memory, got 3 GiB of 2 GiB. Lower it.'],
  ['a pool of nothing', { pool: { limit: '1 GiB', standing: '1 GiB' }, runs: [{ run: 'r', steps: [step] }] }, 'pool.standing must be less than pool.limit, got 1 GiB of 1 GiB. Lower it.'],
  ['a name twice', { runs: [{ run: 'r', steps: [step] }, { run: 'r', steps: [step] }] }, "two runs are named 'r'. Rename one."],
])('%s', (_, given, message) => {
  expect(() => readScenario(given, here)).toThrow(`scenario: ${message}`);
}); // prettier-ignore

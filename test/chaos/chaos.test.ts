import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { sharedHome } from '../integration/provision-home.ts';
import { root, Stack } from '../integration/stack.ts';
import { provideFaketime } from './chaos-faults.ts';
import { chaosPlan, FAULT_KINDS } from './chaos-plan.ts';
import { runSeed, type SeedResult } from './run-seed.ts';

/** Seeds of `npm test -- all`; `SPILLWAY_CHAOS_SEEDS=200 npm run chaos` plays as many, without those that the results file has as clean. */
const SHORT = [5, 6, 8, 12];
const MANY = Number(process.env['SPILLWAY_CHAOS_SEEDS'] ?? 0);
const RESULTS = join(sharedHome, 'chaos.jsonl');

const clean = new Set(
  MANY > 0 && existsSync(RESULTS)
    ? readFileSync(RESULTS, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line) as SeedResult).filter(({ broken }) => broken.length === 0).map(({ seed }) => seed)
    : [],
); // prettier-ignore
const seeds = MANY > 0 ? Array.from({ length: MANY }, (_, at) => at).filter((seed) => !clean.has(seed)) : SHORT;

let stack: Stack;
beforeAll(async () => {
  await provideFaketime();
  stack = await Stack.open('chaos', {
    pool: { limit: '8 GiB' },
    transforms: join(root, 'test', 'integration', 'transforms-of-stack.ts'),
    directories: { lake: { path: './lake', access: 'write' } },
  });
  mkdirSync(join(stack.directory, 'lake'));
  await stack.worker();
}, 600_000);
afterAll(() => stack?.close(), 120_000);

test('every fault has its turn', () => {
  const first = Array.from({ length: FAULT_KINDS.length }, (_, seed) => chaosPlan(seed).faults.map(({ fault }) => fault.kind)); // prettier-ignore
  expect(new Set(first.flat())).toEqual(new Set(FAULT_KINDS));
  expect(chaosPlan(5)).toEqual(chaosPlan(5));
});

test.each(seeds)(
  'seed %i: whatever dies, runs end with the right rows and nothing is left',
  async (seed) => {
    const plan = chaosPlan(seed);
    const result = await runSeed(stack, plan);
    if (MANY > 0) appendFileSync(RESULTS, `${JSON.stringify(result)}\n`);
    if (result.broken.length > 0) console.error(JSON.stringify({ plan, result }, null, 1));
    expect(result.broken).toEqual([]);
  },
  600_000,
);

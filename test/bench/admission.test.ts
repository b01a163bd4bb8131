import { expect, test } from '@jest/globals';
import { admissionBench } from '../../bench/admission/bench.ts';
import type { BenchOrder } from '../../bench/bench.ts';

test('the pool meets its goals beside other ways to lend', async () => {
  const order = { rounds: 1, quick: true, say: () => undefined, env: {}, signal: new AbortController().signal };
  const { figures } = await admissionBench(order as unknown as BenchOrder);
  expect(figures.filter(({ holds }) => holds === false)).toEqual([]);
  const slots = figures.find(
    ({ name, against }) => name === 'bytes run short: over-commits' && /slots/.test(against!),
  )!;
  expect(slots.theirs).toBeGreaterThan(0);
});

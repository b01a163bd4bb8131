import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { takeDown } from '../src/provision/take-down.ts';
import { ReleaseStack } from '../src/worker/release-stack.ts';
import type { Bench, BenchOrder, BenchOutcome } from './bench.ts';

/** Measures in a home of its own, so that all servers of it can be stopped afterwards; downloads are shared. */
export const inBenchHome =
  (measure: (order: BenchOrder, home: string, stack: ReleaseStack) => Promise<BenchOutcome>): Bench =>
  async (order) => {
    const home = join(order.config.home, 'bench');
    mkdirSync(home, { recursive: true, mode: 0o700 });
    const stack = new ReleaseStack();
    stack.push('the servers', async () => void (await takeDown({ home })));
    try {
      return await measure(order, home, stack);
    } finally {
      await stack.close();
    }
  };

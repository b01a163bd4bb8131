import { GiB } from '../../src/policy/sizes.ts';
import { seededNumbers } from '../seeded-numbers.ts';
import type { Scenario, SimulatedRun, SimulatedStep } from '../../src/policy/simulation/scenario.ts';

/** What runs short in a mix. */
export type Mix = 'bytes' | 'slot';

const LENDABLE = 480 * GiB;
const MINUTE = 60_000;

/**
 * Sixty runs within two hours. Where bytes run short most steps are light and large; where the slot does, most are heavy and small.
 * One run of twelve has a large job, of 70 to 95 % of what can be lent.
 */
export function mixOf(mix: Mix, seed: number): Scenario {
  const random = seededNumbers(seed);
  const between = (low: number, high: number): number => low + random() * (high - low);
  const whole = (low: number, high: number): number => Math.floor(between(low, high + 1));
  const step = (name: string, after: string[], large: boolean): SimulatedStep => {
    const heavy = large || random() < (mix === 'slot' ? 0.7 : 0.1);
    const share = large ? between(0.7, 0.95) : mix === 'slot' ? between(0.02, 0.15) : between(0.05, 0.3);
    return {
      ...{ step: name, after, weight: heavy ? 'heavy' : 'light', bytes: Math.floor(share * LENDABLE) },
      ...{ scratchBytes: 0, keepBytes: 0, keepScratchBytes: 0, priority: 3 },
      ms: Math.round(between(1, large ? 10 : 6) * MINUTE),
    };
  };
  const runs = Array.from({ length: 60 }, (_, index): SimulatedRun => {
    const large = index % 12 === 7;
    const steps: SimulatedStep[] = [];
    for (let at = 0, count = whole(1, 3); at < count; at++) {
      const name = large && at === 0 ? 'large' : `s${at}`;
      steps.push(step(name, at === 0 ? [] : [steps[at - 1]!.step], name === 'large'));
    }
    return { run: `r${index}`, arrivesMs: Math.round(between(0, 120) * MINUTE), steps };
  });
  return {
    pool: { limitBytes: 512 * GiB, standingBytes: 512 * GiB - LENDABLE, scratchLimitBytes: 1024 * GiB },
    runs: runs.sort((a, b) => a.arrivesMs - b.arrivesMs),
  };
}

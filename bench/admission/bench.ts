import { MiB } from '../../src/policy/sizes.ts';
import type { Lender } from '../../src/policy/simulation/lender.ts';
import { PoolLender } from '../../src/policy/simulation/pool-lender.ts';
import type { Scenario } from '../../src/policy/simulation/scenario.ts';
import { simulate, type Simulated } from '../../src/policy/simulation/simulate.ts';
import type { Bench } from '../bench.ts';
import { type Figure, figureOf } from '../figures.ts';
import { countSlots, skipAhead, strictFifo } from './other-lenders.ts';
import { mixOf, type Mix } from './mixes.ts';

const LENDERS: Readonly<Record<string, (scenario: Scenario) => Lender>> = {
  pool: (scenario) => new PoolLender(scenario),
  'strict FIFO': strictFifo,
  'skip-ahead without a reservation': skipAhead,
  'slots counted, bytes not': countSlots(8),
};
/** Mixes a round. */
const SEEDS = 20;

/** The pool's own decisions beside other ways to lend, on the same asks, under a virtual clock: the same figures on every machine. */
export const admissionBench: Bench = ({ rounds, quick, say }) => {
  const seeds = Array.from({ length: quick ? 2 : rounds * SEEDS }, (_, index) => index + 1);
  const figures: Figure[] = [];
  for (const mix of ['bytes', 'slot'] as const) {
    const went = new Map(
      Object.entries(LENDERS).map(([name, make]) => [name, seeds.map((seed) => run(mix, seed, make))]),
    );
    say(`${seeds.length} mixes in which the ${mix} runs short`);
    figures.push(...compared(mix, went));
  }
  return Promise.resolve({ figures, versions: { policy: '1' } });
};

function run(mix: Mix, seed: number, make: (scenario: Scenario) => Lender): Simulated {
  const scenario = mixOf(mix, seed);
  return simulate(scenario, make(scenario));
}

function compared(mix: Mix, went: ReadonlyMap<string, Simulated[]>): Figure[] {
  const title = mix === 'bytes' ? 'bytes run short' : 'the slot runs short';
  const of = (name: string, what: (one: Simulated) => number): number[] => went.get(name)!.map(what);
  const figures: Figure[] = [];
  for (const other of [...went.keys()].filter((name) => name !== 'pool')) {
    const measure = (
      name: string,
      unit: string,
      what: (one: Simulated) => number,
      goal?: Parameters<typeof figureOf>[0]['goal'],
    ): void => {
      figures.push(
        figureOf({
          ...{ name: `${title}: ${name}`, unit, ours: of('pool', what), against: other, theirs: of(other, what) },
          ...(goal && { goal }),
        }),
      );
    };
    measure('makespan ÷ lower bound', 'x', ({ makespanMs, bound }) => makespanMs / bound.ms, { of: 'ours', atMost: 1.15 }); // prettier-ignore
    measure('worst wait of a large job', 'min', (one) => worstLarge(one) / 60_000);
    measure('median wait', 'min', ({ waits }) => waits.p50 / 60_000);
    measure('over-commits', 'times', ({ overCommits }) => overCommits, { of: 'ours', atMost: 0 });
    measure('most lent at once', 'MiB', ({ peakLentBytes }) => peakLentBytes / MiB);
    measure('steps never served', 'steps', ({ starved, refusals }) => starved + refusals, { of: 'ours', atMost: 0 });
  }
  return figures;
}

const worstLarge = ({ steps }: Simulated): number =>
  Math.max(
    ...steps.filter(({ step }) => step === 'large').map(({ askedMs, startedMs = Infinity }) => startedMs - askedMs),
  );

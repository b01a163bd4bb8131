import type { Weight } from '../../contracts/pool.ts';

/** What a pool lends, and runs that ask it for bytes. Instants are milliseconds from the beginning. */
export interface Scenario {
  pool: { limitBytes: number; standingBytes: number; scratchLimitBytes: number };
  runs: SimulatedRun[];
}

/** One run of a workflow. */
export interface SimulatedRun {
  run: string;
  arrivesMs: number;
  steps: SimulatedStep[];
}

/** One step: it asks once the steps in `after` have ended, and works for `ms` once it was lent its bytes. */
export interface SimulatedStep {
  step: string;
  after: readonly string[];
  weight: Weight;
  bytes: number;
  scratchBytes: number;
  /** What of it stays lent until its run ends. */
  keepBytes: number;
  keepScratchBytes: number;
  /** 1 is served first, 5 last. */
  priority: number;
  ms: number;
}

/** What no lender can be faster than, in milliseconds, each for another reason. */
export interface LowerBound {
  /** All bytes, for as long as they are held, in what can be lent. */
  bytesMs: number;
  /** The longest chain of steps, from the arrival of its run on. */
  criticalPathMs: number;
  /** Heavy steps one after the other. */
  heavyMs: number;
  /** The largest of them. */
  ms: number;
}

/** max(bytes × time ÷ what can be lent, longest chain, sum of heavy steps), each from the first arrival on. */
export function lowerBound({ pool, runs }: Scenario): LowerBound {
  const first = Math.min(...runs.map(({ arrivesMs }) => arrivesMs));
  const steps = runs.flatMap((run) => run.steps);
  const sum = (of: (step: SimulatedStep) => number): number => steps.reduce((total, step) => total + of(step), 0);
  const bytesMs = first + sum(({ bytes, ms }) => bytes * ms) / (pool.limitBytes - pool.standingBytes);
  const heavyMs = first + sum(({ weight, ms }) => (weight === 'heavy' ? ms : 0));
  const criticalPathMs = Math.max(...runs.map((run) => run.arrivesMs + longestChain(run.steps)));
  return { bytesMs, criticalPathMs, heavyMs, ms: Math.max(bytesMs, heavyMs, criticalPathMs) };
}

function longestChain(steps: readonly SimulatedStep[]): number {
  const byName = new Map(steps.map((step) => [step.step, step]));
  const ends = new Map<string, number>();
  const endOf = (step: SimulatedStep): number => {
    const known = ends.get(step.step);
    if (known !== undefined) return known;
    const end = step.ms + Math.max(0, ...step.after.map((name) => endOf(byName.get(name)!)));
    ends.set(step.step, end);
    return end;
  };
  return Math.max(...steps.map(endOf));
}

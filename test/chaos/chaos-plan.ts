import { seededNumbers } from '../../bench/seeded-numbers.ts';

/** What runs of a seed do; each kind loads a table of its own whose rows are known. */
export const JOB_KINDS = [
  'small',
  'slow',
  'wide',
  'wideUnlogged',
  'wideParallel',
  'append',
  'transform',
  'light',
  'folder',
  'whole',
] as const;
export type JobKind = (typeof JOB_KINDS)[number];

/** What is done to them from outside. `run` is the number of the run it is done to. */
export type Fault =
  | { kind: 'kill worker' | 'stop worker' | 'second worker' | 'worker of another hour' }
  | { kind: 'kill container' | 'kill command line' | 'end backend' }
  | { kind: 'terminate pool' | 'restart Temporal' }
  | { kind: 'cancel' | 'terminate' | 'reset' | 'reset activity'; run: number };
export type FaultKind = Fault['kind'];

const OF_RUNS = ['cancel', 'terminate', 'reset', 'reset activity'] as const;
const OTHERS = ['kill worker', 'stop worker', 'second worker', 'worker of another hour', 'kill container', 'kill command line', 'end backend', 'terminate pool', 'restart Temporal'] as const; // prettier-ignore
export const FAULT_KINDS: readonly FaultKind[] = [...OTHERS, ...OF_RUNS];

export interface ChaosPlan {
  seed: number;
  jobs: { kind: JobKind; afterMs: number }[];
  faults: { fault: Fault; afterMs: number }[];
}

/** Runs start within this, and all faults are done within twice as much. */
const WITHIN_MS = 12_000;

/** What they are done to comes and goes: they wait for it. */
const EARLY = new Set<FaultKind>(['kill container', 'kill command line', 'end backend', 'reset activity']);

/** The same for the same seed: two to four runs, one to three faults. Each fault has its turn as the first within 13 seeds. */
export function chaosPlan(seed: number): ChaosPlan {
  const next = seededNumbers(seed * 7919 + 13);
  const upTo = (most: number): number => Math.floor(next() * most);
  const among = <T>(all: readonly T[]): T => all[upTo(all.length)]!;
  const jobs = Array.from({ length: 2 + upTo(3) }, (_, at) => ({
    kind: among(JOB_KINDS),
    afterMs: at === 0 ? 0 : upTo(WITHIN_MS),
  }));
  const faultOf = (kind: FaultKind): Fault =>
    (OF_RUNS as readonly string[]).includes(kind) ? { kind, run: upTo(jobs.length) } : ({ kind } as Fault);
  const faults = Array.from({ length: 1 + upTo(3) }, (_, at) => {
    const fault = faultOf(at === 0 ? FAULT_KINDS[seed % FAULT_KINDS.length]! : among(FAULT_KINDS));
    return { fault, afterMs: 500 + upTo(EARLY.has(fault.kind) ? WITHIN_MS / 3 : 2 * WITHIN_MS) };
  }).sort((a, b) => a.afterMs - b.afterMs);
  return { seed, jobs, faults };
}

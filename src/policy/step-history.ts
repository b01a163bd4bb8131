import { Verdict } from '../contracts/errors.ts';
import type { EngineOverhead, Measured } from '../contracts/plan.ts';
import type { StepHistory, StepMeasure, StepUsage } from '../contracts/pool.ts';

/** Steps whose history a pool keeps, some 1.5 KB each: what continues as new stays far below the server's 2 MB. */
export const MOST_HISTORIES = 300;
/** Runs of a step that are remembered: with 16 the second largest stands for the quantile 0.9. */
const REMEMBERED = 16;
/** A step that would have fitted where it once ran out of memory so often in a row has changed: it is tried there again. */
const FORGIVEN_AFTER = 3;
/** Runs with a full pool after which it is known what lies beside it (design.md 5, Sizes). */
const ENOUGH_RUNS = 5;
/** What a process needs before the first row (an interpreter with Arrow: measured 90 MB); it does not grow with the input. */
const BASE_BYTES = 90 * 1_000_000;
const QUANTILE = 0.9;
/** A run that read less than a tenth of what is read now says little of it: its growth counts tenfold at most. */
const MOST_GROWTH = 10;

/** Verdicts on an attempt whose memory was too small. */
const RAN_OUT: readonly string[] = [Verdict.OOM_OWN, Verdict.ENGINE_EXHAUSTED];

/** The histories of a pool's steps, by name. */
export type StepHistories = Readonly<Record<string, StepHistory>>;

/** Adds what an attempt used. What says nothing of a step's memory (a cancel, a wrong statement) changes nothing. */
export function remember(
  history: StepHistory | undefined,
  used: StepUsage,
  leaseBytes: number,
  atMs: number,
): StepHistory | undefined {
  const before: StepHistory = history ?? { runs: [], lastMs: atMs };
  const { shmBytes = 0 } = used;
  // Rows that were kept in memory are sized for themselves.
  const engineBytes = leaseBytes - shmBytes;
  if (RAN_OUT.includes(used.verdict)) {
    const bytes = Math.max(engineBytes, before.ranOut?.bytes ?? 0);
    // A kill says that more lay beside the engine's pool than was known; that the pool was too small says nothing of what lies beside it.
    const runs = used.verdict === Verdict.OOM_OWN ? before.runs.map(withoutOverhead) : before.runs;
    return { ...before, runs, lastMs: atMs, ranOut: { bytes, inputBytes: used.inputBytes, atMs, fitted: 0 } };
  }
  if (used.verdict !== Verdict.OK) return history;
  const { inputBytes, outputBytes, seconds } = used;
  const peakBytes = Math.max(0, used.peakBytes - Math.min(outputBytes, shmBytes));
  const { fullPool } = used;
  const besidePoolBytes = fullPool && Math.ceil(Math.max(0, peakBytes - fullPool.bytes) / fullPool.partitions);
  const run = {
    ...{ peakBytes, inputBytes, leaseBytes: engineBytes, seconds, atMs, outputBytes },
    ...(besidePoolBytes !== undefined && { spilled: true as const, besidePoolBytes }),
  };
  const runs = [...before.runs, run].slice(-REMEMBERED);
  const { ranOut, ...rest } = before;
  const fitted = ranOut ? fittedSince(ranOut, { peakBytes, inputBytes }, engineBytes) : FORGIVEN_AFTER;
  return { ...rest, runs, lastMs: atMs, ...(ranOut && fitted < FORGIVEN_AFTER && { ranOut: { ...ranOut, fitted } }) };
}

function withoutOverhead({ besidePoolBytes: _forgotten, ...run }: StepMeasure): StepMeasure {
  return run;
}

/**
 * What a step's engine takes beside its own pool: the most, a partition, of the runs in which that pool was full. Undefined before five of them, as one
 * run that went well proves little, and after a kill for memory until there were five again.
 */
export function measuredOverhead({ runs }: StepHistory): EngineOverhead | undefined {
  const measured = runs.flatMap(({ besidePoolBytes }) => (besidePoolBytes === undefined ? [] : [besidePoolBytes]));
  if (measured.length < ENOUGH_RUNS) return undefined;
  return { partitionBytes: Math.max(...measured), runs: measured.length };
}

/** How often in a row the step would have had enough where it ran out once; it proves so when it was lent no more than that. */
function fittedSince(
  ranOut: NonNullable<StepHistory['ranOut']>,
  used: Pick<StepUsage, 'peakBytes' | 'inputBytes'>,
  leaseBytes: number,
): number {
  if (leaseBytes <= ranOut.bytes) return FORGIVEN_AFTER;
  const spare = used.peakBytes * 2 <= ranOut.bytes && used.inputBytes * 2 >= ranOut.inputBytes;
  return spare ? ranOut.fitted + 1 : 0;
}

/** Puts a history among the others, without those that were not used for longest when there are more than `most`; what is pinned stays. */
export function withHistory(histories: StepHistories, key: string, history: StepHistory, most: number): StepHistories {
  const all = { ...histories, [key]: history };
  const tooMany = Object.keys(all).length - most;
  if (tooMany <= 0) return all;
  const oldest = Object.entries(all)
    .filter(([name, { pinnedBytes }]) => name !== key && pinnedBytes === undefined)
    .sort(([, a], [, b]) => a.lastMs - b.lastMs)
    .slice(0, tooMany);
  for (const [name] of oldest) delete all[name];
  return all;
}

/**
 * Bytes that a step needs, by its own history: the quantile 0.9 of what earlier runs needed, each scaled to the bytes that are read now.
 *
 * A run needed its peak × headroom + what lies beside, at most what it was lent: with that it went well. One that spilled needed all of that: an engine's
 * pool counts more than is resident (peaks of 0.25 to 0.9 of full pools were measured), so asking by the peak would shrink the lease from run to run. Of it {@link BASE_BYTES} are fixed, the rest
 * grows with the input, as the peak per input byte does. Undefined while nothing was measured.
 * @param inputBytes of the files that are read; undefined before they are written: then as many as last time
 */
export function measuredBytes({ runs, headroom, besideBytes }: Measured, inputBytes?: number): number | undefined {
  if (runs.length === 0) return undefined;
  const reads = inputBytes ?? runs.at(-1)!.inputBytes;
  const needs = runs
    .map((run) => {
      const needed = run.spilled ? run.leaseBytes : Math.min(run.peakBytes * headroom + besideBytes, run.leaseBytes);
      const fixed = Math.min(BASE_BYTES + besideBytes, needed);
      const growth = run.inputBytes > 0 ? Math.min(MOST_GROWTH, reads / run.inputBytes) : 1;
      return fixed + (needed - fixed) * growth;
    })
    .sort((a, b) => a - b);
  return Math.ceil(needs[Math.ceil(QUANTILE * needs.length) - 1]!);
}

/** Rows grow from run to run: with this much more than the most so far they mostly still fit. */
const GROWTH = 1.25;

/** Bytes that a step's rows will take, or undefined when none were measured. */
export function expectedOutputBytes({ runs }: StepHistory): number | undefined {
  const known = runs.flatMap(({ outputBytes }) => (outputBytes === undefined ? [] : [outputBytes]));
  return known.length === 0 ? undefined : Math.ceil(GROWTH * Math.max(...known));
}

/** Median seconds of a step's runs, or undefined when nothing was measured; explains, and decides nothing. */
export function expectedSeconds({ runs }: StepHistory): number | undefined {
  const sorted = runs.map(({ seconds }) => seconds).sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

import type { Verb } from '../contracts/pipeline.ts';
import type { Measured, PlannedStep, Rung } from '../contracts/plan.ts';
import type { StepHistory } from '../contracts/pool.ts';
import type { Sized } from './step-size.ts';
import { formatBoth, formatBytes, MiB } from './sizes.ts';
import { measuredBytes } from './step-history.ts';

/** Asks are whole multiples of this, so that runs of one size ask for one size. */
const ROUND_BYTES = 64 * MiB;

/** Lease ÷ peak with which an engine lacks nothing: DataFusion's own pool is 0.6 of its lease, and all of a peak may have been in it. */
export const HEADROOM: Partial<Record<Verb, number>> = { 'datafusion.sql': 1 / 0.6, transform: 1.25 };

/** What a pool remembers of a step, and what bounds what is made of it. */
export interface Known {
  history: StepHistory | undefined;
  verb: Verb;
  /** Bytes of a lease that are not the engine's: a container that decodes its input. */
  besideBytes: number;
  leastBytes: number;
  /** Whether its `memory` or `profile` was declared. */
  declared: boolean;
}

/**
 * The sizes to try, by what the pool remembers: what is pinned as it is; else what was declared, or measured where nothing was; never again at or
 * below what the step ran out of memory with. Steps of other engines, and those on the allowance, have the one size that they have.
 */
export function learnedSize(sized: Sized, { history, verb, besideBytes, leastBytes, declared }: Known): Sized {
  const headroom = HEADROOM[verb];
  const most = sized.ladder.at(-1)?.bytes;
  if (!history || headroom === undefined || most === undefined || sized.charge !== 'lease') return sized;
  if (history.pinnedBytes !== undefined) {
    const bytes = Math.min(Math.max(history.pinnedBytes, leastBytes), most);
    const larger = sized.ladder.filter((rung) => rung.bytes > bytes);
    const ladder = larger.length === 0 ? sized.ladder.slice(-1) : [{ name: 'pinned', bytes }, ...larger];
    return { charge: 'lease', ladder, because: `${formatBytes(bytes)} pinned by an operator` };
  }
  const above = aboveRanOut(sized, history);
  if (declared || history.runs.length === 0) return above;
  const least = above === sized ? leastBytes : above.ladder[0]!.bytes;
  const measured: Measured = { runs: history.runs, headroom, besideBytes, leastBytes: least };
  const ladder = rungsFor({ rungs: above.ladder, measured }, undefined);
  const peak = formatBytes(Math.max(...history.runs.map(({ peakBytes }) => peakBytes)));
  const times = history.runs.length === 1 ? 'one run' : `${history.runs.length} runs`;
  return { charge: 'lease', ladder, measured, because: `a peak of ${peak} was measured in ${times}` };
}

function aboveRanOut(sized: Sized, { ranOut }: StepHistory): Sized {
  const first = sized.ladder[0]!;
  if (!ranOut || first.bytes > ranOut.bytes) return sized;
  const larger = sized.ladder.filter((rung) => rung.bytes > ranOut.bytes);
  const ladder = larger.length > 0 ? larger : sized.ladder.slice(-1);
  const [ranOutAt] = formatBoth(ranOut.bytes, ladder[0]!.bytes);
  return { ...sized, ladder, because: `${sized.because}, but an earlier run ran out of memory with ${ranOutAt}` };
}

/** Sizes to try once it is known what the step reads: the measured one, then those planned ones that are larger. */
export function rungsFor({ rungs, measured }: Pick<PlannedStep, 'rungs' | 'measured'>, inputBytes?: number): Rung[] {
  const needed = measured && measuredBytes(measured, inputBytes);
  if (needed === undefined) return rungs;
  const rounded = Math.ceil(Math.max(needed, measured!.leastBytes) / ROUND_BYTES) * ROUND_BYTES;
  const planned = rungs.filter(({ name }) => name !== 'measured');
  const most = planned.at(-1);
  if (most !== undefined && rounded >= most.bytes) return [most];
  const bytes = Math.min(rounded, rungs.at(-1)!.bytes);
  return [{ name: 'measured', bytes }, ...planned.filter((rung) => rung.bytes > bytes)];
}

import { SpillwayError, type FailureCode, type Verdict } from '../../contracts/errors.ts';
import type { Proof, StepUsage } from '../../contracts/pool.ts';
import { formatBytes } from '../../policy/sizes.ts';
import type { ContainerOutcome, ExitEvidence } from '../container/container-port.ts';
import type { JobError } from './job.ts';

/** `details` of every failure of a DataFusion step: what the caller needs to end the lease and to choose what to try next. */
export interface DatafusionFailureDetails {
  verdict: Verdict;
  evidence: ExitEvidence;
  proof: Proof;
  used: StepUsage;
  /** For `engine-exhausted`: who held the most of the engine's pool. */
  consumers?: string[];
  stderrTail?: string;
}

const CODE: Record<Exclude<Verdict, 'ok' | 'cancelled'>, FailureCode> = {
  'engine-exhausted': 'EngineExhausted',
  'oom-own': 'OutOfMemoryOwn',
  'oom-ceiling': 'OutOfMemoryCeiling',
  'sql-error': 'SqlError',
  'scratch-full': 'ScratchFull',
  'engine-error': 'EngineFailed',
  timeout: 'ContainerFailed',
  'killed-by-other': 'ContainerFailed',
  'cli-lost': 'ContainerFailed',
  'runtime-error': 'ContainerFailed',
  crash: 'ContainerFailed',
  'no-result': 'ContainerFailed',
};

/** The error of an attempt that did not go well, with granted, used and the engine's own word in its first line. Pure. */
export function failureOf(
  outcome: ContainerOutcome,
  context: { step: string; leaseBytes: number; scratchBytes: number; timeoutMs: number; used: StepUsage },
): SpillwayError {
  const verdict = outcome.verdict as keyof typeof CODE;
  const last = outcome.result?.ev === 'error' ? (outcome.result as unknown as JobError) : undefined;
  const details: DatafusionFailureDetails = {
    verdict,
    evidence: outcome.evidence,
    proof: outcome.proof,
    used: context.used,
    ...(last?.consumers && last.consumers.length > 0 && { consumers: last.consumers }),
    ...(outcome.stderrTail !== '' && { stderrTail: outcome.stderrTail }),
  };
  return new SpillwayError(CODE[verdict], messageOf(verdict, outcome, last, context), { details });
}

/** What Arrow's reader of CSV says of a value that is not of the type that the first lines had. */
const NOT_OF_TYPE = /Error while parsing value .* as type .* for column \d+ at line \d+/;

const mendOf = (last: JobError | undefined): string =>
  NOT_OF_TYPE.test(last?.message ?? '')
    ? ". Types are those of the first 10,000 lines (columns and lines count from 0): have every column a text (csv: { types: 'text' }), and cast it in the statement."
    : '';

function messageOf(
  verdict: keyof typeof CODE,
  outcome: ContainerOutcome,
  last: JobError | undefined,
  { step, leaseBytes, scratchBytes, timeoutMs, used }: Parameters<typeof failureOf>[1],
): string {
  const granted = formatBytes(leaseBytes);
  const seen = formatBytes(used.peakBytes);
  const code = outcome.exitCode ?? 'none';
  const tail = outcome.stderrTail.trim().split('\n').at(-1) ?? '';
  switch (verdict) {
    case 'engine-exhausted':
      return `step ${step} needs more memory: granted ${granted}, peak ${seen}; DataFusion: ${last?.message ?? 'out of memory'}`;
    case 'oom-own':
      return `step ${step} needs more memory: granted ${granted}, killed by the ${outcome.evidence.overLimit ? 'watchdog' : 'kernel'} at ${seen}`;
    case 'oom-ceiling':
      return `step ${step} was killed because the pool's memory ran out, at ${seen} of its own ${granted}; the same size can be tried again`;
    case 'sql-error':
      return `the statement of step ${step} fails: ${last?.message ?? tail}${mendOf(last)}`;
    case 'scratch-full':
      return `step ${step} needs more scratch than the ${formatBytes(scratchBytes)} granted: ${last?.message ?? tail}`;
    case 'engine-error':
      return `DataFusion failed in step ${step}: ${last?.message ?? tail}`;
    case 'timeout':
      return `step ${step} was stopped after ${timeoutMs / 1000} s; give it more with startToClose`;
    case 'killed-by-other':
      return `the container of step ${step} was killed from outside at ${seen} of ${granted}; it is tried again as it is`;
    case 'cli-lost':
      return `the container command of step ${step} was killed; its container was removed and the step is tried again`;
    case 'runtime-error':
      return `the container of step ${step} did not start: ${tail || `exit code ${code}`}; see spillway doctor`;
    case 'crash':
      return `the container of step ${step} crashed with exit code ${code}: ${tail || 'nothing on stderr'}`;
    case 'no-result':
      return `the container of step ${step} ended without a result; is its image the one of this version?`;
  }
}

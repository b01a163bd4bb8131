import { Verdict } from '../../contracts/errors.ts';
import type { ExitEvidence } from './container-port.ts';

const BY_CLASS: Record<string, Verdict> = {
  pool: Verdict.ENGINE_EXHAUSTED,
  disk: Verdict.SCRATCH_FULL,
  sql: Verdict.SQL_ERROR,
};

/**
 * How a container ended, judged on evidence in a fixed order; an exit code alone says little.
 * Pure: the same evidence always gets the same verdict.
 */
export function judgeExit(seen: ExitEvidence): Verdict {
  const { state, cliExit, lastEvent } = seen;
  const code = state?.status === 'exited' ? state.exitCode : cliExit;
  if (seen.intent) return seen.intent;
  if (seen.overLimit) return Verdict.OOM_OWN;
  // The runtime's own deadline: a backstop for containers whose worker died.
  if (cliExit === 255 && state?.exitCode === -1) return Verdict.TIMEOUT;
  if (state?.status === 'running') return Verdict.CLI_LOST;
  if (state?.status === 'lost') return judgeLost(seen);
  if (cliExit === 125) return Verdict.RUNTIME_ERROR;
  if ((cliExit === 126 || cliExit === 127) && (!state || NEVER_RAN.has(state.status))) return Verdict.RUNTIME_ERROR;
  if (lastEvent?.ev === 'error') return BY_CLASS[lastEvent.cls ?? ''] ?? Verdict.ENGINE_ERROR;
  // Exit 0 without the result line is not ok.
  if (code === 0 && lastEvent?.ev === 'done') return Verdict.OK;
  if (seen.oomKills > 0 || state?.oomKilled) return whoseLimit(seen);
  if (code === 137) return judgeKill(seen);
  return code === 0 ? Verdict.NO_RESULT : Verdict.CRASH;
}

const NEVER_RAN = new Set(['created', 'configured', 'initialized']);
/** A limit counts as reached from here: the kernel kills within a page cluster of it. */
const FULL = 0.99;
/** Below this share of the limit, what cannot be reclaimed never came near it between two samples. */
const NEAR = 0.8;

function isFull(peakBytes: number, limitBytes: number): boolean {
  return limitBytes > 0 && peakBytes >= FULL * limitBytes;
}

function whoseLimit(seen: ExitEvidence): Verdict {
  if (seen.kernelLog === 'own') return Verdict.OOM_OWN;
  if (seen.kernelLog === 'ceiling') return Verdict.OOM_CEILING;
  const ceiling = isFull(seen.poolPeakBytes, seen.poolLimitBytes);
  return isFull(seen.stepPeakBytes, seen.stepLimitBytes) || !ceiling ? Verdict.OOM_OWN : Verdict.OOM_CEILING;
}

/** Nobody recorded its end: only what the engine said and the kernel counted can tell. A `done` without exit code 0 is not ok. */
function judgeLost(seen: ExitEvidence): Verdict {
  const { lastEvent, oomKills, kernelLog } = seen;
  if (lastEvent?.ev === 'error') return BY_CLASS[lastEvent.cls ?? ''] ?? Verdict.ENGINE_ERROR;
  return oomKills > 0 || kernelLog === 'own' || kernelLog === 'ceiling' ? whoseLimit(seen) : Verdict.CLI_LOST;
}

/** SIGKILL, and no sample caught the kernel's count: its log is exact where it can be read, peaks are the next best. */
function judgeKill(seen: ExitEvidence): Verdict {
  if (seen.kernelLog === 'own' || seen.kernelLog === 'ceiling') return whoseLimit(seen);
  const full = isFull(seen.stepPeakBytes, seen.stepLimitBytes);
  // Page cache alone fills a group to its limit without any trouble; then a stranger killed it.
  const cacheOnly = seen.kernelLog === 'none' && seen.heldPeakBytes < NEAR * seen.stepLimitBytes;
  if (full && !cacheOnly) return Verdict.OOM_OWN;
  if (isFull(seen.poolPeakBytes, seen.poolLimitBytes) && seen.kernelLog !== 'none') return Verdict.OOM_CEILING;
  return Verdict.KILLED_BY_OTHER;
}

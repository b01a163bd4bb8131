import { ApplicationFailure, CancelledFailure, Context } from '@temporalio/activity';
import { SpillwayError, type FailureCode } from '../src/contracts/errors.ts';
import type { ProcessId, Proof, StepUsage } from '../src/contracts/pool.ts';
import type { StepFailureDetails, StepRequest, StepResult } from '../src/contracts/steps.ts';
import type { PoolClient } from './pool-client.ts';

/** Progress is told this often, whatever the engine does: some phases show none. */
const HEARTBEAT_EVERY_MS = 2_000;

/** What an attempt of a step works with. */
export interface Attempt {
  /** Higher than any earlier attempt's of this step. */
  token: number;
  /** Whether no other follows when this one fails. */
  isLast: boolean;
  signal: AbortSignal;
  /** Shown as heartbeat details in the Temporal UI. */
  progress(details: Record<string, unknown>): void;
  /** Says how a failing attempt left things; goes with its failure, so that the lease can end. */
  ended(as: Omit<StepFailureDetails, 'token'>): void;
}

/** What the body of a step reports when it went well. */
export type Worked = Omit<StepResult, 'token'>;

/** Proof that nothing of the attempt was left running. */
export const exited = (): Proof => ({ kind: 'exited', atMs: Date.now(), bytesLeft: 0 });

export interface LeasedDeps {
  pool: PoolClient;
  host: string;
  process: ProcessId;
}

/**
 * Runs an attempt under its lease: begins it, heartbeats while it works, and tells the runner with every ending what
 * is needed to end the lease.
 */
export async function leased(
  deps: LeasedDeps,
  request: StepRequest,
  body: (attempt: Attempt) => Promise<Worked>,
): Promise<StepResult> {
  const context = Context.current();
  const signal = context.cancellationSignal;
  const startedAtMs = Date.now();
  let details: Record<string, unknown> = { phase: 'starting' };
  const beat = setInterval(() => context.heartbeat(details), HEARTBEAT_EVERY_MS);
  context.heartbeat(details);
  let token: number | undefined;
  let left: Omit<StepFailureDetails, 'token'> | undefined;
  try {
    token = await begin(deps, request);
    const isLast = context.info.attempt >= (context.info.retryPolicy?.maximumAttempts ?? 1);
    const attempt: Attempt = { token, isLast, signal, progress: (now) => (details = now), ended: (as) => (left = as) };
    const worked = await body(attempt);
    return { token, ...worked };
  } catch (error) {
    const failed =
      token === undefined ? undefined : left ? { token, ...left } : failureDetails(token, error, startedAtMs);
    if (signal.aborted) {
      const reason = signal.reason instanceof Error ? signal.reason : undefined;
      throw new CancelledFailure(reason?.message ?? 'cancelled', failed ? [failed] : [], reason);
    }
    throw asFailure(error, failed);
  } finally {
    clearInterval(beat);
  }
}

async function begin(deps: LeasedDeps, request: StepRequest): Promise<number> {
  const { info } = Context.current();
  // Steps on the light allowance take their token from the server's clock, as the pool's tokens do.
  if (request.leaseId === undefined) return info.currentAttemptScheduledTimestampMs;
  const answer = await deps.pool.begin(request.pool, {
    leaseId: request.leaseId,
    runId: info.workflowExecution!.runId,
    host: deps.host,
    process: deps.process,
  });
  if (answer === 'stale') {
    throw new SpillwayError(
      'LeaseLost',
      `its lease ${request.leaseId} was ended meanwhile; the runner asks for a new one.`,
    );
  }
  return answer.token;
}

/** Ending details of an attempt that failed: what its error says of them, else that nothing was left running. */
function failureDetails(token: number, error: unknown, startedAtMs: number): StepFailureDetails {
  const said = error instanceof SpillwayError ? (error.details as Partial<StepFailureDetails> | undefined) : undefined;
  return {
    token,
    proof: said?.proof ?? exited(),
    used:
      said?.used ??
      noUsage((Date.now() - startedAtMs) / 1000, error instanceof SpillwayError ? error.code : 'Unexpected'),
    ...(said?.lost && { lost: said.lost }),
  };
}

/** Usage of a step that never got to measure any. */
export const noUsage = (seconds: number, verdict: string): StepUsage => ({
  peakBytes: 0,
  scratchPeakBytes: 0,
  inputBytes: 0,
  outputBytes: 0,
  rows: 0,
  seconds,
  verdict,
});

/** The one place where errors become Temporal failures. Unknown ones keep their cause and are tried again. */
export function asFailure(error: unknown, details?: StepFailureDetails): ApplicationFailure {
  if (error instanceof ApplicationFailure) return error;
  const known = error instanceof SpillwayError ? error : undefined;
  const unknown = error instanceof Error ? error : new Error(String(error));
  const code: FailureCode = known?.code ?? 'Unexpected';
  const cause = brief(known ? known.cause : unknown);
  const failure = ApplicationFailure.create({
    message: known ? known.message : `${unknown.message} (unexpected; see the cause)`,
    type: code,
    nonRetryable: known?.retry === 'give-up',
    details: details ? [details] : [],
    ...(cause ? { cause } : {}),
  });
  failure.stack = briefStack(unknown);
  return failure;
}

/**
 * A cause as far as it helps. Of a pending attempt's failure the server keeps 4 KB, and of a longer one it shows no word:
 * "Failure exceeds size limit".
 */
function brief(error: unknown, levels = 3): Error | undefined {
  if (!(error instanceof Error) || levels === 0) return undefined;
  const cause = brief(error.cause, levels - 1);
  const shorter = new Error(error.message.slice(0, 300), cause ? { cause } : {});
  shorter.name = error.name;
  shorter.stack = briefStack(error);
  return shorter;
}

/** Where an error came from: its first frames, without the message that stands beside them. */
const briefStack = ({ name, stack = '' }: Error): string => {
  const frames = stack.split('\n').filter((line) => /^\s+at /.test(line));
  return [name, ...frames.slice(0, 4)].join('\n');
};

/** Longest time of this attempt, in ms. */
export const attemptMs = (): number => Context.current().info.startToCloseTimeoutMs;

import { Verdict } from '../../contracts/errors.ts';
import type { FailureCode } from '../../contracts/errors.ts';

/** How a Trino error is judged: the failure it becomes, the verdict on the attempt, and what the reader of it should do. */
export interface TrinoErrorRule {
  code: FailureCode;
  verdict: Verdict;
  advice: string;
}

const statement = (advice: string): TrinoErrorRule => ({ code: 'SqlError', verdict: Verdict.SQL_ERROR, advice });
const exhausted = (advice: string): TrinoErrorRule => ({
  code: 'EngineExhausted',
  verdict: Verdict.ENGINE_EXHAUSTED,
  advice,
});
const refused = (advice: string, verdict: Verdict = Verdict.ENGINE_ERROR): TrinoErrorRule => ({
  code: 'EngineRefused',
  verdict,
  advice,
});
const failed = (advice: string): TrinoErrorRule => ({ code: 'EngineFailed', verdict: Verdict.ENGINE_ERROR, advice });
const diskFull: TrinoErrorRule = {
  code: 'ScratchFull',
  verdict: Verdict.SCRATCH_FULL,
  advice: 'Free disk space, or lend the step more scratch',
};

const LARGER = 'Give the step a larger `profile` or `memory`';
const AGAIN = 'Try again; nothing is wrong with the statement';
const REPORT = 'Rewrite the statement or report this to the Trino project; trying again does not help';

/** Verdicts by error name. What is not named is judged by its type ({@link RULES_BY_TYPE}). */
export const RULES_BY_NAME: Readonly<Record<string, TrinoErrorRule>> = {
  SYNTAX_ERROR: statement('Correct the statement'),
  TABLE_NOT_FOUND: statement('Name a table that exists'),
  SCHEMA_NOT_FOUND: statement('Name a schema that exists'),
  CATALOG_NOT_FOUND: statement('Name a catalog that exists'),
  COLUMN_NOT_FOUND: statement('Name a column that exists'),
  FUNCTION_NOT_FOUND: statement('Name a function that exists'),
  MISSING_SCHEMA_NAME: statement('Write the table as catalog.schema.table'),
  MISSING_CATALOG_NAME: statement('Write the table as catalog.schema.table'),
  PERMISSION_DENIED: refused('Grant the user of the connection what the statement needs'),
  INVALID_SESSION_PROPERTY: refused('Use a Trino that knows this session property'),
  // A query of its own size: at the same size it ends the same way.
  EXCEEDED_LOCAL_MEMORY_LIMIT: exhausted(LARGER),
  EXCEEDED_GLOBAL_MEMORY_LIMIT: exhausted(LARGER),
  // Somebody else held the memory or the queue.
  CLUSTER_OUT_OF_MEMORY: failed(AGAIN),
  QUERY_QUEUE_FULL: failed('Try again when other queries have ended'),
  ADMINISTRATIVELY_PREEMPTED: failed(AGAIN),
  // Limits that somebody set on purpose.
  EXCEEDED_TIME_LIMIT: refused(
    'Raise query_max_execution_time or query_max_run_time, or make the query shorter',
    Verdict.TIMEOUT,
  ),
  EXCEEDED_CPU_LIMIT: refused('Raise query_max_cpu_time, or make the query cheaper'),
  EXCEEDED_SCAN_LIMIT: refused('Raise query_max_scan_physical_bytes, or read less'),
  EXCEEDED_SPILL_LIMIT: diskFull,
  OUT_OF_SPILL_SPACE: diskFull,
  USER_CANCELED: refused(
    'Start the run again if it should not have been cancelled; somebody cancelled the query',
    Verdict.CANCELLED,
  ),
  ADMINISTRATIVELY_KILLED: refused(
    'Start the run again if it should not have been killed; somebody killed the query',
    Verdict.CANCELLED,
  ),
  ABANDONED_QUERY: failed('Try again; the worker was silent for longer than query.client.timeout'),
  TRANSACTION_CONFLICT: failed(AGAIN),
  PAGE_TRANSPORT_ERROR: failed(AGAIN),
  PAGE_TRANSPORT_TIMEOUT: failed(AGAIN),
  REMOTE_TASK_ERROR: failed(AGAIN),
  REMOTE_TASK_MISMATCH: failed(AGAIN),
  REMOTE_HOST_GONE: failed(AGAIN),
  NO_NODES_AVAILABLE: failed('Try again when Trino is ready; it has started but cannot scan yet'),
  TOO_MANY_REQUESTS_FAILED: failed(AGAIN),
  SERVER_SHUTTING_DOWN: failed(AGAIN),
  SERVER_STARTING_UP: failed(AGAIN),
  ABANDONED_TASK: failed(AGAIN),
  GENERIC_INTERNAL_ERROR: failed('Try again, and look into the log of Trino if it stays'),
  COMPILER_ERROR: refused(REPORT),
  FUNCTION_IMPLEMENTATION_ERROR: refused(REPORT),
  FUNCTION_IMPLEMENTATION_MISSING: refused(REPORT),
  CORRUPT_PAGE: refused(REPORT),
  PAGE_TOO_LARGE: refused('Read fewer or narrower columns; one row is larger than a page may be'),
  CONFIGURATION_INVALID: refused('Correct the configuration of Trino'),
};

/** Verdicts by error type, for names that stand in no row above. */
export const RULES_BY_TYPE: Readonly<Record<string, TrinoErrorRule>> = {
  USER_ERROR: statement('Correct the statement'),
  INTERNAL_ERROR: failed('Try again, and look into the log of Trino if it stays'),
  INSUFFICIENT_RESOURCES: failed('Try again when other queries have ended'),
  EXTERNAL: failed('Check the source that the catalog reads'),
};

/** What the killer of a lower token writes as its message; the killed attempt reads it and gives way. */
export const SUPERSEDED = 'spillway: a later attempt has taken over';

/** Judges an error by what it says first, then its name, then its type. */
export function ruleFor(error: { errorName: string; errorType: string; message: string }): TrinoErrorRule {
  if (error.errorName === 'ADMINISTRATIVELY_KILLED' && error.message.includes(SUPERSEDED)) {
    return {
      code: 'LeaseLost',
      verdict: Verdict.CANCELLED,
      advice: 'Nothing to do here; a later attempt of this step has taken over',
    };
  }
  if (/No space left on device|Disk quota exceeded/i.test(error.message)) return diskFull;
  return RULES_BY_NAME[error.errorName] ?? RULES_BY_TYPE[error.errorType] ?? failed(AGAIN);
}

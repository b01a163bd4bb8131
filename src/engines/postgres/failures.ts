import { SpillwayError } from '../../contracts/errors.ts';
import { isStagingIndex } from './identifiers.ts';

/** Fields of an error that the server sent. */
export interface ServerError extends Error {
  code: string;
  detail?: string;
  column?: string;
  constraint?: string;
  where?: string;
}

/** Whether an error came from the server; it has a five character code. So has EPIPE of the operating system, which comes with its call. */
export function isServerError(error: unknown): error is ServerError {
  if (!(error instanceof Error) || 'syscall' in error) return false;
  return 'code' in error && typeof error.code === 'string' && /^[0-9A-Z]{5}$/.test(error.code);
}

const ENDED = new Set(['57P01', '57P02', '57P03', '57P05', '08006', '08003', '08001']);

/** Classes and codes whose cause may be gone at the next attempt. */
const PASSING = [/^08/, /^40/, /^53/, /^55/, /^57/, /^58/, /^XX/, /^25P0[34]$/, /^42P0[67]$/, /^42701$/];

/** Column that a COPY error points at: `COPY stg, line 3, column price: "…"`. */
const copyColumn = (where: string | undefined): string | undefined =>
  /^COPY .*?, line \d+, column ([^:\n]+?)(?::|$)/m.exec(where ?? '')?.[1];
const copyLine = (where: string | undefined): string | undefined => /^COPY .*?, line (\d+)/m.exec(where ?? '')?.[1];

function refusal(error: ServerError): string {
  const column = error.column ?? copyColumn(error.where);
  const line = copyLine(error.where);
  const place = [line === undefined ? '' : `row ${line}`, column === undefined ? '' : `column "${column}"`].filter(
    Boolean,
  );
  const ours = error.constraint !== undefined && isStagingIndex(error.constraint);
  const constraint = error.constraint === undefined || ours ? '' : ` (constraint ${error.constraint})`;
  const message = ours ? error.message.replace(` "${error.constraint}"`, '') : error.message;
  const detail = error.detail === undefined ? '' : `; ${error.detail.replace(/\.$/, '')}`;
  return `${place.length > 0 ? `${place.join(', ')}: ` : ''}${message}${detail}${constraint}`;
}

/** What an attempt was at when it failed. */
export interface FailureContext {
  table: string;
  phase: string;
  /** Whether rows may have become visible: only after COMMIT was sent. */
  published: 'no' | 'unknown';
  /** @defaultValue `the load into <table>` */
  what?: string;
}

/** Turns any failure of a load into an error people can act on. */
export function loadFailure(
  error: unknown,
  { table, phase, published, what = `the load into ${table}` }: FailureContext,
): SpillwayError {
  const fate =
    published === 'no'
      ? 'nothing was published'
      : 'whether it was published could not be read; the next attempt reads the load ledger first';
  if (error instanceof SpillwayError) return error;
  if (error instanceof Error && error.name === 'AbortError') {
    return new SpillwayError(
      'LoadInterrupted',
      `${what[0]!.toUpperCase()}${what.slice(1)} was cancelled while ${phase}; ${fate}.`,
      {
        cause: error,
      },
    );
  }
  if (!isServerError(error)) {
    const message = error instanceof Error ? error.message : String(error);
    return new SpillwayError(
      'LoadInterrupted',
      `The connection to PostgreSQL was lost while ${phase} for ${table} (${message}); ${fate}.`,
      { cause: error },
    );
  }
  if (ENDED.has(error.code)) {
    return new SpillwayError(
      'LoadInterrupted',
      `PostgreSQL ended the session while ${phase} for ${table} (${error.message}); ${fate}.`,
      { cause: error },
    );
  }
  // Two sessions made the same schema or table in the same moment, as 42P06 and 42P07 also say.
  const catalogueRace = error.constraint?.startsWith('pg_') ?? false;
  if (catalogueRace || PASSING.some((pattern) => pattern.test(error.code))) {
    return new SpillwayError(
      'LoadInterrupted',
      `PostgreSQL stopped while ${phase} for ${table}: ${refusal(error)}; ${fate}.`,
      {
        cause: error,
        details: { code: error.code },
      },
    );
  }
  return new SpillwayError('LoadRefused', `PostgreSQL refused ${what}: ${refusal(error)}; ${fate}.`, {
    cause: error,
    details: { code: error.code, constraint: error.constraint, column: error.column ?? copyColumn(error.where) },
  });
}

/** Turns a failure to connect into an error people can act on. */
export function connectFailure(error: unknown): SpillwayError {
  if (error instanceof SpillwayError) return error;
  const inner = error instanceof AggregateError && error.errors[0] instanceof Error ? error.errors[0] : error;
  const message = inner instanceof Error ? inner.message : String(inner);
  return new SpillwayError(
    'TargetUnreachable',
    `PostgreSQL cannot be reached: ${message}. Nothing was published; check that the server runs and that the connection is right.`,
    { cause: error },
  );
}

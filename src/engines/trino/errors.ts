import { SpillwayError } from '../../contracts/errors.ts';
import type { Verdict } from '../../contracts/errors.ts';
import { ruleFor } from './error-table.ts';
import type { HttpReply } from './http-request.ts';
import type { ReplyError, TrinoEndpoint } from './protocol.ts';

/** Position in a statement, both from 1. */
export interface Position {
  line: number;
  column: number;
}

/** Details of every error that a query ended with. */
export interface TrinoErrorDetails {
  errorName: string;
  errorType: string;
  /** Trino's message, whole. */
  message: string;
  verdict: Verdict;
  queryId?: string;
  /** Where in the text that was sent; {@link relocate} turns it into a position of the user's statement. */
  position?: Position;
  peakMemoryBytes?: number;
  spilledBytes?: number;
}

const LONGEST_MESSAGE = 600;

/** Makes the error that people see out of what Trino said. Its first line says what to do. */
export function trinoFailure(
  error: Omit<ReplyError, 'errorCode'>,
  about: { queryId?: string; peakMemoryBytes?: number; spilledBytes?: number } = {},
): SpillwayError {
  const { code, verdict } = ruleFor(error);
  const at = error.errorLocation;
  const position = at && { line: at.lineNumber, column: at.columnNumber };
  const details: TrinoErrorDetails = {
    ...about,
    ...(position ? { position } : {}),
    errorName: error.errorName,
    errorType: error.errorType,
    message: error.message,
    verdict,
  };
  return new SpillwayError(code, sentence(details), { details });
}

/** The details of an error that came from a Trino query; undefined for any other. */
export function trinoDetails(error: unknown): TrinoErrorDetails | undefined {
  if (!(error instanceof SpillwayError)) return undefined;
  const details = error.details as Partial<TrinoErrorDetails> | undefined;
  return typeof details?.errorName === 'string' ? (details as TrinoErrorDetails) : undefined;
}

/** The same error, its position moved into the statement as the user wrote it, and a hint at the end. */
export function relocate(error: SpillwayError, position: Position | undefined, hint = ''): SpillwayError {
  const details = trinoDetails(error);
  if (!details) return error;
  const moved: TrinoErrorDetails = { ...details };
  if (position) moved.position = position;
  else delete moved.position;
  return new SpillwayError(error.code, sentence(moved) + hint, { cause: error.cause, details: moved });
}

function sentence(details: TrinoErrorDetails): string {
  const { advice } = ruleFor(details);
  const said = details.message
    .replace(/^line \d+:\d+: /, '')
    .replace(/\s+/g, ' ')
    .trim();
  const cut = said.length > LONGEST_MESSAGE ? `${said.slice(0, LONGEST_MESSAGE)}…` : said;
  const where = details.position ? ` at line ${details.position.line}:${details.position.column}` : '';
  return `${advice}: ${details.errorName}${where}: ${cut}`;
}

/** Makes an error of an HTTP answer that is no reply of the protocol. */
export function httpFailure(endpoint: TrinoEndpoint, reply: HttpReply, queryId?: string): SpillwayError {
  const text = reply.text.replace(/\s+/g, ' ').trim();
  // The server parses prepared statements while it reads the headers, so their syntax errors come as a plain 400.
  const prepared = /Invalid X-Trino-Prepared-Statement header: (line (\d+):(\d+): .*)$/.exec(text);
  if (reply.status === 400 && prepared) {
    const errorLocation = { lineNumber: Number(prepared[2]), columnNumber: Number(prepared[3]) };
    return trinoFailure({ errorName: 'SYNTAX_ERROR', errorType: 'USER_ERROR', message: prepared[1]!, errorLocation });
  }
  const details = { status: reply.status, ...(queryId === undefined ? {} : { queryId }) };
  if (reply.status === 401 || reply.status === 403) {
    return new SpillwayError(
      'EngineRefused',
      `Correct user and password of the connection: Trino at ${endpoint.url} answered ${reply.status} to user ${endpoint.user}.`,
      { details },
    );
  }
  if (queryId !== undefined && (reply.status === 404 || reply.status === 410)) {
    return new SpillwayError(
      'EngineFailed',
      `Try again: Trino at ${endpoint.url} no longer knows query ${queryId}; it was restarted, or the query was abandoned.`,
      { details },
    );
  }
  return new SpillwayError(
    'EngineFailed',
    `Check that ${endpoint.url} is a Trino: it answered ${reply.status}: ${text.slice(0, 200)}`,
    { details },
  );
}

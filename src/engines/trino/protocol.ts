/**
 * Shapes of Trino's documented client REST protocol, as far as we read them, and the headers of a statement.
 */

/** Where a Trino is, and who asks. */
export interface TrinoEndpoint {
  /** `http://host:port`, without a path. */
  readonly url: string;
  readonly user: string;
  readonly password?: string;
}

/** A type as the server spells it out beside its display name; arguments hold types, named types or numbers. */
export interface TypeSignature {
  rawType: string;
  arguments: { kind: string; value: unknown }[];
}

/** A column of a reply. `type` is the display name, for example `decimal(15,2)`. */
export interface ReplyColumn {
  name: string;
  type: string;
  typeSignature?: TypeSignature;
}

/** Counters of a running query as each reply carries them. */
export interface ReplyStats {
  state: string;
  progressPercentage?: number;
  elapsedTimeMillis: number;
  queuedTimeMillis: number;
  processedRows: number;
  peakMemoryBytes: number;
  spilledBytes: number;
  physicalWrittenBytes?: number;
}

/** Why a query failed, in the server's words. */
export interface ReplyError {
  message: string;
  errorCode: number;
  errorName: string;
  errorType: string;
  errorLocation?: { lineNumber: number; columnNumber: number };
}

/** One page of the protocol. The query is over when `nextUri` is absent, never before. */
export interface Reply {
  id: string;
  nextUri?: string;
  columns?: ReplyColumn[];
  data?: unknown[][];
  stats: ReplyStats;
  error?: ReplyError;
  updateType?: string;
  updateCount?: number;
}

/** What a statement is sent with. */
export interface StatementHeaders {
  /** Names the run, step and attempt: `spillway/<run>/<step>/<token>`; killers find the query by it. */
  source?: string;
  /** `heavy` puts the query into the group that runs one at a time. */
  tags?: readonly string[];
  session?: Readonly<Record<string, string>>;
  /** Name → statement, for EXECUTE and DESCRIBE OUTPUT. */
  prepared?: Readonly<Record<string, string>>;
}

/** Headers of POST /v1/statement. The other requests of a query need the user and the credentials only. */
export function statementHeaders(endpoint: TrinoEndpoint, options: StatementHeaders): Record<string, string> {
  const list = (values: Readonly<Record<string, string>>): string =>
    Object.entries(values)
      // A bare `,` or `=` in a value would end it, so values are url-encoded; the server decodes them.
      .map(([name, value]) => `${name}=${encodeURIComponent(value)}`)
      .join(',');
  return {
    ...userHeaders(endpoint),
    'Content-Type': 'text/plain; charset=utf-8',
    'X-Trino-Source': options.source ?? 'spillway',
    // Without it the server cuts every timestamp to milliseconds and says nothing.
    'X-Trino-Client-Capabilities': 'PARAMETRIC_DATETIME',
    ...(options.tags?.length ? { 'X-Trino-Client-Tags': options.tags.join(',') } : {}),
    ...(options.session && Object.keys(options.session).length ? { 'X-Trino-Session': list(options.session) } : {}),
    ...(options.prepared ? { 'X-Trino-Prepared-Statement': list(options.prepared) } : {}),
  };
}

/** Headers that say who asks. */
export function userHeaders(endpoint: TrinoEndpoint): Record<string, string> {
  const basic = (password: string): string => `Basic ${Buffer.from(`${endpoint.user}:${password}`).toString('base64')}`;
  return {
    'X-Trino-User': endpoint.user,
    ...(endpoint.password === undefined ? {} : { Authorization: basic(endpoint.password) }),
  };
}

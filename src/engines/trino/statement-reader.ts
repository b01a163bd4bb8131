import { SpillwayError } from '../../contracts/errors.ts';
import { cancelQuery } from './end-query.ts';
import { httpFailure, trinoFailure } from './errors.ts';
import { request } from './http-request.ts';
import type { HttpReply, RequestPatience } from './http-request.ts';
import { parseLossless } from './lossless-json.ts';
import { statementHeaders, userHeaders } from './protocol.ts';
import type { Reply, ReplyColumn, ReplyStats, StatementHeaders, TrinoEndpoint } from './protocol.ts';
import { rowDecoder } from './values.ts';
import type { TrinoValue } from './values.ts';

/** Counters of a query at one poll. */
export interface QueryProgress {
  queryId: string;
  /** As the server names it: QUEUED, PLANNING, RUNNING, FINISHING, FINISHED, FAILED, … */
  state: string;
  /** 0 to 100; absent until splits are known, and may move back while more are found. */
  progress?: number;
  peakMemoryBytes: number;
  spilledBytes: number;
  processedRows: number;
  elapsedMs: number;
}

/** What a statement gives while it runs. */
export type StatementEvent =
  | { kind: 'progress'; progress: QueryProgress }
  | { kind: 'columns'; columns: ReplyColumn[] }
  | { kind: 'rows'; rows: TrinoValue[][] };

/** What a statement leaves when it went well. */
export interface StatementEnd {
  queryId: string;
  columns: ReplyColumn[];
  rows: number;
  updateType?: string;
  /** Rows written by INSERT or CREATE TABLE AS. */
  updateCount?: number;
  /** Highest counters of all polls. */
  stats: QueryProgress;
}

export interface StatementOptions extends StatementHeaders, RequestPatience {
  /** Cancels the query, sees it gone, then raises the signal's reason. */
  signal?: AbortSignal | undefined;
  /** Called at every poll, about once a second. Errors it throws end the query. */
  onProgress?: ((progress: QueryProgress) => void) | undefined;
  /** While the consumer holds a page, the server is told this often that somebody is there. @defaultValue 10000 */
  keepAliveMs?: number;
}

/**
 * Runs a statement and gives its events as they come: progress at each poll, the columns once, pages of rows.
 *
 * Leaving the loop early, an error of the consumer, and an aborted signal all cancel the query and see it gone first.
 * Raises SqlError, EngineExhausted, EngineFailed, … by the table in error-table.ts, late errors as well as early ones, and
 * EngineUnreachable when the server does not answer.
 */
export async function* readStatement(
  endpoint: TrinoEndpoint,
  sql: string,
  options: StatementOptions = {},
): AsyncGenerator<StatementEvent, StatementEnd> {
  const headers = userHeaders(endpoint);
  const { signal } = options;
  let queryId: string | undefined;
  let nextUri: string | undefined;
  let over = false;
  let failure: unknown;
  let columns: ReplyColumn[] | undefined;
  let decode: ReturnType<typeof rowDecoder>;
  let rows = 0;
  let stats: QueryProgress | undefined;
  try {
    const url = `${endpoint.url}/v1/statement`;
    const post = { method: 'POST', url, body: sql, headers: statementHeaders(endpoint, options), signal } as const;
    let reply = parseReply(endpoint, await request(endpoint, post, options));
    for (;;) {
      queryId = reply.id;
      nextUri = reply.nextUri;
      stats = highest(stats, reply);
      if (reply.error) {
        over = true;
        const { peakMemoryBytes, spilledBytes } = stats;
        throw trinoFailure(reply.error, { queryId, peakMemoryBytes, spilledBytes });
      }
      options.onProgress?.(stats);
      yield { kind: 'progress', progress: stats };
      if (!columns && reply.columns) {
        columns = reply.columns;
        decode = rowDecoder(columns);
        yield { kind: 'columns', columns };
      }
      if (reply.data?.length) {
        rows += reply.data.length;
        const stillHere = keepAlive(endpoint, nextUri, options.keepAliveMs);
        try {
          yield { kind: 'rows', rows: decode ? decode(reply.data) : (reply.data as TrinoValue[][]) };
        } finally {
          clearInterval(stillHere);
        }
      }
      if (!nextUri) break;
      reply = parseReply(
        endpoint,
        await request(endpoint, { method: 'GET', url: nextUri, headers, signal }, options),
        queryId,
      );
    }
    over = true;
    return {
      queryId,
      columns: columns ?? [],
      rows,
      stats,
      ...(reply.updateType === undefined ? {} : { updateType: reply.updateType }),
      ...(reply.updateCount === undefined ? {} : { updateCount: Number(reply.updateCount) }),
    };
  } catch (error) {
    failure = error;
    // A server that cannot be reached cannot be told either; it drops the query after query.client.timeout.
    over ||= error instanceof SpillwayError && error.code === 'EngineUnreachable';
    throw error;
  } finally {
    if (!over && queryId !== undefined) await cancelAfter(failure, endpoint, { queryId, nextUri }, options);
  }
}

/** Runs a statement for its effect: rows are counted and let go. Same errors as {@link readStatement}. */
export async function runStatement(
  endpoint: TrinoEndpoint,
  sql: string,
  options: StatementOptions = {},
): Promise<StatementEnd> {
  const events = readStatement(endpoint, sql, options);
  for (;;) {
    const event = await events.next();
    if (event.done) return event.value;
  }
}

/** Runs a statement whose result is small and gives all its rows. Same errors as {@link readStatement}. */
export async function collectStatement(
  endpoint: TrinoEndpoint,
  sql: string,
  options: StatementOptions = {},
): Promise<StatementEnd & { values: TrinoValue[][] }> {
  const values: TrinoValue[][] = [];
  const events = readStatement(endpoint, sql, options);
  for (;;) {
    const event = await events.next();
    if (event.done) return { ...event.value, values };
    if (event.value.kind === 'rows') values.push(...event.value.rows);
  }
}

function parseReply(endpoint: TrinoEndpoint, reply: HttpReply, queryId?: string): Reply {
  if (reply.status !== 200) throw httpFailure(endpoint, reply, queryId);
  try {
    const parsed = parseLossless(reply.text) as Reply;
    if (typeof parsed.id === 'string' && typeof parsed.stats === 'object') return parsed;
  } catch {
    // Said below: an answer that is not JSON is as little of Trino's as one without an id.
  }
  throw httpFailure(endpoint, reply, queryId);
}

function highest(before: QueryProgress | undefined, reply: Reply): QueryProgress {
  const now: ReplyStats = reply.stats;
  return {
    queryId: reply.id,
    state: now.state,
    ...(now.progressPercentage === undefined ? {} : { progress: now.progressPercentage }),
    peakMemoryBytes: Math.max(before?.peakMemoryBytes ?? 0, Number(now.peakMemoryBytes)),
    spilledBytes: Math.max(before?.spilledBytes ?? 0, Number(now.spilledBytes)),
    processedRows: Math.max(before?.processedRows ?? 0, Number(now.processedRows)),
    elapsedMs: Math.max(before?.elapsedMs ?? 0, Number(now.elapsedTimeMillis)),
  };
}

/** HEAD on nextUri counts as a poll and fetches nothing. A failure is left to the next GET, which will meet it too. */
function keepAlive(endpoint: TrinoEndpoint, nextUri: string | undefined, everyMs = 10_000): NodeJS.Timeout | undefined {
  if (!nextUri) return undefined;
  const beat = (): void =>
    void fetch(nextUri, { method: 'HEAD', headers: userHeaders(endpoint) }).catch(() => undefined);
  return setInterval(beat, everyMs).unref();
}

async function cancelAfter(
  failure: unknown,
  endpoint: TrinoEndpoint,
  query: { queryId: string; nextUri: string | undefined },
  options: StatementOptions,
): Promise<void> {
  try {
    await cancelQuery(endpoint, query, options);
  } catch (error) {
    throw new SpillwayError(
      'EngineFailed',
      `Look at ${endpoint.url}/ui/query.html?${query.queryId}: the query was to be cancelled and could not be seen gone.`,
      { cause: new AggregateError([failure, error]), details: { queryId: query.queryId } },
    );
  }
}

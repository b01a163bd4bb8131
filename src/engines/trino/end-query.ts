import { SpillwayError } from '../../contracts/errors.ts';
import { pause, request } from './http-request.ts';
import type { RequestPatience } from './http-request.ts';
import { userHeaders } from './protocol.ts';
import type { TrinoEndpoint } from './protocol.ts';

const LOOK_AGAIN_MS = 100;

/** What is left of a query when it is over for good. */
export interface EndedQuery {
  /** `FINISHED`, `FAILED`, or `unknown` when the server has forgotten it. */
  state: string;
  errorName?: string;
  /** Rows its writers wrote; undefined when the server has forgotten it. */
  writtenRows?: number;
}

/**
 * Cancels a query and waits until it is over on every node: memory given back, writers closed.
 * Raises EngineFailed when it is still there after `withinMs`.
 */
export async function cancelQuery(
  endpoint: TrinoEndpoint,
  query: { queryId: string; nextUri?: string | undefined },
  options: RequestPatience & { withinMs?: number } = {},
): Promise<EndedQuery> {
  const headers = userHeaders(endpoint);
  if (query.nextUri) await request(endpoint, { method: 'DELETE', url: query.nextUri, headers }, options);
  // A query that was never polled has no state machine yet: only this request ends it.
  await request(endpoint, { method: 'DELETE', url: `${endpoint.url}/v1/query/${query.queryId}`, headers }, options);
  return queryGone(endpoint, query.queryId, options);
}

/**
 * Waits until a query is over on every node. FAILED comes first, while tasks still hold memory and files (0.4 s measured);
 * over is when the server calls its record of the query final.
 */
export async function queryGone(
  endpoint: TrinoEndpoint,
  queryId: string,
  options: RequestPatience & { withinMs?: number } = {},
): Promise<EndedQuery> {
  const { withinMs = 30_000 } = options;
  const deadline = Date.now() + withinMs;
  for (;;) {
    const url = `${endpoint.url}/v1/query/${queryId}?pruned=true`;
    const reply = await request(endpoint, { method: 'GET', url, headers: userHeaders(endpoint) }, options);
    if (reply.status === 404 || reply.status === 410) return { state: 'unknown' };
    const info = reply.status === 200 ? (JSON.parse(reply.text) as QueryInfo) : undefined;
    if (info?.finalQueryInfo) {
      return {
        state: info.state,
        ...(info.errorCode ? { errorName: info.errorCode.name } : {}),
        ...(info.queryStats?.writtenPositions === undefined ? {} : { writtenRows: info.queryStats.writtenPositions }),
      };
    }
    if (Date.now() > deadline) {
      throw new SpillwayError(
        'EngineFailed',
        `Look at ${endpoint.url}/ui/query.html?${queryId}: the query was cancelled but is ${info?.state ?? `answered with ${reply.status}`} after ${withinMs / 1000} s.`,
        { details: { queryId } },
      );
    }
    await pause(LOOK_AGAIN_MS);
  }
}

interface QueryInfo {
  state: string;
  finalQueryInfo?: boolean;
  errorCode?: { name: string };
  queryStats?: { writtenPositions?: number };
}

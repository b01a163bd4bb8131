import { BasicAuth, Trino as TrinoClient } from 'trino-client';
import type { QueryResult } from 'trino-client';
import { SpillwayError } from '../../contracts/errors.ts';
import type { Parameter } from '../../contracts/pipeline.ts';
import { isLoopback } from '../../policy/loopback.ts';
import { explainUnknownName } from './explain-unknown-name.ts';
import { httpFailure, relocate, trinoDetails, trinoFailure } from './errors.ts';
import { pause, request, unreachable } from './http-request.ts';
import type { RequestPatience } from './http-request.ts';
import { killQueries, queriesBySource } from './kill.ts';
import { bindParameters } from './parameters.ts';
import { userHeaders } from './protocol.ts';
import type { TrinoEndpoint } from './protocol.ts';
import { collectStatement } from './statement-reader.ts';
import type { OutputColumn, ReadyOptions, Trino } from './trino-port.ts';

export interface TrinoOptions extends RequestPatience {
  /** `http://host:port` or `https://host:port`. */
  url: string;
  user: string;
  /** Only over https, or to this machine. */
  password?: string;
}

/** Source of look-ups and kills; no run is called so, since sources of runs hold one more `/`. */
const CONTROL_SOURCE = 'spillway/control';

// `select 1` and system tables pass before the scheduler has seen its first node. A table function's splits are given
// out by that scheduler, on any Trino, whatever its catalogs.
const SCAN = 'SELECT count(*) FROM TABLE(sequence(start => 1, stop => 10))';

/** Describes a Trino to talk to. Nothing is sent yet. Raises InvalidInput for an url that is none, or would give the password away. */
export function openTrino(options: TrinoOptions): Trino {
  const endpoint = checkedEndpoint(options);
  const { requestTimeoutMs, unreachableMs, busyMs } = options;
  const patience: RequestPatience = {
    ...(requestTimeoutMs === undefined ? {} : { requestTimeoutMs }),
    ...(unreachableMs === undefined ? {} : { unreachableMs }),
    ...(busyMs === undefined ? {} : { busyMs }),
  };
  const trino: Trino = {
    endpoint,
    patience,
    version: () => version(endpoint, patience),
    ready: (given = {}) => ready(trino, given),
    short: (sql, { withinMs = 30_000 } = {}) => short(trino, sql, withinMs),
    queriesBySource: (prefix) => queriesBySource(trino, prefix),
    killBySource: async (prefix) => killQueries(trino, await queriesBySource(trino, prefix)),
    describeOutput: (sql, params) => describeOutput(trino, sql, params),
  };
  return trino;
}

function checkedEndpoint({ url, user, password }: TrinoOptions): TrinoEndpoint {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (!parsed || !/^https?:$/.test(parsed.protocol)) {
    throw new SpillwayError('InvalidInput', `Give Trino's url as http://host:port or https://host:port, got ${url}.`);
  }
  if (password !== undefined && parsed.protocol === 'http:' && !isLoopback(parsed.hostname)) {
    throw new SpillwayError(
      'InvalidInput',
      `Use https for Trino at ${parsed.host}: a password would cross the network in the clear.`,
    );
  }
  return { url: parsed.origin, user, ...(password === undefined ? {} : { password }) };
}

async function version(endpoint: TrinoEndpoint, patience: RequestPatience): Promise<string> {
  const url = `${endpoint.url}/v1/info`;
  const reply = await request(endpoint, { method: 'GET', url, headers: userHeaders(endpoint) }, patience);
  try {
    const info = JSON.parse(reply.text) as { nodeVersion?: { version?: string } };
    if (info.nodeVersion?.version) return info.nodeVersion.version;
  } catch {
    // Not JSON: said below.
  }
  throw new SpillwayError(
    'EngineFailed',
    `Check that ${endpoint.url} is a Trino: /v1/info answered ${reply.status} without a version.`,
  );
}

async function ready(trino: Trino, { withinMs = 60_000, starting = false, scan = SCAN }: ReadyOptions): Promise<void> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    try {
      await collectStatement(trino.endpoint, scan, { source: CONTROL_SOURCE, ...trino.patience });
      return;
    } catch (error) {
      const gone = error instanceof SpillwayError && error.code === 'EngineUnreachable' && !starting;
      if (gone || Date.now() > deadline || (error instanceof SpillwayError && error.retry === 'give-up')) throw error;
    }
    await pause(250);
  }
}

async function short(trino: Trino, sql: string, withinMs: number): Promise<unknown[][]> {
  const { endpoint } = trino;
  const client = TrinoClient.create({
    server: endpoint.url,
    source: CONTROL_SOURCE,
    // Without a password trino-client would still send credentials, which a server without authentication refuses.
    ...(endpoint.password === undefined ? {} : { auth: new BasicAuth(endpoint.user, endpoint.password) }),
    extraHeaders: { 'X-Trino-User': endpoint.user, 'X-Trino-Client-Capabilities': 'PARAMETRIC_DATETIME' },
  });
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    const error = new SpillwayError(
      'EngineUnreachable',
      `Look at ${endpoint.url}/ui: a look-up was not answered within ${withinMs / 1000} s.`,
    );
    timer = setTimeout(() => reject(error), withinMs);
  });
  try {
    return await Promise.race([readPatiently(trino, client, sql), late]);
  } finally {
    clearTimeout(timer);
  }
}

const BUSY = new Set([429, 502, 503, 504]);

/** trino-client gives up at the first lost connection and the first busy gateway; look-ups and kills may simply be sent again. */
async function readPatiently(trino: Trino, client: TrinoClient, sql: string): Promise<unknown[][]> {
  const { endpoint, patience } = trino;
  const deadline = Date.now() + (patience.unreachableMs ?? 4000);
  for (;;) {
    try {
      return await readPages(client, sql);
    } catch (error) {
      if (error instanceof SpillwayError) throw error;
      const reply = (error as { response?: { status: number; data: unknown } }).response;
      if (reply && !BUSY.has(reply.status))
        throw httpFailure(endpoint, { status: reply.status, text: String(reply.data) });
      if (Date.now() > deadline) throw unreachable(endpoint, error);
    }
    await pause(200);
  }
}

/** trino-client never throws for a failed query, and hands a first reply's error or rows over as its final value. */
async function readPages(client: TrinoClient, sql: string): Promise<unknown[][]> {
  const pages = await client.query(sql);
  const rows: unknown[][] = [];
  let last: QueryResult | undefined;
  for (;;) {
    const next = await pages.next();
    const page = next.value as QueryResult;
    if (page.error) throw trinoFailure(page.error, { queryId: page.id });
    if (page !== last && page.data) rows.push(...page.data);
    if (next.done) return rows;
    last = page;
  }
}

async function describeOutput(trino: Trino, sql: string, params?: readonly Parameter[]): Promise<OutputColumn[]> {
  const bound = bindParameters(sql, params);
  const prepared = { spillway: bound.sql };
  try {
    const { values } = await collectStatement(trino.endpoint, 'DESCRIBE OUTPUT spillway', {
      source: CONTROL_SOURCE,
      prepared,
      ...trino.patience,
    });
    return values.map((row) => ({ name: row[0] as string, type: row[4] as string }));
  } catch (error) {
    const position = trinoDetails(error)?.position;
    if (!(error instanceof SpillwayError)) throw error;
    throw relocate(error, position && bound.original(position), await explainUnknownName(trino, error));
  }
}

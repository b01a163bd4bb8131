import { setTimeout as sleep } from 'node:timers/promises';
import { SpillwayError } from '../../contracts/errors.ts';
import type { TrinoEndpoint } from './protocol.ts';

/** How long a request may take, and how long faults are borne. */
export interface RequestPatience {
  /** One request, in ms. The server answers a poll within about a second. @defaultValue 30000 */
  requestTimeoutMs?: number;
  /** From the first failed connection to giving up, in ms. @defaultValue 4000 */
  unreachableMs?: number;
  /** From the first 502, 503, 504 or 429 to giving up, in ms. @defaultValue 60000 */
  busyMs?: number;
}

export interface HttpRequest {
  method: 'GET' | 'POST' | 'DELETE' | 'HEAD';
  url: string;
  headers: Record<string, string>;
  body?: string;
  signal?: AbortSignal | undefined;
}

export interface HttpReply {
  status: number;
  text: string;
}

const BUSY = new Set([429, 502, 503, 504]);
const FIRST_WAIT_MS = 50;
const LONGEST_WAIT_MS = 1000;

/**
 * Sends a request until the server gives an answer of its own, and gives that back whatever its status.
 * Lost connections and busy gateways are tried again, the POST of a statement too: on 476 a query starts at the first GET
 * of its nextUri, so a POST whose reply was lost has started nothing.
 * Raises EngineUnreachable, naming the url and the mend, when patience ends; the signal's reason when it is aborted.
 */
export async function request(
  endpoint: TrinoEndpoint,
  ask: HttpRequest,
  patience: RequestPatience = {},
): Promise<HttpReply> {
  const { unreachableMs = 4000, busyMs = 60_000 } = patience;
  let lostSince: number | undefined;
  let busySince: number | undefined;
  for (let attempt = 0; ; attempt += 1) {
    const backoffMs = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** attempt);
    let waitMs = backoffMs;
    try {
      const reply = await once(ask, patience.requestTimeoutMs ?? 30_000);
      lostSince = undefined;
      if (!BUSY.has(reply.status)) return reply;
      waitMs = Math.max(backoffMs, reply.retryAfterMs);
      busySince ??= Date.now();
      if (Date.now() + waitMs - busySince > busyMs) throw busy(endpoint, reply.status, busyMs);
    } catch (error) {
      ask.signal?.throwIfAborted();
      if (error instanceof SpillwayError) throw error;
      lostSince ??= Date.now();
      if (Date.now() + waitMs - lostSince > unreachableMs) throw unreachable(endpoint, error);
    }
    await pause(waitMs, ask.signal);
  }
}

/** Waits, but no longer than the signal lets it; raises the signal's reason. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, signal ? { signal } : undefined);
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  }
}

async function once(ask: HttpRequest, timeoutMs: number): Promise<HttpReply & { retryAfterMs: number }> {
  ask.signal?.throwIfAborted();
  // Not AbortSignal.any: on Node 20 it keeps one entry per request on the long-lived signal.
  const controller = new AbortController();
  const abort = (): void => controller.abort(ask.signal?.reason);
  const timer = setTimeout(() => controller.abort(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  ask.signal?.addEventListener('abort', abort, { once: true });
  try {
    const { method, headers, body } = ask;
    const reply = await fetch(ask.url, {
      method,
      headers,
      signal: controller.signal,
      ...(body === undefined ? {} : { body }),
    });
    const text = await reply.text();
    // A gateway that lost its server may send 200 with nothing in it.
    if (reply.status === 200 && text === '' && method !== 'HEAD') throw new Error('the answer was empty');
    return { status: reply.status, text, retryAfterMs: retryAfterMs(reply.headers.get('retry-after')) };
  } finally {
    clearTimeout(timer);
    ask.signal?.removeEventListener('abort', abort);
  }
}

function retryAfterMs(header: string | null): number {
  if (!header) return 0;
  const seconds = Number(header);
  const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(header) - Date.now();
  return Number.isFinite(ms) && ms > 0 ? ms : 0;
}

/** The error for a Trino that cannot be reached. */
export function unreachable(endpoint: TrinoEndpoint, cause: unknown): SpillwayError {
  // fetch wraps what really happened once; trino-client does not.
  const outer = cause as { cause?: unknown; code?: string; message?: string };
  const inner = (outer.cause ?? outer) as { code?: string; message?: string };
  const why = inner.code ?? inner.message ?? 'for no stated reason';
  return new SpillwayError(
    'EngineUnreachable',
    `Start Trino at ${endpoint.url} or correct its url (\`spillway up\` starts one, \`spillway doctor\` checks): it cannot be reached (${why}).`,
    { cause },
  );
}

function busy(endpoint: TrinoEndpoint, status: number, busyMs: number): SpillwayError {
  return new SpillwayError(
    'EngineUnreachable',
    `Check the gateway or the load of Trino at ${endpoint.url}: it answered ${status} for ${Math.round(busyMs / 1000)} s.`,
  );
}

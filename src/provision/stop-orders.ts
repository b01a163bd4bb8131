import type { ServerName } from './places.ts';
import type { StopOrder } from './server-process.ts';

/** How each server is asked to end in good order, and how long it may take. */
export const STOP_ORDERS: Readonly<Record<ServerName, StopOrder>> = {
  temporal: { signal: 'SIGTERM', graceMs: 10_000 },
  trino: { signal: 'SIGTERM', graceMs: 20_000 },
  // Fast shutdown: sessions are ended, the database is left clean.
  postgres: { signal: 'SIGINT', graceMs: 20_000 },
};

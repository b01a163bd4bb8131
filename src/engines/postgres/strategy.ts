import type { LoadStrategy } from '../../contracts/pipeline.ts';
import { formatBytes, MiB } from '../../policy/sizes.ts';

/** What a server says of itself that bears on how to load. */
export interface ServerFacts {
  walLevel: string;
  version: number;
  /** Publications of all tables: a logged staging table would be sent to their subscribers. */
  publishesAll: readonly string[];
  /** Connections that it has left for accounts such as ours. */
  freeConnections: number;
}

export interface StrategyQuestion {
  asked: LoadStrategy;
  /** Connections that were asked for. */
  connections?: number | undefined;
  expectedRows: number | undefined;
  expectedBytes: number | undefined;
  server: ServerFacts;
}

export interface StrategyChoice {
  strategy: Exclude<LoadStrategy, 'auto'>;
  because: string;
}

/**
 * Decides how a table is loaded. `freeze` unless something speaks against it: it writes each row once, while UNLOGGED tables
 * are written a second time, row by row, when they become LOGGED.
 */
export function chooseStrategy({
  asked,
  connections = 1,
  expectedRows,
  expectedBytes,
  server,
}: StrategyQuestion): StrategyChoice {
  if (asked !== 'auto') return { strategy: asked, because: `strategy ${asked} was asked for` };
  if (server.walLevel === 'logical' && server.publishesAll.length > 0) {
    return {
      strategy: 'unlogged',
      because: `publication ${server.publishesAll.join(', ')} sends all tables to its subscribers, and they have no staging tables`,
    };
  }
  if (connections > 1)
    return { strategy: 'parallel', because: `${connections} connections were asked for: they cannot share one transaction, so the staging table is committed while they fill it` }; // prettier-ignore
  const size = [
    expectedRows === undefined ? undefined : `${expectedRows} rows`,
    expectedBytes === undefined ? undefined : formatBytes(expectedBytes),
  ].filter((part) => part !== undefined);
  return {
    strategy: 'freeze',
    because: `one transaction writes ${size.length > 0 ? size.join(', ') : 'the rows'} once and frozen; UNLOGGED would write them again at SET LOGGED (wal_level ${server.walLevel})`,
  };
}

/** Fewer are no more than one. */
const LEAST_CONNECTIONS = 2;
/** More share the lock under which a table grows: PostgreSQL 15 has two wait for each other a fifth of their time. */
const MOST_CONNECTIONS = 8;
/** A reader and an encoder for each connection. */
const CONNECTION_BYTES = 32 * MiB;

/** What bears on how many connections copy at one time. */
export interface ConnectionFacts {
  /** Cores of the server's machine, where it is ours. */
  cores?: number | undefined;
  /** Memory of the step. */
  leaseBytes?: number | undefined;
  freeConnections: number;
}

/**
 * Connections of `parallel` where none are asked for: one for every two cores, as each takes one of the server's and has rows encoded here; as many as
 * the step's memory holds; half of those that the server has left, for others load too. Two where nothing is known, eight at most.
 */
export function chooseConnections({ cores, leaseBytes, freeConnections }: ConnectionFacts): {
  connections: number;
  because: string;
} {
  const bounds = [
    { of: cores === undefined ? LEAST_CONNECTIONS : Math.floor(cores / 2), because: cores === undefined ? 'nothing is known of the cores of its machine' : `the server's machine has ${cores} cores` },
    { of: leaseBytes === undefined ? MOST_CONNECTIONS : Math.floor(leaseBytes / CONNECTION_BYTES), because: `the step has ${formatBytes(leaseBytes ?? 0)}` },
    { of: Math.floor(freeConnections / 2), because: `the server has ${freeConnections} connections left` },
    { of: MOST_CONNECTIONS, because: 'more wait for each other' },
  ]; // prettier-ignore
  const least = bounds.reduce((a, b) => (b.of < a.of ? b : a));
  return { connections: Math.max(LEAST_CONNECTIONS, least.of), because: least.because };
}

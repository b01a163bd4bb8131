import type { LoadStrategy } from '../../contracts/pipeline.ts';
import { formatBytes } from '../../policy/sizes.ts';

/** What a server says of itself that bears on how to load. */
export interface ServerFacts {
  walLevel: string;
  version: number;
  /** Publications of all tables: a logged staging table would be sent to their subscribers. */
  publishesAll: readonly string[];
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

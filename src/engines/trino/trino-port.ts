import type { Parameter } from '../../contracts/pipeline.ts';
import type { RequestPatience } from './http-request.ts';
import type { TrinoEndpoint } from './protocol.ts';

/** A query that waits or runs. */
export interface RunningQuery {
  queryId: string;
  source: string;
  /** As the server names it: QUEUED, RUNNING, FINISHING, … */
  state: string;
}

/** A column of a statement's result. */
export interface OutputColumn {
  name: string;
  /** Display name of the type, for example `timestamp(3) with time zone`. */
  type: string;
}

/** A Trino, as the rest of Spillway sees it. Holds no connection; there is nothing to close. */
export interface Trino {
  readonly endpoint: TrinoEndpoint;
  readonly patience: RequestPatience;
  /** Version of the server, for example `476`. */
  version(): Promise<string>;
  /**
   * Waits until Trino can scan, which comes up to 5 s after it answers `select 1`. Nodes are known catalog by catalog: give
   * a `scan` of the catalog that is wanted (@defaultValue a table function, which every Trino has).
   * Raises EngineUnreachable after `withinMs` (@defaultValue 60000), and at once when nothing listens and `starting` is not set.
   */
  ready(options?: ReadyOptions): Promise<void>;
  /**
   * Rows of a short look-up, through trino-client. Numbers past 2^53 are rounded there: cast them to varchar.
   * Raises what {@link trinoFailure} makes of a failed query, and EngineUnreachable after `withinMs` (@defaultValue 30000).
   */
  short(sql: string, options?: { withinMs?: number }): Promise<unknown[][]>;
  /** Queries that wait or run and whose source begins with the prefix. */
  queriesBySource(prefix: string): Promise<RunningQuery[]>;
  /** Kills those queries, waits until each is over on every node, and says how many there were. */
  killBySource(prefix: string): Promise<number>;
  /**
   * Names and types of a statement's columns; the statement does not run. Empty when it gives no rows, as DDL does.
   * Raises SqlError with the position in the statement as written, and the nearest names of an unknown table.
   */
  describeOutput(sql: string, params?: readonly Parameter[]): Promise<OutputColumn[]>;
}

/** What {@link Trino.ready} waits for, and how long. */
export interface ReadyOptions {
  withinMs?: number;
  /** Nothing listening yet is no reason to give up. */
  starting?: boolean;
  /** Statement that has to go through. */
  scan?: string;
}

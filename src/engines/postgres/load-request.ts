import type { IndexSpec, LoadEvolution, LoadStrategy, LoadWrite, PartitionBound } from '../../contracts/pipeline.ts';
import type { ArrowSource } from './arrow-source.ts';
import type { EncodeOptions } from './kernels/choose.ts';
import type { LoadPhase } from './load-plan.ts';

/** What a load is at. */
export interface LoadProgress {
  phase: LoadPhase;
  rows: number;
  bytes: number;
}

/** One attempt of a load. */
export interface LoadRequest {
  /** `originalExecutionRunId`: the same across resets. */
  run: string;
  step: string;
  /** Of this attempt; a higher one takes the load over, a lower one is refused. */
  token: number;
  /** `schema.table`. */
  into: string;
  key?: readonly string[];
  /** @defaultValue 'replace' */
  write?: LoadWrite;
  /** @defaultValue 'auto' */
  strategy?: LoadStrategy;
  indexes?: readonly IndexSpec[];
  /** Of `replace`: the rows are this partition of `into`. @defaultValue the whole table */
  partition?: PartitionBound;
  /** What may change in the table that is there. @defaultValue nothing */
  evolve?: readonly LoadEvolution[];
  /** For `unlogged`. @defaultValue 'after-logged' */
  indexOrder?: 'before-logged' | 'after-logged';
  /** Connections that copy at one time, 1 to 16; more than one for `unlogged` and `parallel`. @defaultValue by chooseConnections for `parallel`, else 1 */
  connections?: number;
  /** Cores of the server's machine, where they are known. */
  serverCores?: number;
  /** Memory that the load may take here. */
  leaseBytes?: number;
  /** Opens the rows. Called once, and only when there is something to load; the source is closed in any case. */
  source(signal: AbortSignal): Promise<ArrowSource>;
  /** Column name → the producer's own type where the carrier lost it (`uuid`, `json`, `timestamp with time zone`). */
  logicalTypes?: Readonly<Record<string, string>>;
  /** Rows the source must have; absent where its writer does not know yet. */
  expectedRows?: number;
  /** Only explains the choice of the strategy. */
  expectedBytes?: number;
  encode?: EncodeOptions;
  /** Whether another attempt follows when this one fails: chunks that are in the staging table then stay for it. @defaultValue false */
  triedAgain?: boolean;
  signal: AbortSignal;
  /** Called at each change of phase, while rows go out, and every second in between: SET LOGGED shows no progress of its own. */
  onProgress?(progress: LoadProgress): void;
  /** @defaultValue see each */
  limits?: {
    /** Longest wait for another load into the same table. @defaultValue 60 s */
    targetWaitMs?: number;
    /** Longest wait for readers of the old table. @defaultValue 2 minutes */
    swapWaitMs?: number;
    /** Longest time the server may take no data. @defaultValue 60 s */
    stallMs?: number;
    /** Time between looks after a statement that is not answered. @defaultValue 10 s */
    watchMs?: number;
    /** Arrow bytes of a chunk of `parallel`. @defaultValue a sixteenth of the dataset, from 16 to 64 MiB */
    chunkBytes?: number;
    /** Longest time to reach the server again for cleaning up. @defaultValue 15 s */
    cleanUpMs?: number;
  };
}

/** What a load came to. */
export interface LoadOutcome {
  /** `schema.table`. */
  table: string;
  rows: number;
  /** Bytes of the binary COPY. */
  bytes: number;
  strategy: string;
  because: string;
  /** What the replaced table had and the new one lacks. */
  warnings: string[];
  /** Loaded by an earlier attempt; this one did nothing. */
  alreadyPublished: boolean;
}

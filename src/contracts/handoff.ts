import type { ProcessId } from './pool.ts';

export const HandoffMode = {
  FUSED: 'fused',
  MEMORY: 'memory',
  SHM: 'shm',
  ARROW: 'arrow',
  PARQUET: 'parquet',
  /** Files that were there before, in a form that no step writes. */
  CSV: 'csv',
} as const;
export type HandoffMode = (typeof HandoffMode)[keyof typeof HandoffMode];

/** A decision about a handoff, with its reason. */
export interface HandoffChoice {
  mode: HandoffMode;
  because: string;
  /** Arrow bytes, in memory and on disk, after which rows go to Parquet while they are written; absent where they do not. */
  parquetPastBytes?: number;
}

/** How the rows of a step are found again instead of being computed. */
export interface CheckpointChoice {
  /** SHA-256, in hex, of what decides the rows: the step, what it reads, the version its author gave. */
  fingerprint: string;
  /** `run`: by this run only, also after a reset; `any-run`: by whoever has the same fingerprint. */
  reuse: 'run' | 'any-run';
  /** Stays when the run succeeds. */
  keep: boolean;
}

/** How files of comma-separated values are read. */
export interface CsvFormat {
  /** The first line of each file has the names of the columns. @defaultValue true */
  header?: boolean;
  /** One character. @defaultValue ',' */
  delimiter?: string;
  /** `infer`: types of the first 10,000 lines; `text`: every column is a text, for statements that cast. @defaultValue 'infer' */
  types?: 'infer' | 'text';
}

/** One file of a handoff. `uri` is `file:///…` on the host that wrote it. */
export interface HandoffPart {
  kind: 'arrow' | 'parquet' | 'csv';
  uri: string;
  /** 0 for CSV, whose rows nobody has counted. */
  rows: number;
  /** Of the file, as it lies on disk or in memory. */
  bytes: number;
  /** It lies on tmpfs: its bytes are memory, held by a data lease until the file is gone. */
  inMemory?: true;
}

/** A column as its producer named and typed it; a carrier may have lost `logicalType`, readers restore it. */
export interface HandoffColumn {
  name: string;
  /** Arrow type as `arrow.DataType#toString` prints it. */
  type: string;
  nullable: boolean;
  /** The producer's own type where the carrier cannot hold it, for example `uuid` or `timestamp(9) with time zone`. */
  logicalType?: string;
}

/** Address of a computed dataset. Never carries rows. */
export interface HandoffRef {
  mode: HandoffMode;
  because: string;
  parts: HandoffPart[];
  schema: HandoffColumn[];
  rows: number;
  bytes: number;
  host: string;
  process?: ProcessId;
  dataId?: string;
  /** Of parts that are CSV. */
  csv?: CsvFormat;
  /** Of query, parameters and inputs, as they were read. Checkpoints are found by that of their plan, {@link CheckpointChoice}. */
  fingerprint: string;
}

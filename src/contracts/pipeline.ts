import type { CsvFormat } from './handoff.ts';
import type { Weight } from './pool.ts';

/** A bound value of a statement. `bigint` travels as a string with a `::bigint` cast in the statement. */
export type Parameter = string | number | boolean | null;

export const Profile = { S: 'S', M: 'M', L: 'L', WHOLE: 'whole' } as const;
export type Profile = (typeof Profile)[keyof typeof Profile];

/** Options that every step takes. Defaults stand in docs/configuration.md. */
export interface StepOptions {
  /** Queue of the step. @defaultValue by verb: heavy for trino.query and datafusion.sql, light for transform and postgres.load */
  weight?: Weight;
  /** Rung the lease starts at. @defaultValue what earlier runs of the step needed; 'S' before the first */
  profile?: Profile;
  /** Bytes of the lease instead of a rung, for example `6 GiB` or a number of bytes. Not together with `profile`. */
  memory?: string | number;
  /** Scratch bytes lent with the memory. @defaultValue the configuration's `stepScratch` */
  scratch?: string | number;
  /** Longest time one attempt may take, as `2 hours` or milliseconds. @defaultValue '2 hours' */
  startToClose?: string | number;
  /** Attempts after failures that may pass. @defaultValue 4 attempts, first after 1 s, doubling */
  retry?: {
    /** At least 1. @defaultValue 4 */
    maximumAttempts?: number;
    /** Before the second attempt; doubles from there. @defaultValue '1s' */
    initialInterval?: string | number;
  };
  /** 1 (first) to 5 (last). @defaultValue 3 */
  priority?: number;
}

/**
 * That rows are found again instead of being computed: after a reset of the run, or by any run that has the same statement, parameters, inputs and
 * version. What a query reads elsewhere may have changed meanwhile; for other runs `version` says when it has, for example the day.
 */
export type Checkpoint = boolean | RunCheckpoint | SharedCheckpoint;
/** Found by the run that made it. Goes when that run succeeds. */
export interface RunCheckpoint {
  /** @defaultValue 'run' */
  reuse?: 'run';
  /** Rows of another version are computed anew. */
  version?: string;
  /** Stays when the run succeeds, until it was not used for `checkpoints.ttl`. @defaultValue false */
  keep?: boolean;
}
/** Found by every run. Stays until it was not used for `checkpoints.ttl`. */
export interface SharedCheckpoint {
  reuse: 'any-run';
  /** Rows of another version are computed anew. */
  version: string;
}

/** Options of steps that give rows. */
export interface RowsOptions extends StepOptions {
  /** The rows are kept on scratch, to be found again. @defaultValue false */
  checkpoint?: Checkpoint;
}

/** Rows of a Trino query. */
export interface TrinoQueryStep extends RowsOptions {
  step: string;
  verb: 'trino.query';
  /** One statement that gives rows, in Trino's SQL. */
  sql: string;
  /** Values for the `?` of the statement, in order. */
  params?: Parameter[];
  /** Name of a configured Trino. @defaultValue 'default' */
  connection?: string;
}

/** Rows of a DataFusion query over other datasets. */
export interface DatafusionSqlStep extends RowsOptions {
  step: string;
  verb: 'datafusion.sql';
  /** Table name in the statement → name of the step that makes its rows. */
  from: Record<string, string>;
  /** One statement that gives rows, in DataFusion's SQL. */
  sql: string;
  /** Runs in a container of its own, and so do those it reads and that read it: nothing is fused with it. @defaultValue false */
  isolate?: boolean;
}

/** Rows that a registered TypeScript function makes of another dataset's, batch by batch. */
export interface TransformStep extends RowsOptions {
  step: string;
  verb: 'transform';
  /** Name of the step that makes the rows. */
  from: string;
  /** Name of the transform in the module that `transforms` of the configuration names. */
  run: string;
  /** Values for the transform; JSON. */
  args?: Record<string, unknown>;
}

/** Files that one step reads at most: each is named in its run's history, which more would make too long to be kept. */
export const MOST_FILES = 5_000;

/** Rows of files that are there already: read where they lie, or downloaded from a web server. */
export interface FilesStep extends StepOptions {
  step: string;
  verb: 'files';
  /** Name of a configured directory. @defaultValue 'default' */
  directory?: string;
  /** Paths below it; `*` stands for a part of a name, `**` for folders, `{a,b}` for one of several. Of a web server each file has to be named. */
  path: string | string[];
  /** @defaultValue what the paths end with: `.parquet`, `.arrow`, `.csv` */
  format?: 'parquet' | 'arrow' | 'csv';
  /** How CSV is read: `{ header, delimiter, types }`. Only `datafusion.sql` reads it. */
  csv?: CsvFormat;
}

/** Writes a dataset as files into a folder, which is there as a whole or not at all. */
export interface WriteStep extends StepOptions {
  step: string;
  verb: 'write.parquet' | 'write.arrow';
  /** Name of the step that makes the rows. */
  from: string;
  /** Name of a configured directory that may be written to. @defaultValue 'default' */
  directory?: string;
  /** Folder below it that gets the files. One that is there is replaced, when it was written by this verb. */
  path: string;
}

export const LoadStrategy = { AUTO: 'auto', FREEZE: 'freeze', UNLOGGED: 'unlogged', PARALLEL: 'parallel' } as const;
export type LoadStrategy = (typeof LoadStrategy)[keyof typeof LoadStrategy];

/** `replace` swaps the whole table; `append` adds rows; `merge` updates rows whose key is there and adds the others. */
export const LoadWrite = { REPLACE: 'replace', APPEND: 'append', MERGE: 'merge' } as const;
export type LoadWrite = (typeof LoadWrite)[keyof typeof LoadWrite];

/** `add` adds columns that a table lacks; `widen` gives its columns types that hold more. */
export const LoadEvolution = { ADD: 'add', WIDEN: 'widen' } as const;
export type LoadEvolution = (typeof LoadEvolution)[keyof typeof LoadEvolution];

/** A value that a partition is bounded by; the server reads it as its column's type. */
export type PartitionValue = string | number | boolean | null;
/** Bounds of a partition: values of a list, or a range whose end does not belong to it; a list of values where several columns partition. */
export type PartitionBound =
  { in: PartitionValue[] } | { from: PartitionValue | PartitionValue[]; to: PartitionValue | PartitionValue[] };

/** An index built before the table is published. */
export interface IndexSpec {
  columns: string[];
  unique?: boolean;
}

/** Loads a dataset into a PostgreSQL table, exactly once. */
export interface PostgresLoadStep extends StepOptions {
  step: string;
  verb: 'postgres.load';
  /** Name of the step that makes the rows. */
  from: string;
  /** `schema.table` of the target. */
  into: string;
  /** Columns of the primary key; of a table that rows are added to, columns of a unique index of it. */
  key?: string[];
  /** `replace` swaps the whole table; `append` adds the rows to it; `merge` updates rows whose `key` is there and adds the others. Each in one transaction. @defaultValue 'replace' */
  write?: LoadWrite;
  /** Of `replace`: the rows are one partition of `into`, which is a partitioned table: `{ in: [values] }`, or `{ from, to }`. The one that has these bounds is replaced, the others stay, and so do views and grants. @defaultValue the whole table */
  partition?: PartitionBound;
  /** What may change in the table that is there, in the transaction that publishes: `add` adds columns that it lacks, `widen` gives a column a type that holds more, as bigint for integer, or text for varchar(40). `replace` makes new columns anyway. @defaultValue nothing */
  evolve?: LoadEvolution[];
  /** Of `replace`: `freeze` writes each row once, in one transaction; `parallel` copies over several connections; `unlogged` keeps a staging table out of WAL and publications until it is done. @defaultValue auto: freeze, `parallel` where several connections are asked for, `unlogged` where a publication sends all tables */
  strategy?: LoadStrategy;
  /** Of `parallel` and `unlogged`: connections that copy at one time, up to 16. Rows are then in another order in the table. @defaultValue for `parallel` one for every two cores of a server on this host, 2 to 8, else 2; for `unlogged` 1 */
  connections?: number;
  /** Indexes built before the table is published: `{ columns, unique }`. */
  indexes?: IndexSpec[];
  /** For `unlogged`: build indexes before or after SET LOGGED. @defaultValue 'after-logged' */
  indexOrder?: 'before-logged' | 'after-logged';
  /** Name of a configured PostgreSQL. @defaultValue 'default' */
  connection?: string;
}

/** Runs one statement in PostgreSQL, exactly once, in a transaction of its own. */
export interface PostgresSqlStep extends StepOptions {
  step: string;
  verb: 'postgres.sql';
  /** One statement: INSERT … SELECT, REFRESH MATERIALIZED VIEW, CREATE TABLE … AS, a DO block. What cannot run in a transaction, as VACUUM, is refused. */
  sql: string;
  /** Values for `$1`, `$2`, … in order; not with `into`. */
  params?: Parameter[];
  /** `schema.table`: the statement is a SELECT whose rows replace this table, as a load does: aside, indexed, swapped in. @defaultValue none: the statement does what it does */
  into?: string;
  /** Of `into`: columns of its primary key. */
  key?: string[];
  /** Of `into`: indexes built before it is published. */
  indexes?: IndexSpec[];
  /** Names of sinks that have to be done before. In TypeScript await them. @defaultValue none */
  after?: string[];
  /** Name of a configured PostgreSQL. @defaultValue 'default' */
  connection?: string;
}

export type StepSpec =
  TrinoQueryStep | DatafusionSqlStep | TransformStep | FilesStep | PostgresLoadStep | PostgresSqlStep | WriteStep;
export type Verb = StepSpec['verb'];

/** A pipeline as data: what `eltPipeline` takes, and what verbs called in a TypeScript workflow build up. */
export interface PipelineSpec {
  name: string;
  steps: StepSpec[];
}

/** What a finished sink returns. */
export interface SinkResult {
  step: string;
  rows: number;
  bytes: number;
  mode: string;
  because: string;
  /** Set by postgres.load. */
  table?: string;
  /** Set by write.parquet and write.arrow: the folder. */
  path?: string;
}

/** What each step was lent and used; part of a run's result and of its details in the UI. */
export interface StepReport {
  step: string;
  verb: Verb;
  queue: string;
  leaseBytes: number;
  /** Rung that fitted, `allowance` for steps paid from the light allowance, `checkpoint` for rows that were found again, `with x` for those that the container of x computed. */
  rung: string;
  peakBytes: number;
  mode: string;
  because: string;
  /** 0 for CSV files; see `countedRows`. */
  rows: number;
  seconds: number;
  attempts: number;
}

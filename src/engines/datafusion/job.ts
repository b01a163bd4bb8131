import type { CsvFormat, HandoffColumn, HandoffPart, HandoffRef } from '../../contracts/handoff.ts';

import type { FusedQuery } from '../../contracts/plan.ts';

/** Version of what this folder and the runner in the image say to each other. */
export const PROTOCOL = 2;

/** One job of the runner in the image; see containers/datafusion/README.md. Paths are those that the job sees. */
export interface DatafusionJob {
  protocol: typeof PROTOCOL;
  sql: string;
  /** Instead of `sql`: a statement over others. Tables are named `<step>.<table>` then. */
  query?: FusedQuery;
  tables: JobTable[];
  engine: JobEngine;
  /** Directory for links to the parts. */
  linkDir: string;
  output: JobOutput;
  /** Statements that are computed beside it, and where their rows go. What several of them read is computed once. */
  further?: { step: string; query: FusedQuery; output: JobOutput }[];
  /** @defaultValue 1000 */
  progressMs?: number;
  /** How long the engine may use no processor, while nobody waits for its rows to be taken, before the job fails. @defaultValue 120000 */
  stallMs?: number;
}

export interface JobTable {
  name: string;
  parts: { kind: HandoffPart['kind']; path: string }[];
  /** Needed where there are no parts: an empty table has types all the same. */
  columns: HandoffColumn[];
  /** Of parts that are CSV. */
  csv?: CsvFormat;
}

export interface JobEngine {
  partitions: number;
  poolBytes: number;
  spillDir: string;
  /** Limit of spill files, and of spill and output together where the output lies on scratch. */
  scratchBytes: number;
  /** Hash joins are faster and cannot spill: off after the engine ran out once. */
  hashJoin: boolean;
  /** @defaultValue 8192 */
  batchRows?: number;
  /** Rows that may wait to be written, in bytes. @defaultValue 8 MiB */
  aheadBytes?: number;
}

/** Files are named `<name>-00000.<kind>` and on; `rowGroupBytes` are decoded ones. */
export type JobOutput =
  | ({ kind: 'arrow'; dir: string; name: string; onScratch: boolean; rowGroupBytes: number } & ArrowPlaces)
  | { kind: 'parquet'; dir: string; name: string; onScratch: boolean; rowGroupBytes: number }
  | { kind: 'fifo'; path: string };

/** Where rows go that begin as Arrow. */
export interface ArrowPlaces {
  /** A directory on tmpfs that gets them first, as far as `bytes` reach. */
  memory?: { dir: string; bytes: number };
  /** Bytes of Arrow after which they go to Parquet. @defaultValue never */
  parquetPastBytes?: number;
}

/** Once a second. Sums over all operators; `rows` and `bytes` are what was handed over so far. */
export interface JobProgress {
  ev: 'progress';
  seconds: number;
  rows: number;
  bytes: number;
  rss_anon: number;
  scratch_bytes: number;
  spill_count: number;
  spilled_bytes: number;
  output_rows: number;
  scanned_bytes: number;
}

/** Rows that were handed over. `bytes` are those of the rows in memory, a part's `bytes` those of its file. */
export interface JobRows {
  rows: number;
  bytes: number;
  parts: { kind: HandoffPart['kind']; file: string; rows: number; bytes: number; inMemory?: true }[];
  schema: HandoffColumn[];
}

/** Last word of a job that went well. */
export interface JobDone extends JobRows {
  ev: 'done';
  /** In the order of the job. */
  further?: (JobRows & { step: string })[];
  spill_count: number;
  spilled_bytes: number;
  output_rows: number;
  scanned_bytes: number;
  peak_rss_anon: number;
  scratch_peak: number;
  /** The engine's pool in the attempt that ended well; absent in images of an older release. */
  pool_bytes?: number;
  seconds: number;
}

/** Last word of a job that failed. */
export interface JobError {
  ev: 'error';
  cls: 'pool' | 'disk' | 'sql' | 'io' | 'engine';
  message: string;
  /** For `pool`: the allocation that failed, and who held the most. */
  failed?: string;
  consumers?: string[];
}

/** A directory of the host and its name in the container. */
export interface InputMount {
  source: string;
  target: string;
}

/**
 * Tables of a job and the directories they are read from: each directory is seen once, read-only, whatever tables lie in it. Pure.
 * @param mounts false where the job sees the host's own paths
 */
export function planInputs(
  inputs: Record<string, HandoffRef>,
  mounts = true,
): { tables: JobTable[]; mounts: InputMount[] } {
  const targets = new Map<string, string>();
  const tables = Object.entries(inputs).map(([name, ref]) => ({
    name,
    columns: ref.schema,
    ...(ref.csv && { csv: ref.csv }),
    parts: ref.parts.map(({ kind, uri }) => {
      const path = decodeURIComponent(new URL(uri).pathname);
      if (!mounts) return { kind, path };
      const cut = path.lastIndexOf('/');
      const folder = path.slice(0, cut) || '/';
      if (!targets.has(folder)) targets.set(folder, `/in/${targets.size}`);
      return { kind, path: `${targets.get(folder)!}/${path.slice(cut + 1)}` };
    }),
  }));
  return { tables, mounts: [...targets].map(([source, target]) => ({ source, target })) };
}

import type { HandoffColumn } from '../../contracts/handoff.ts';
import type { TransformArgs } from './define-transforms.ts';

/** What a transform process is told, as its first message. */
export type TransformOrder =
  | ({ kind: 'list' } & TransformModule)
  | ({
      kind: 'run';
      transform: string;
      args: TransformArgs;
      run: string;
      step: string;
      /** Arrow IPC files in order, or a FIFO with an Arrow IPC stream. */
      input: { files: string[] } | { fifo: string };
      /** Files that get the rows, whole or not at all. */
      writeTo: Places;
      batchRows: number;
      /** Memory of the process: past four fifths garbage is collected, past all of it the transform ends. */
      limitBytes: number;
      scratchBytes: number;
    } & TransformModule);

/** Where the transforms are. */
export interface TransformModule {
  module: string;
  /** Folder that keeps what it compiles to, named by content; made when missing. Without one it is compiled each time, which takes a quarter of a second. */
  compiledIn?: string;
}

/** Where a transform writes. */
export interface Places {
  /** Arrow file on disk. */
  disk: string;
  /** Arrow file on tmpfs, which gets the rows first, as far as `bytes` reach. */
  memory?: { path: string; bytes: number };
  /** Parquet file on disk, which gets what is past so many bytes of Arrow. */
  parquet?: { path: string; pastBytes: number };
}

/** How a transform ended that did not go well. */
export type TransformTrouble =
  /** The module does not load, or has no such transform. */
  | 'module'
  /** The transform threw. */
  | 'threw'
  /** What it yielded cannot be written. */
  | 'output'
  | 'memory'
  | 'disk'
  /** Its input broke off. */
  | 'input';

/** A file that a transform made. */
export interface WrittenPart {
  kind: 'arrow' | 'parquet';
  path: string;
  rows: number;
  bytes: number;
  inMemory: boolean;
}

/** What a transform process says. */
export type TransformEvent =
  | { ev: 'ready' }
  | { ev: 'transforms'; names: string[] }
  | { ev: 'progress'; rowsIn: number; rows: number; bytes: number }
  /** `readAll`: its input had no more rows when it ended. */
  | {
      ev: 'done';
      rowsIn: number;
      readAll: boolean;
      rows: number;
      bytes: number;
      schema: HandoffColumn[];
      parts: WrittenPart[];
      /** Columns for whose type Parquet has no place, where rows were to go there. */
      unfit: string[];
    }
  | { ev: 'error'; trouble: TransformTrouble; message: string; stack?: string };

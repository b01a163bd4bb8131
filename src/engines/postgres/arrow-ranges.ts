import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { HandoffPart } from '../../contracts/handoff.ts';
import { openFileBytes, type ByteSource } from './ipc-bytes.ts';
import { isIpcFile, openIpc, readAhead, type ColumnBatch, type IpcFileReader } from './ipc-reader.ts';

/** Some batches of one file, one after the other. */
export interface RowRange {
  readonly part: number;
  readonly firstBatch: number;
  readonly batches: number;
  readonly rows: number;
  /** Rows of the dataset before it. */
  readonly firstRow: number;
}

/** Reads ranges one after the other, in any order; each batch is valid until the next is asked for. */
export interface RangeReader {
  read(range: RowRange): AsyncIterable<ColumnBatch>;
  close(): Promise<void>;
}

/** A dataset cut into ranges: the same ones each time the same files are cut alike. */
export interface RowRanges {
  /** Says which files, as they are now, were cut how: equal for two cuts whose ranges hold the same rows. */
  readonly identity: string;
  readonly ranges: readonly RowRange[];
  /** Opens a reader of its own; several may read at one time. */
  open(): RangeReader;
}

interface OpenPart {
  index: number;
  bytes: ByteSource;
  reader: IpcFileReader;
}

async function openPart(parts: readonly HandoffPart[], index: number): Promise<OpenPart | undefined> {
  const bytes = await openFileBytes(fileURLToPath(parts[index]!.uri));
  try {
    const reader = await openIpc(bytes);
    if (isIpcFile(reader)) return { index, bytes, reader };
  } catch (error) {
    await bytes.close();
    throw error;
  }
  await bytes.close();
  return undefined;
}

/**
 * Cuts Arrow files into ranges of about `rangeBytes`, never across files. Undefined where a part is a stream, which can only be read from its start.
 * @throws SpillwayError `HandoffLost` for a file that is gone or cut off
 */
export async function rowRanges(parts: readonly HandoffPart[], rangeBytes: number): Promise<RowRanges | undefined> {
  const ranges: RowRange[] = [];
  const hash = createHash('sha256').update(String(rangeBytes));
  let rows = 0;
  for (const [index, { uri }] of parts.entries()) {
    const { size, mtimeMs } = await stat(fileURLToPath(uri));
    hash.update(`\n${uri} ${size} ${mtimeMs}`);
    const part = await openPart(parts, index);
    if (!part) return undefined;
    try {
      for (const range of await rangesOf(part, rangeBytes, rows)) {
        ranges.push(range);
        rows += range.rows;
      }
    } finally {
      await part.bytes.close();
    }
  }
  return { identity: hash.digest('hex'), ranges, open: () => rangeReader(parts) };
}

async function rangesOf({ index, reader }: OpenPart, rangeBytes: number, rowsBefore: number): Promise<RowRange[]> {
  const ranges: RowRange[] = [];
  let [firstBatch, bytes, rows, firstRow] = [0, 0, 0, rowsBefore];
  for (const [batch, size] of reader.batchBytes.entries()) {
    bytes += size;
    rows += await reader.rowsOf(batch);
    if (bytes < rangeBytes && batch + 1 < reader.batchBytes.length) continue;
    ranges.push({ part: index, firstBatch, batches: batch + 1 - firstBatch, rows, firstRow });
    [firstBatch, bytes, rows, firstRow] = [batch + 1, 0, 0, firstRow + rows];
  }
  return ranges;
}

function rangeReader(parts: readonly HandoffPart[]): RangeReader {
  let open: OpenPart | undefined;
  return {
    async *read({ part, firstBatch, batches }) {
      if (open?.index !== part) {
        await open?.bytes.close();
        open = await openPart(parts, part);
      }
      const { reader } = open!; // it was a file when it was cut
      reader.seek(firstBatch);
      yield* readAhead(reader, batches);
    },
    close: async () => void (await open?.bytes.close()),
  };
}

import { open } from 'node:fs/promises';
// Internals of the pinned release: its reader would read every batch.
import { Footer } from 'apache-arrow/ipc/metadata/file';
import { Message, type RecordBatch } from 'apache-arrow/ipc/metadata/message';
import { SpillwayError } from '../contracts/errors.ts';

const MAGIC = 'ARROW1';

/** Counts the rows of an Arrow IPC file from the heads of its batches. Raises HandoffLost for a file that is no whole one. */
export async function readArrowRows(path: string): Promise<number> {
  const file = await open(path, 'r');
  const at = async (position: number, length: number): Promise<Uint8Array> => {
    const bytes = new Uint8Array(length);
    const { bytesRead } = await file.read(bytes, 0, length, position);
    if (bytesRead < length) throw broken(path, 'it is cut off');
    return bytes;
  };
  try {
    const { size } = await file.stat();
    const tail = Buffer.from(await at(Math.max(0, size - 10), Math.min(10, size)));
    if (tail.length < 10 || tail.toString('latin1', 4) !== MAGIC) throw broken(path, 'it does not end like one');
    const length = tail.readInt32LE(0);
    if (length <= 0 || length > size - 18) throw broken(path, 'its footer is cut off');
    const footer = Footer.decode(await at(size - 10 - length, length));
    let rows = 0;
    for (const { offset, metaDataLength } of footer.recordBatches())
      rows += (Message.decode((await at(offset, metaDataLength)).subarray(8)).header() as RecordBatch).length;
    return rows;
  } finally {
    await file.close();
  }
}

const broken = (path: string, why: string): SpillwayError =>
  new SpillwayError('HandoffLost', `Run the step that wrote it again: ${path} is not a whole Arrow IPC file, ${why}.`);

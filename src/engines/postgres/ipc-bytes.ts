import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { open } from 'node:fs/promises';
import { SpillwayError } from '../../contracts/errors.ts';

/**
 * Bytes of an Arrow file or FIFO, read in order into buffers of the caller.
 * Reads run on the thread pool and land where they are wanted: for a FIFO that is faster than a socket, but each open FIFO
 * holds one thread of the pool while it waits for its writer.
 */
export interface ByteSource {
  /** File name for messages. */
  readonly name: string;
  /** Size of a regular file; undefined for a FIFO. */
  readonly size: number | undefined;
  /** Fills `target` from the current position and answers how many bytes came before the end. */
  read(target: Uint8Array): Promise<number>;
  /** Fills `target` from `position` of a regular file. */
  readAt(target: Uint8Array, position: number): Promise<number>;
  /** Lets go of the file, also while a read of a FIFO waits. Closing twice is fine. */
  close(): Promise<void>;
}

async function fill(
  handle: FileHandle,
  target: Uint8Array,
  position: number | null,
  stopped: () => boolean = () => false,
): Promise<number> {
  let filled = 0;
  while (filled < target.length && !stopped()) {
    const { bytesRead } = await handle.read(
      target,
      filled,
      target.length - filled,
      position === null ? null : position + filled,
    );
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return filled;
}

/**
 * Opens a regular file.
 * @throws SpillwayError `HandoffLost` when it is not there
 */
export async function openFileBytes(path: string): Promise<ByteSource> {
  let handle: FileHandle;
  try {
    handle = await open(path, 'r');
  } catch (cause) {
    throw new SpillwayError('HandoffLost', `The Arrow file ${path} cannot be opened; its step has to run again.`, {
      cause,
    });
  }
  const { size } = await handle.stat();
  let position = 0;
  let closed: Promise<void> | undefined;
  return {
    name: path,
    size,
    async read(target) {
      const filled = await fill(handle, target, position);
      position += filled;
      return filled;
    },
    readAt: (target, from) => fill(handle, target, from),
    close: () => (closed ??= handle.close()),
  };
}

/** Opens a FIFO; the first read waits until somebody writes to it. */
export function openFifoBytes(path: string): ByteSource {
  let closing = false;
  let handle: FileHandle | undefined;
  let opening: Promise<FileHandle> | undefined;
  let reading: Promise<number> | undefined;
  let closed: Promise<void> | undefined;

  const read = async (target: Uint8Array): Promise<number> => {
    try {
      handle = await (opening ??= open(path, 'r'));
    } catch (cause) {
      throw new SpillwayError('LoadInterrupted', `The FIFO ${path} cannot be opened.`, { cause });
    }
    const filled = await fill(handle, target, null, () => closing);
    if (closing) throw new SpillwayError('LoadInterrupted', `Reading ${path} was given up.`);
    return filled;
  };

  // A thread that waits in open() or read() cannot be interrupted; a byte of our own wakes it, and nobody reads it any more.
  const wake = async (): Promise<void> => {
    try {
      const writer = await open(path, constants.O_WRONLY | constants.O_NONBLOCK);
      await writer.write(new Uint8Array(1)).catch(() => undefined);
      await writer.close();
    } catch {
      // ENXIO: nobody reads. ENOENT: it is gone. EAGAIN: it is full, so no read waits.
    }
  };

  return {
    name: path,
    size: undefined,
    read: (target) => (reading = read(target)),
    readAt: () => Promise.reject(new Error('a FIFO has no positions')),
    close: () =>
      (closed ??= (async () => {
        closing = true;
        let settled = reading === undefined;
        void reading?.catch(() => undefined).finally(() => (settled = true));
        while (!settled) {
          await wake();
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
        await handle?.close();
      })()),
  };
}

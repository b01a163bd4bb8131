import { SpillwayError } from '../../contracts/errors.ts';
import type { CopySink } from './copy-in.ts';
import { type Chunk, makeChunk } from './chunk.ts';
import type { CopyEncoder } from './encoder.ts';
import type { ColumnBatch } from './ipc-reader.ts';

/** Buffers in turn between encoder and each socket: more were seen not to help. */
const RING_CHUNKS = 4;

export interface PumpOptions {
  signal: AbortSignal;
  /** Called after each chunk. */
  onProgress(rows: number, bytes: number): void;
  /** No byte taken for so long while some wait: the server is stopped or unreachable. @defaultValue 60 s */
  stallMs?: number;
}

/**
 * Waits for `event`, but not past the end of the COPY, the abort, or `limitMs`.
 * Throws what ended the load; answers whether `event` has come.
 */
async function waitFor<T>(
  event: Promise<T>,
  copy: CopySink,
  signal: AbortSignal,
  limitMs: number | undefined,
): Promise<{ value: T } | undefined> {
  let timer: NodeJS.Timeout | undefined;
  let wake!: () => void;
  const interrupted = new Promise<undefined>((resolve) => (wake = () => resolve(undefined)));
  if (limitMs !== undefined) timer = setTimeout(wake, limitMs);
  signal.addEventListener('abort', wake);
  const forget = copy.onSettled(wake);
  try {
    const came = await Promise.race([event.then((value) => ({ value })), interrupted]);
    check(copy, signal);
    return came;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', wake);
    forget();
  }
}

/** Throws when the load must not go on. */
function check(copy: CopySink, signal: AbortSignal): void {
  if (copy.error) throw copy.error;
  signal.throwIfAborted();
}

/** What is neither the server's fault nor the connection's is told as what it is. */
function ownFault(what: string, error: unknown): Error {
  if (error instanceof SpillwayError || (error instanceof Error && error.name === 'AbortError')) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new SpillwayError('Unexpected', `Rows could not be ${what}: ${message}; nothing was published.`, { cause: error }); // prettier-ignore
}

/** One step of the encoder. */
function encoding<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw ownFault('encoded for COPY', error);
  }
}

/**
 * Encodes all batches into a COPY, never holding more than a few chunks, and ends its data.
 * Answers the rows that were encoded and the rows that the server counted.
 * On any failure it throws, also while a batch is still waited for, and leaves the COPY for {@link CopySink.abort} and the
 * batches for their source's `close`.
 */
export async function pump(
  batches: AsyncIterable<ColumnBatch>,
  encoder: CopyEncoder,
  copy: CopySink,
  options: PumpOptions,
): Promise<{ encoded: number; counted: number }> {
  const { signal } = options;
  const stallMs = options.stallMs ?? 60_000;
  const free: Chunk[] = Array.from({ length: RING_CHUNKS * copy.connections }, () => makeChunk());

  const requireProgress = (): void => {
    if (copy.pending === 0 || Date.now() - copy.progressAtMs < stallMs) return;
    throw new SpillwayError(
      'LoadInterrupted',
      `PostgreSQL took no data for ${stallMs / 1000} s; nothing was published.`,
    );
  };
  const room = async (hasRoom: () => boolean): Promise<void> => {
    for (;;) {
      check(copy, signal);
      requireProgress(); // of several connections one may be stuck while the others go on
      if (hasRoom()) return;
      await waitFor(copy.drained(), copy, signal, stallMs);
    }
  };

  let open: { chunk: Chunk; used: number; wide: boolean } | undefined;
  const send = (): void => {
    if (!open) return;
    const { chunk, used, wide } = open;
    open = undefined;
    // A chunk made for one wide row is dropped, not kept.
    copy.write(chunk, used, () => (wide ? 0 : free.push(chunk)));
    options.onProgress(encoder.rows, copy.bytes);
  };
  const encodeSome = async (): Promise<void> => {
    if (!open) {
      await room(() => free.length > 0);
      open = { chunk: free.pop()!, used: 0, wide: false };
    }
    const { chunk, used: before } = open;
    const used = encoding(() => encoder.fill(chunk, before));
    if (used > open.used) {
      open.used = used;
      if (encoder.more) send();
    } else if (used > 0) send();
    else {
      free.push(open.chunk);
      open = undefined;
      await room(() => copy.pending < RING_CHUNKS * copy.connections);
      const wide = makeChunk(encoder.nextRowBytes);
      open = { chunk: wide, used: encoding(() => encoder.fill(wide, 0)), wide: true };
      send();
    }
  };

  const reader = batches[Symbol.asyncIterator]();
  for (;;) {
    const coming = reader.next().catch((error: unknown) => {
      throw ownFault('read', error);
    });
    coming.catch(() => undefined);
    const next = await waitFor(coming, copy, signal, undefined);
    if (!next || next.value.done) break;
    const { value: batch } = next.value;
    encoding(() => encoder.start(batch));
    while (encoder.more) await encodeSome();
  }
  send();
  await room(() => free.length > 0);
  const header = encoder.header(free[0]!);
  if (header > 0) copy.write(free[0]!, header, () => undefined);
  const finished = copy.finish();
  finished.catch(() => undefined);
  while (!copy.settled) {
    await waitFor(finished, copy, signal, stallMs);
    requireProgress();
  }
  check(copy, signal);
  return { encoded: encoder.rows, counted: await finished };
}

import { fileURLToPath } from 'node:url';
import type { RecordBatch, Schema } from 'apache-arrow';
import { SpillwayError } from '../../contracts/errors.ts';
import type { HandoffPart } from '../../contracts/handoff.ts';
import type { ByteSource } from './ipc-bytes.ts';
import { openFifoBytes, openFileBytes } from './ipc-bytes.ts';
import { rowRanges, type RowRanges } from './arrow-ranges.ts';
import type { ColumnBatch, IpcReader } from './ipc-reader.ts';
import { openIpc, readAhead } from './ipc-reader.ts';

/** Rows of a dataset as Arrow columns, in order, once. */
export interface ArrowSource {
  readonly schema: Schema;
  /** The batches; each is valid until the next is asked for. To be iterated once. */
  batches(): AsyncIterable<ColumnBatch>;
  /** Cuts the rows into ranges of about `rangeBytes`, to be read instead of {@link batches}; undefined for rows that can be read once, from their start. */
  ranges?(rangeBytes: number): Promise<RowRanges | undefined>;
  /** Lets go of files, also while a read waits. Closing twice is fine. */
  close(): Promise<void>;
}

/** Where rows come from: the parts of a handoff, or a FIFO that another process writes an Arrow IPC stream to. */
export type ArrowInput = readonly HandoffPart[] | { readonly fifo: string };

const shape = (schema: Schema): string =>
  schema.fields.map((field) => `${field.name} ${String(field.type)}`).join(', ');

interface Opened {
  bytes: ByteSource;
  reader: IpcReader;
}

/** Opens one part; `signal` lets go of it while the schema is still waited for. */
async function openOne(bytes: ByteSource, signal: AbortSignal | undefined): Promise<Opened> {
  const giveUp = (): void => void bytes.close();
  signal?.addEventListener('abort', giveUp, { once: true });
  try {
    signal?.throwIfAborted();
    return { bytes, reader: await openIpc(bytes) };
  } catch (error) {
    await bytes.close();
    // Why it was given up, such as the failure of the process that should have written.
    throw signal?.aborted && signal.reason instanceof Error ? signal.reason : error;
  } finally {
    signal?.removeEventListener('abort', giveUp);
  }
}

/** Checks the parts and answers how each is opened. */
function openers(input: ArrowInput): (() => Promise<ByteSource>)[] {
  if ('fifo' in input) return [() => Promise.resolve(openFifoBytes(input.fifo))];
  const foreign = input.find((part) => part.kind !== 'arrow');
  if (foreign) {
    throw new SpillwayError(
      'InvalidInput',
      `${foreign.uri} is ${foreign.kind}; a load reads Arrow IPC. Stream it through the DataFusion runner into a FIFO first.`,
    );
  }
  if (input.length === 0) throw new SpillwayError('InvalidInput', 'A dataset without parts has no schema to load.');
  return input.map((part) => () => openFileBytes(fileURLToPath(part.uri)));
}

/**
 * Opens the Arrow parts of a handoff, or a FIFO. Files are read one after the other; all must have the columns of the first.
 * A FIFO is waited for: the promise settles when its writer has sent the schema, or `signal` aborts.
 * @throws SpillwayError `InvalidInput` for parts that are not Arrow, `HandoffLost` for files that are gone or cut off,
 * `LoadInterrupted` for a stream that ends without its end mark; the signal's reason
 */
export async function openArrowSource(input: ArrowInput, signal?: AbortSignal): Promise<ArrowSource> {
  const parts = openers(input);
  let current = await openOne(await parts[0]!(), signal);
  const { schema } = current.reader;
  let closed = false;

  async function* batches(): AsyncGenerator<ColumnBatch> {
    for (let index = 0; index < parts.length && !closed; index += 1) {
      if (index > 0) {
        await current.bytes.close();
        current = await openOne(await parts[index]!(), signal);
        if (shape(current.reader.schema) !== shape(schema)) {
          throw new SpillwayError(
            'InvalidInput',
            `${current.bytes.name} has other columns than the first part: (${shape(current.reader.schema)}) instead of (${shape(schema)}).`,
          );
        }
      }
      yield* readAhead(current.reader);
    }
  }
  return {
    schema,
    batches,
    ...('fifo' in input ? {} : { ranges: (rangeBytes: number) => rowRanges(input, rangeBytes) }),
    close: async () => {
      closed = true;
      await current.bytes.close();
    },
  };
}

/** Rows that are in memory already: a handoff of mode `memory`, or a test. */
export function arrowSourceOf(
  schema: Schema,
  batches: Iterable<RecordBatch> | AsyncIterable<RecordBatch>,
): ArrowSource {
  return {
    schema,
    async *batches() {
      for await (const batch of batches) {
        yield { rows: batch.numRows, columns: batch.data.children, bytes: batch.data.byteLength };
      }
    },
    close: () => Promise.resolve(),
  };
}

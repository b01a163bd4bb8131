import type { Data, DataType, Schema } from 'apache-arrow';
import { MessageHeader, Vector } from 'apache-arrow';
// Internals of the pinned release: the public reader allocates a new body for each batch.
import { Footer } from 'apache-arrow/ipc/metadata/file';
import type { DictionaryBatch, RecordBatch } from 'apache-arrow/ipc/metadata/message';
import { Message } from 'apache-arrow/ipc/metadata/message';
import { VectorLoader } from 'apache-arrow/visitor/vectorloader';
import { SpillwayError } from '../../contracts/errors.ts';
import { KiB, MiB } from '../../policy/sizes.ts';
import type { ByteSource } from './ipc-bytes.ts';

/** Columns of some rows. The buffers behind them are used again: valid until the next batch is asked for. */
export interface ColumnBatch {
  readonly rows: number;
  readonly columns: readonly Data[];
  readonly bytes: number;
}

/** One file or FIFO being read. */
export interface IpcReader {
  readonly schema: Schema;
  /** Reads the next batch; undefined after the last one. */
  next(): Promise<ColumnBatch | undefined>;
}

/** A file, whose batches are found by its footer. */
export interface IpcFileReader extends IpcReader {
  /** Bytes of each batch. */
  readonly batchBytes: readonly number[];
  /** Rows of a batch, from its head alone. */
  rowsOf(batch: number): Promise<number>;
  /** Has `next` go on with this batch. */
  seek(batch: number): void;
}

export const isIpcFile = (reader: IpcReader): reader is IpcFileReader => 'seek' in reader;

/** Asks for batch n+1 before batch n is given out, so that reading and encoding overlap. `count` batches, or all that are left. */
export async function* readAhead(reader: IpcReader, count = Infinity): AsyncGenerator<ColumnBatch> {
  let ahead = count > 0 ? reader.next() : undefined;
  for (let given = 1; ahead; given += 1) {
    const batch = await ahead;
    if (!batch) return;
    ahead = given < count ? reader.next() : undefined;
    // Awaited by the next turn, or never when the reader of the batches gives up: then close() ends the read.
    ahead?.catch(() => undefined);
    yield batch;
  }
}

const CONTINUATION = 0xffffffff;
const MAGIC = 'ARROW1';
const MAGIC_PADDED = 8;
/** A schema of ten thousand columns takes about 2 MiB; far past that the length is garbage. */
const MAX_METADATA_BYTES = 256 * MiB;

interface Block {
  offset: number;
  metaDataLength: number;
  bodyLength: number;
}

const broken = (source: ByteSource, what: string): SpillwayError =>
  source.size === undefined
    ? new SpillwayError(
        'LoadInterrupted',
        `The Arrow stream from ${source.name} ${what}; its writer has failed or was stopped.`,
      )
    : new SpillwayError('HandoffLost', `The Arrow file ${source.name} ${what}; its step has to run again.`);

/** Two bodies in turn: while one batch is encoded the next is read into the other. */
class BodyBuffers {
  private readonly bodies = [new Uint8Array(0), new Uint8Array(0)];
  private turn = 0;

  take(bytes: number): Uint8Array {
    this.turn ^= 1;
    let body = this.bodies[this.turn]!;
    if (body.length < bytes) {
      const capacity = Math.ceil(bytes / (64 * KiB)) * 64 * KiB;
      body = this.bodies[this.turn] = new Uint8Array(new ArrayBuffer(capacity));
    }
    return body.subarray(0, bytes);
  }
}

class MessageReader {
  readonly source: ByteSource;
  private readonly bodies = new BodyBuffers();
  private readonly dictionaries = new Map<number, Vector>();
  /** Set by whoever opens the file or stream, before any batch is read. */
  schema!: Schema;

  constructor(source: ByteSource) {
    this.source = source;
  }

  /** The next message of a stream; undefined at its end mark. */
  async message(): Promise<Message | undefined> {
    const prefix = new Uint8Array(8);
    const got = await this.source.read(prefix);
    if (got < 8) throw broken(this.source, got === 0 ? 'ends without its end mark' : 'is cut off');
    const view = new DataView(prefix.buffer);
    if (view.getUint32(0, true) !== CONTINUATION) throw broken(this.source, 'is not Arrow IPC');
    const length = view.getInt32(4, true);
    if (length === 0) return undefined;
    return this.decode(length);
  }

  private async decode(length: number): Promise<Message> {
    if (length < 0 || length > MAX_METADATA_BYTES) throw broken(this.source, 'is not Arrow IPC');
    const metadata = new Uint8Array(length);
    if ((await this.source.read(metadata)) < length) throw broken(this.source, 'is cut off');
    try {
      return Message.decode(metadata);
    } catch (cause) {
      throw new SpillwayError('HandoffLost', `${this.source.name} is not Arrow IPC.`, { cause });
    }
  }

  async messageAt(block: Block): Promise<Message> {
    const metadata = new Uint8Array(block.metaDataLength);
    if ((await this.source.readAt(metadata, block.offset)) < metadata.length) throw broken(this.source, 'is cut off');
    return Message.decode(metadata.subarray(8));
  }

  private checkBody(message: Message, compression: unknown): void {
    if (compression) {
      throw new SpillwayError(
        'InvalidInput',
        `${this.source.name} holds compressed Arrow batches; write them uncompressed, or hand over as Parquet.`,
      );
    }
    if (message.bodyLength < 0 || (this.source.size !== undefined && message.bodyLength > this.source.size)) {
      throw broken(this.source, 'is cut off');
    }
  }

  async body(target: Uint8Array, position?: number): Promise<Uint8Array> {
    const got = await (position === undefined ? this.source.read(target) : this.source.readAt(target, position));
    if (got < target.length) throw broken(this.source, 'is cut off');
    return target;
  }

  async batch(message: Message, position?: number): Promise<ColumnBatch> {
    const header = message.header() as RecordBatch;
    this.checkBody(message, header.compression);
    const body = await this.body(this.bodies.take(message.bodyLength), position);
    const columns = this.load(
      header,
      body,
      this.schema.fields.map((field) => field.type as DataType),
    );
    return { rows: header.length, columns, bytes: message.bodyLength };
  }

  async dictionary(message: Message, position?: number): Promise<void> {
    const header = message.header() as DictionaryBatch;
    this.checkBody(message, header.data.compression);
    // A dictionary lives as long as the batches that point into it: a body of its own.
    const body = await this.body(new Uint8Array(message.bodyLength), position);
    const type = this.schema.dictionaries.get(header.id);
    if (!type) throw broken(this.source, `holds a dictionary ${header.id} that no column uses`);
    const vector = new Vector(this.load(header.data, body, [type]));
    const before = this.dictionaries.get(header.id);
    this.dictionaries.set(header.id, header.isDelta && before ? before.concat(vector) : vector);
  }

  private load(header: RecordBatch, body: Uint8Array, types: DataType[]): Data[] {
    const loader = new VectorLoader(
      body,
      header.nodes,
      header.buffers,
      this.dictionaries,
      this.schema.metadataVersion,
      header.variadicBufferCounts,
    );
    return loader.visitMany<DataType>(types);
  }
}

async function openStream(reader: MessageReader): Promise<IpcReader> {
  const first = await reader.message();
  if (!first?.isSchema()) throw broken(reader.source, 'does not begin with a schema');
  reader.schema = first.header();
  return {
    schema: reader.schema,
    async next() {
      for (;;) {
        const message = await reader.message();
        if (message === undefined) return undefined;
        if (message.headerType === MessageHeader.RecordBatch) return reader.batch(message);
        if (message.headerType !== MessageHeader.DictionaryBatch)
          throw broken(reader.source, 'holds an unknown message');
        await reader.dictionary(message);
      }
    },
  };
}

/** The footer of a file is written last: where it is whole, so is the file. Dictionaries may stand anywhere in it. */
async function openFile(reader: MessageReader, size: number): Promise<IpcFileReader> {
  const { source } = reader;
  const tail = new Uint8Array(10);
  if (size < MAGIC_PADDED + tail.length) throw broken(source, 'is cut off');
  await reader.body(tail, size - tail.length);
  const footerBytes = new DataView(tail.buffer).getInt32(0, true);
  const whole = Buffer.from(tail.buffer, 4, 6).toString('latin1') === MAGIC;
  if (!whole || footerBytes <= 0 || footerBytes > size - tail.length - MAGIC_PADDED) {
    throw broken(source, 'has no footer: it was not finished');
  }
  const footer = Footer.decode(await reader.body(new Uint8Array(footerBytes), size - tail.length - footerBytes));
  reader.schema = footer.schema;
  for (const block of footer.dictionaryBatches()) {
    await reader.dictionary(await reader.messageAt(block), block.offset + block.metaDataLength);
  }
  let index = 0;
  return {
    schema: reader.schema,
    batchBytes: Array.from(footer.recordBatches(), ({ bodyLength }) => bodyLength),
    async rowsOf(batch) {
      return ((await reader.messageAt(footer.getRecordBatch(batch)!)).header() as RecordBatch).length;
    },
    seek: (batch) => void (index = batch),
    async next() {
      const block = footer.getRecordBatch(index);
      if (!block) return undefined;
      index += 1;
      return reader.batch(await reader.messageAt(block), block.offset + block.metaDataLength);
    },
  };
}

/**
 * Reads an Arrow IPC file or stream batch by batch into two reused buffers.
 * @throws SpillwayError `HandoffLost` for a regular file that is short or not Arrow, `LoadInterrupted` for a stream that ends without its end mark
 */
export async function openIpc(source: ByteSource): Promise<IpcReader> {
  const reader = new MessageReader(source);
  if (source.size !== undefined) {
    const magic = new Uint8Array(6);
    await source.readAt(magic, 0);
    if (Buffer.from(magic).toString('latin1') === MAGIC) return openFile(reader, source.size);
  }
  return openStream(reader);
}

import { type RecordBatch, RecordBatchStreamWriter, Schema } from 'apache-arrow';
import type * as parquetWasm from 'parquet-wasm';
import type { RecordBatch as EncoderBatch, Table as EncoderTable } from 'parquet-wasm';
import { MiB } from '../../policy/sizes.ts';
import { columnsOthersMisread, parquetBatch, parquetSchema } from './parquet-types.ts';
import { UnfinishedFile } from './unfinished-file.ts';

/** Of a lease: the encoder holds a row group and its pages, the rows are held besides. */
const GROUP_SHARE = 1 / 16;
const MOST_GROUP_BYTES = 32 * MiB;
const MOST_GROUP_ROWS = 1 << 20;

type Encoder = Pick<
  typeof parquetWasm,
  'Compression' | 'Table' | 'transformParquetStream' | 'WriterPropertiesBuilder' | 'writeParquet'
>;

/** Bytes of a row group, where a process is lent so many. */
export const groupBytesOf = (limitBytes: number): number => Math.min(MOST_GROUP_BYTES, limitBytes * GROUP_SHARE);

/** Arrow's encoder in Rust, as WebAssembly; it takes some 20 MB, and most transforms need none. */
export const loadEncoder = (): Promise<Encoder> => import('parquet-wasm');

/** Columns whose type Parquet has no place for. */
export function unfitForParquet(encoder: Encoder, schema: Schema): string[] {
  const misread = columnsOthersMisread(schema);
  if (misread.length === 0 && fits(encoder, schema)) return [];
  return schema.fields
    .filter((field) => misread.includes(String(field.name)) || !fits(encoder, new Schema([field])))
    .map(({ name, type }) => `${name} (${String(type)})`);
}

/** Writes batches into one Parquet file, which gets its name when every byte is on disk. No more than a row group is held. */
export class ParquetFileWriter {
  readonly #file: UnfinishedFile;
  readonly #encoder: Encoder;
  readonly #schema: Schema;
  readonly #groupBytes: number;
  #input: WritableStreamDefaultWriter<EncoderBatch> | undefined;
  #written: Promise<void> | undefined;
  rows = 0;

  constructor(encoder: Encoder, path: string, schema: Schema, groupBytes: number) {
    this.#encoder = encoder;
    this.#file = new UnfinishedFile(path);
    this.#schema = parquetSchema(schema);
    this.#groupBytes = groupBytes;
  }

  get bytes(): number {
    return this.#file.bytes;
  }

  async write(batch: RecordBatch): Promise<void> {
    this.#input ??= this.#start(batch);
    for (const encoded of encoderBatches(this.#encoder, parquetBatch(batch, this.#schema))) {
      await Promise.race([this.#input.write(encoded), this.#written]);
    }
    this.rows += batch.numRows;
  }

  /** Ends the file. */
  async close(): Promise<void> {
    if (this.#input) await Promise.race([this.#input.close(), this.#written]);
    else await this.#file.write(this.#encoder.writeParquet(noRows(this.#encoder, this.#schema)));
    await this.#written;
    await this.#file.finish();
  }

  async discard(): Promise<void> {
    await this.#input?.abort().catch(() => undefined);
    await this.#written?.catch(() => undefined);
    await this.#file.discard();
  }

  #start(first: RecordBatch): WritableStreamDefaultWriter<EncoderBatch> {
    const { readable, writable } = new TransformStream<EncoderBatch, EncoderBatch>();
    const properties = new this.#encoder.WriterPropertiesBuilder()
      .setCompression(this.#encoder.Compression.ZSTD)
      .setMaxRowGroupSize(groupRows(first, this.#groupBytes))
      .build();
    this.#written = this.#drain(this.#encoder.transformParquetStream(readable, properties));
    this.#written.catch(() => undefined); // told by whoever writes next
    return writable.getWriter();
  }

  async #drain(encoded: Promise<ReadableStream>): Promise<void> {
    for await (const chunk of (await encoded) as unknown as AsyncIterable<Uint8Array>) await this.#file.write(chunk);
  }
}

const groupRows = ({ data, numRows }: RecordBatch, groupBytes: number): number =>
  Math.min(
    MOST_GROUP_ROWS,
    Math.max(1, Math.floor((groupBytes * Math.max(1, numRows)) / Math.max(1, data.byteLength))),
  );

/** What the encoder makes of a batch; it takes them over, and gives their memory back. */
function encoderBatches({ Table }: Encoder, batch: RecordBatch): EncoderBatch[] {
  const table = Table.fromIPCStream(RecordBatchStreamWriter.writeAll([batch]).toUint8Array(true));
  try {
    return table.recordBatches();
  } finally {
    table.free();
  }
}

function noRows({ Table }: Encoder, schema: Schema): EncoderTable {
  const writer = new RecordBatchStreamWriter();
  writer.reset(undefined, schema).close();
  return Table.fromIPCStream(writer.toUint8Array(true));
}

function fits(encoder: Encoder, schema: Schema): boolean {
  try {
    encoder.writeParquet(noRows(encoder, schema));
    return true;
  } catch {
    return false;
  }
}

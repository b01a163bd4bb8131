import { rm } from 'node:fs/promises';
import { type Data, DataType, type Field, RecordBatch, type Schema, type Table } from 'apache-arrow';
import { KiB } from '../../policy/sizes.ts';
import { ArrowFileWriter } from './arrow-file-writer.ts';
import { groupBytesOf, loadEncoder, ParquetFileWriter, unfitForParquet } from './parquet-file-writer.ts';
import type { Places, WrittenPart } from './transform-job.ts';
import { checkColumns, checkRows } from './unfit-batch.ts';

/** The end of a file: its schema, and where each batch lies. */
const FOOTER_BYTES = 256 * KiB;
/** Of a column in a batch: its entries in the head, and what its buffers are padded with. */
const COLUMN_BYTES = 512;

/**
 * Writes into memory as far as that was lent, what comes after to disk, and to Parquet what is past the size of which Arrow is kept. A file ends
 * between two batches, so that each is whole.
 */
export class RowsWriter {
  readonly #places: Places;
  readonly #groupBytes: number;
  readonly #parts: WrittenPart[] = [];
  #at: keyof Places;
  #now: ArrowFileWriter | ParquetFileWriter | undefined;
  #unfit: string[] = [];
  #schema: Schema | undefined;

  /** @param limitBytes of the memory of this process */
  constructor(places: Places, limitBytes: number) {
    this.#places = places;
    this.#groupBytes = groupBytesOf(limitBytes);
    this.#at = places.memory ? 'memory' : 'disk';
  }

  /** Columns of the rows; undefined before the first batch. */
  get schema(): Schema | undefined {
    return this.#schema;
  }
  /** Columns for whose type Parquet has no place; because of them all rows stay Arrow. */
  get unfit(): readonly string[] {
    return this.#unfit;
  }
  get rows(): number {
    return this.#parts.reduce((sum, { rows }) => sum + rows, this.#now?.rows ?? 0);
  }
  /** Of all files. */
  get bytes(): number {
    return this.#parts.reduce((sum, { bytes }) => sum + bytes, this.#now?.bytes ?? 0);
  }
  get diskBytes(): number {
    const ended = this.#parts.reduce((sum, { bytes, inMemory }) => sum + (inMemory ? 0 : bytes), 0);
    return ended + (this.#at === 'memory' ? 0 : (this.#now?.bytes ?? 0));
  }

  /** @throws UnfitBatch for what is neither batch nor table, columns that are not those of the first batch, or dictionary-encoded */
  async write(rows: RecordBatch | Table): Promise<void> {
    checkRows(rows);
    checkColumns(rows.schema, this.#schema);
    const schema = (this.#schema ??= rows.schema);
    if (this.#now === undefined) await this.#start(schema);
    for (const { data } of 'batches' in rows ? rows.batches : [rows]) {
      // A file has one schema; that of another table is equal, and another object.
      const batch = new RecordBatch(schema, withNullCounts(data));
      await this.#makeRoom(batch, schema);
      await this.#now!.write(batch);
    }
  }

  /** Ends the files, and says which there are. */
  async close(): Promise<WrittenPart[]> {
    await this.#end();
    return this.#parts;
  }

  async discard(): Promise<void> {
    await this.#now?.discard();
    for (const { path } of this.#parts) await rm(path, { force: true });
  }

  get #path(): string {
    const { memory, disk, parquet } = this.#places;
    return { disk, memory: memory?.path ?? disk, parquet: parquet?.path ?? disk }[this.#at];
  }

  async #start(schema: Schema): Promise<void> {
    const parquet = this.#places.parquet?.pastBytes === 0 ? await this.#openParquet(schema) : undefined;
    if (parquet) this.#at = 'parquet';
    this.#now = parquet ?? new ArrowFileWriter(this.#path, schema);
  }

  async #openParquet(schema: Schema): Promise<ParquetFileWriter | undefined> {
    const encoder = await loadEncoder();
    this.#unfit = unfitForParquet(encoder, schema);
    return this.#unfit.length > 0
      ? undefined
      : new ParquetFileWriter(encoder, this.#places.parquet!.path, schema, this.#groupBytes);
  }

  async #makeRoom(batch: RecordBatch, schema: Schema): Promise<void> {
    const { memory, parquet } = this.#places;
    if (this.#at === 'parquet') return;
    const size = atMost(batch);
    if (parquet && this.#unfit.length === 0 && this.bytes + size > parquet.pastBytes) {
      const next = await this.#openParquet(schema);
      if (next) return this.#moveOn('parquet', next);
    }
    if (this.#at === 'memory' && this.bytes + size + FOOTER_BYTES > memory!.bytes)
      await this.#moveOn('disk', new ArrowFileWriter(this.#places.disk, schema));
  }

  async #moveOn(to: keyof Places, next: ArrowFileWriter | ParquetFileWriter): Promise<void> {
    // A part without rows is no use to its readers.
    if ((this.#now?.rows ?? 0) > 0) await this.#end();
    else await this.#now?.discard();
    this.#at = to;
    this.#now = next;
  }

  async #end(): Promise<void> {
    const ended = this.#now;
    if (!ended) return;
    await ended.close();
    const { rows, bytes } = ended;
    this.#parts.push({ kind: this.#at === 'parquet' ? 'parquet' : 'arrow', path: this.#path, rows, bytes, inMemory: this.#at === 'memory' }); // prettier-ignore
    this.#now = undefined;
  }
}

/** A slice of a column of type Null does not know how many NULLs it has, and is no valid Arrow when it is written. */
function withNullCounts<T extends DataType>(data: Data<T>): Data<T> {
  if (DataType.isNull(data.type)) return data.clone(data.type, data.offset, data.length, data.length);
  if (!data.children.some(hasNullType)) return data;
  return data.clone(data.type, data.offset, data.length, data.nullCount, data.buffers, data.children.map(withNullCounts)); // prettier-ignore
}
const hasNullType = ({ type, children }: Data): boolean => DataType.isNull(type) || children.some(hasNullType);

/** Bytes that a batch takes in a file, at most: of a slice the buffers are counted whole. */
const atMost = ({ data, schema }: RecordBatch): number => data.byteLength + COLUMN_BYTES * (1 + columnsIn(schema.fields)); // prettier-ignore

const columnsIn = (fields: readonly Field<DataType>[]): number =>
  fields.reduce((sum, { type }) => sum + 1 + columnsIn((type.children as Field<DataType>[] | null) ?? []), 0);

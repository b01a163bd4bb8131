import { rm } from 'node:fs/promises';
import type { DataType, Field, RecordBatch, Schema, Table } from 'apache-arrow';
import { KiB } from '../../policy/sizes.ts';
import { ArrowFileWriter } from './arrow-file-writer.ts';
import type { WrittenPart } from './transform-job.ts';

/** The end of a file: its schema, and where each batch lies. */
const FOOTER_BYTES = 256 * KiB;
/** Of a column in a batch: its entries in the head, and what its buffers are padded with. */
const COLUMN_BYTES = 512;

/** Where rows go: into memory as far as that was lent, and what comes after to disk, between two batches, so that both files are whole. */
export class RowsWriter {
  readonly #memory: { path: string; bytes: number } | undefined;
  readonly #disk: string;
  readonly #parts: WrittenPart[] = [];
  #now: ArrowFileWriter;
  #inMemory: boolean;
  #rows = 0;
  #bytes = 0;

  constructor(disk: string, memory?: { path: string; bytes: number }) {
    this.#disk = disk;
    this.#memory = memory;
    this.#inMemory = memory !== undefined;
    this.#now = new ArrowFileWriter(memory?.path ?? disk);
  }

  /** Columns of the rows; undefined before the first batch. */
  get schema(): Schema | undefined {
    return this.#now.schema;
  }
  get rows(): number {
    return this.#rows + this.#now.rows;
  }
  /** Of all files. */
  get bytes(): number {
    return this.#bytes + this.#now.bytes;
  }
  get diskBytes(): number {
    return this.#inMemory ? 0 : this.#now.bytes;
  }

  /** @throws UnfitBatch for columns that are not those of the first batch, or dictionary-encoded */
  async write(rows: RecordBatch | Table): Promise<void> {
    for (const batch of 'batches' in rows ? rows.batches : [rows]) {
      if (this.#inMemory && this.#now.bytes + atMost(batch) + FOOTER_BYTES > this.#memory!.bytes) await this.#moveOn();
      await this.#now.write(batch);
    }
    // Of a table without a batch the columns are known all the same.
    if ('batches' in rows && rows.batches.length === 0) await this.#now.write(rows);
  }

  /** Ends the files, and says which there are. */
  async close(): Promise<WrittenPart[]> {
    await this.#end();
    return this.#parts;
  }

  async discard(): Promise<void> {
    await this.#now.discard();
    for (const { path } of this.#parts) await rm(path, { force: true });
  }

  async #end(): Promise<void> {
    await this.#now.close();
    const { rows, bytes } = this.#now;
    this.#parts.push({ path: this.#inMemory ? this.#memory!.path : this.#disk, rows, bytes, inMemory: this.#inMemory });
  }

  async #moveOn(): Promise<void> {
    const { schema } = this.#now;
    if (this.#now.rows > 0) {
      await this.#end();
      this.#rows += this.#now.rows;
      this.#bytes += this.#now.bytes;
    } else await this.#now.discard();
    this.#inMemory = false;
    this.#now = new ArrowFileWriter(this.#disk, schema);
  }
}

/** Bytes that a batch takes in a file, at most: of a slice the buffers are counted whole. */
const atMost = ({ data, schema }: RecordBatch): number => data.byteLength + COLUMN_BYTES * (1 + columnsIn(schema.fields)); // prettier-ignore

const columnsIn = (fields: readonly Field<DataType>[]): number =>
  fields.reduce((sum, { type }) => sum + 1 + columnsIn((type.children as Field<DataType>[] | null) ?? []), 0);

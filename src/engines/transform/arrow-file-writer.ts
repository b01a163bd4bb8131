import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import {
  type DataType,
  Dictionary,
  RecordBatch,
  RecordBatchFileWriter,
  type Schema,
  type Field,
  type Table,
  type TypeMap,
} from 'apache-arrow';

/** Columns of a batch that cannot be written beside those before it. */
export class UnfitBatch extends Error {
  override readonly name = 'UnfitBatch';
}

/** Encodes into chunks that are taken after each batch: the library's own sink keeps all that nobody has read yet. */
class ChunkWriter extends RecordBatchFileWriter<TypeMap> {
  #chunks: Uint8Array[] = [];
  protected override _write(chunk: Uint8Array): this {
    const bytes = new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    if (bytes.byteLength > 0) {
      this.#chunks.push(bytes);
      this._position += bytes.byteLength;
    }
    return this;
  }
  take(): Uint8Array[] {
    const chunks = this.#chunks;
    this.#chunks = [];
    return chunks;
  }
}

/** Writes batches into one uncompressed Arrow IPC file, which gets its name when every byte is on disk. */
export class ArrowFileWriter {
  readonly #path: string;
  readonly #writer = new ChunkWriter();
  #handle: FileHandle | undefined;
  #schema: Schema | undefined;
  rows = 0;
  bytes = 0;

  /** @param schema of rows that were written elsewhere before, which these must be like */
  constructor(path: string, schema?: Schema) {
    this.#path = path;
    if (schema === undefined) return;
    this.#schema = schema;
    this.#writer.reset(undefined, schema);
  }

  /** Columns of the rows; undefined before the first batch. */
  get schema(): Schema | undefined {
    return this.#schema;
  }

  /** @throws UnfitBatch for columns that are not those of the first batch, or dictionary-encoded */
  async write(rows: RecordBatch | Table): Promise<void> {
    this.#check(rows.schema);
    if (this.#schema === undefined) {
      this.#schema = rows.schema;
      this.#writer.reset(undefined, this.#schema);
    }
    for (const batch of 'batches' in rows ? rows.batches : [rows]) {
      // The file has one schema; that of another table is equal, and another object.
      this.#writer.write(new RecordBatch(this.#schema, batch.data));
      this.rows += batch.numRows;
      await this.#flush();
    }
  }

  /** Ends the file. */
  async close(): Promise<void> {
    this.#writer.close();
    await this.#flush();
    await this.#handle?.sync();
    await this.#handle?.close();
    await rename(this.#temporary, this.#path);
  }

  async discard(): Promise<void> {
    await this.#handle?.close().catch(() => undefined);
    await rm(this.#temporary, { force: true });
  }

  get #temporary(): string {
    return `${this.#path}.tmp`;
  }

  #check(schema: Schema): void {
    for (const field of schema.fields as Field<DataType>[]) {
      const coded = codedColumn(field);
      if (coded !== undefined)
        throw new UnfitBatch(
          `column ${coded} is dictionary-encoded; give its values a plain type, such as vectorFromArray(values, new Utf8())`,
        );
    }
    if (this.#schema !== undefined && shape(schema) !== shape(this.#schema))
      throw new UnfitBatch(`a batch has columns (${shape(schema)}), those before it had (${shape(this.#schema)})`);
  }

  async #flush(): Promise<void> {
    this.#handle ??= await this.#create();
    for (const chunk of this.#writer.take()) {
      this.bytes += chunk.byteLength;
      for (let at = 0; at < chunk.byteLength;) at += (await this.#handle.write(chunk, at)).bytesWritten;
    }
  }

  async #create(): Promise<FileHandle> {
    const handle = await open(this.#temporary, 'wx');
    await handle.chmod(0o644); // whatever our umask, the user of containers reads it
    return handle;
  }
}

const shape = (schema: Schema): string => schema.fields.map(({ name, type }) => `${name} ${String(type)}`).join(', ');

/** A file holds one dictionary a column, and a transform makes another one with each batch. */
function codedColumn({ name, type }: Field<DataType>): string | undefined {
  if (type instanceof Dictionary) return name;
  return ((type.children as Field<DataType>[] | null) ?? []).map(codedColumn).find((found) => found !== undefined);
}

import { type RecordBatch, RecordBatchFileWriter, type Schema, type TypeMap } from 'apache-arrow';
import { UnfinishedFile } from './unfinished-file.ts';

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
  readonly #file: UnfinishedFile;
  readonly #writer = new ChunkWriter();
  rows = 0;

  constructor(path: string, schema: Schema) {
    this.#file = new UnfinishedFile(path);
    this.#writer.reset(undefined, schema);
  }

  get bytes(): number {
    return this.#file.bytes;
  }

  async write(batch: RecordBatch): Promise<void> {
    this.#writer.write(batch);
    this.rows += batch.numRows;
    await this.#flush();
  }

  /** Ends the file. */
  async close(): Promise<void> {
    this.#writer.close();
    await this.#flush();
    await this.#file.finish();
  }

  discard(): Promise<void> {
    return this.#file.discard();
  }

  async #flush(): Promise<void> {
    for (const chunk of this.#writer.take()) await this.#file.write(chunk);
  }
}

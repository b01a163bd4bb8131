import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import { type RecordBatch, RecordBatchFileWriter, type Schema, type TypeMap } from 'apache-arrow';

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
  rows = 0;
  bytes = 0;

  constructor(path: string, schema: Schema) {
    this.#path = path;
    this.#writer.reset(undefined, schema);
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

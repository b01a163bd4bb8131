import { open, rename, rm, type FileHandle } from 'node:fs/promises';

/** A file that gets its name when every byte is on disk. It is made with its first byte. */
export class UnfinishedFile {
  readonly #path: string;
  #handle: FileHandle | undefined;
  bytes = 0;

  constructor(path: string) {
    this.#path = path;
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.#handle ??= await this.#create();
    for (let at = 0; at < chunk.byteLength;) at += (await this.#handle.write(chunk, at)).bytesWritten;
    this.bytes += chunk.byteLength;
  }

  async finish(): Promise<void> {
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

  async #create(): Promise<FileHandle> {
    const handle = await open(this.#temporary, 'wx');
    await handle.chmod(0o644); // whatever our umask, the user of containers reads it
    return handle;
  }
}

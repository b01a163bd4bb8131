import type { AbortDeadlines, CopyIn, CopySink } from './copy-in.ts';
import { type Chunk, makeChunk, putHeader } from './chunk.ts';

/** A chunk for the header alone. */
const HEADER_CHUNK_BYTES = 64;

/**
 * Several COPYs into one table that share the rows of one encoder: each message, of whole rows, goes to the connection that is least behind. PostgreSQL
 * takes most of the time of a load in its backend, so one thread here feeds several. Over with the first failure of any of them.
 *
 * The order of rows in the table is not that of the dataset.
 */
export class CopyFan implements CopySink {
  readonly connections: number;
  readonly #copies: readonly CopyIn[];
  readonly #draining = new Map<CopyIn, Promise<void>>();

  /** @param copies COPYs that wait for data; their headers are sent here */
  constructor(copies: readonly CopyIn[]) {
    this.#copies = copies;
    this.connections = copies.length;
    for (const copy of copies) {
      const chunk = makeChunk(HEADER_CHUNK_BYTES);
      copy.write(chunk, putHeader(chunk), () => undefined);
    }
  }

  get bytes(): number {
    return this.#copies.reduce((sum, { bytes }) => sum + bytes, 0);
  }
  get pending(): number {
    return this.#copies.reduce((sum, { pending }) => sum + pending, 0);
  }
  get progressAtMs(): number {
    const waiting = this.#copies.filter(({ pending }) => pending > 0);
    return Math.min(Date.now(), ...waiting.map(({ progressAtMs }) => progressAtMs));
  }
  get error(): Error | undefined {
    return this.#copies.find(({ error }) => error !== undefined)?.error;
  }
  get settled(): boolean {
    return this.error !== undefined || this.#copies.every(({ settled }) => settled);
  }

  onSettled(watcher: () => void): () => void {
    const forget = this.#copies.map((copy) => copy.onSettled(() => this.settled && watcher()));
    return () => forget.forEach((one) => one());
  }

  drained(): Promise<void> {
    return Promise.race(this.#copies.map((copy) => this.#drain(copy)));
  }

  /** One wait for each: a connection that takes nothing must not gather them. */
  #drain(copy: CopyIn): Promise<void> {
    const waiting = this.#draining.get(copy);
    if (waiting) return waiting;
    const drain = copy.drained().then(() => void this.#draining.delete(copy));
    this.#draining.set(copy, drain);
    return drain;
  }

  write(chunk: Chunk, used: number, free: () => void): void {
    const [first, ...others] = this.#copies as [CopyIn, ...CopyIn[]];
    const isLessBehind = (a: CopyIn, b: CopyIn): boolean => a.pending < b.pending || (a.pending === b.pending && a.bytes < b.bytes); // prettier-ignore
    others.reduce((least, copy) => (isLessBehind(copy, least) ? copy : least), first).write(chunk, used, free);
  }

  async finish(): Promise<number> {
    const counts = await Promise.all(this.#copies.map((copy) => copy.finish()));
    return counts.reduce((sum, rows) => sum + rows, 0);
  }

  async abort(because: string, terminate: () => Promise<unknown>, deadlines?: AbortDeadlines): Promise<void> {
    await Promise.all(this.#copies.map((copy) => copy.abort(because, terminate, deadlines)));
  }
}

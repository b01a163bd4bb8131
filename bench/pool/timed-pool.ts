import { performance } from 'node:perf_hooks';
import { PoolClient } from '../../activities/index.ts';
import type { Answer, Ask, Begin, BeginAnswer, End } from '../../src/contracts/pool.ts';

/** A pool client that remembers how long each message took, in milliseconds. */
export class TimedPool extends PoolClient {
  readonly ms: Record<'acquire' | 'begin' | 'end', number[]> = { acquire: [], begin: [], end: [] };

  override acquire(pool: string, ask: Ask): Promise<Answer> {
    return this.#timed('acquire', () => super.acquire(pool, ask));
  }
  override begin(pool: string, begin: Begin): Promise<BeginAnswer> {
    return this.#timed('begin', () => super.begin(pool, begin));
  }
  override end(pool: string, ends: End[]): Promise<void> {
    return this.#timed('end', () => super.end(pool, ends));
  }

  /** What was measured since the last call. */
  taken(): Record<'acquire' | 'begin' | 'end', number[]> {
    const taken = { acquire: [...this.ms.acquire], begin: [...this.ms.begin], end: [...this.ms.end] };
    for (const list of Object.values(this.ms)) list.length = 0;
    return taken;
  }

  async #timed<T>(kind: keyof TimedPool['ms'], act: () => Promise<T>): Promise<T> {
    const began = performance.now();
    try {
      return await act();
    } finally {
      this.ms[kind].push(performance.now() - began);
    }
  }
}

import type { TrinoQueryStep } from '../src/contracts/pipeline.ts';
import type { Proof, StepUsage } from '../src/contracts/pool.ts';
import { dataIdOf } from '../src/contracts/pool.ts';
import type { StepActivities, StepRequest } from '../src/contracts/steps.ts';
import { rssAnon, shrinkHeap } from '../src/engines/trino/heap.ts';
import { unloadQuery } from '../src/engines/trino/unload.ts';
import { fingerprintOf, handoffRef } from '../src/handoff/handoff-ref.ts';
import type { ActivityDeps } from './deps.ts';
import { keeping } from './keeping.ts';
import { type Attempt, leased, type Worked } from './leased.ts';

/** A server's memory is looked at this often while it works for us. */
const SAMPLE_MS = 500;

/** Unloads a query's rows into scratch, then has the server give its heap back. */
export function createTrinoActivities(deps: ActivityDeps): Pick<StepActivities, 'trinoQuery'> {
  return {
    trinoQuery: (request) =>
      leased(deps, request, (attempt) =>
        keeping(deps, request, attempt, trinoQuery(deps, request as StepRequest<TrinoQueryStep>, attempt)),
      ),
  };
}

async function trinoQuery(deps: ActivityDeps, request: StepRequest<TrinoQueryStep>, attempt: Attempt): Promise<Worked> {
  const { spec, run } = request;
  const name = spec.connection ?? 'default';
  const trino = deps.engines.trino(name);
  const memory = new ServerMemory(deps, name);
  const startedAtMs = Date.now();
  const usage = (verdict: string, of?: { bytes: number; rows: number; peakMemoryBytes: number }): StepUsage => ({
    peakBytes: memory.peakBytes ?? of?.peakMemoryBytes ?? 0,
    scratchPeakBytes: of?.bytes ?? 0,
    inputBytes: 0,
    outputBytes: of?.bytes ?? 0,
    rows: of?.rows ?? 0,
    seconds: (Date.now() - startedAtMs) / 1000,
    verdict,
  });
  try {
    const unloaded = await unloadQuery(trino, {
      attempt: { run, step: spec.step, token: attempt.token },
      sql: spec.sql,
      ...(spec.params ? { params: spec.params } : {}),
      lakeCatalog: deps.config.trino[name]!.lakeCatalog,
      scratch: deps.engines.scratch,
      scratchBytes: request.scratchBytes,
      queryMaxMemoryPerNodeBytes: deps.config.hardware.trino.maxMemoryPerNodeBytes,
      signal: attempt.signal,
      onProgress: (progress) => attempt.progress({ phase: 'running', ...progress }),
    });
    attempt.progress({ phase: 'giving heap back' });
    const proof = await memory.giveBack();
    return {
      proof,
      used: usage('ok', { ...unloaded, peakMemoryBytes: unloaded.stats.peakMemoryBytes }),
      output: handoffRef({
        choice: request.handoff!,
        parts: unloaded.parts,
        schema: unloaded.schema,
        host: deps.host,
        fingerprint: fingerprintOf({ sql: spec.sql, ...(spec.params ? { params: spec.params } : {}) }),
        dataId: dataIdOf(run, spec.step),
      }),
    };
  } catch (error) {
    attempt.ended({ proof: await memory.giveBack(), used: usage('failed') });
    throw error;
  } finally {
    memory.close();
  }
}

/** Memory of a resident server over its floor; nothing is known of an external one. */
class ServerMemory {
  readonly #pid: number | undefined;
  readonly #floorBytes: number;
  readonly #timer: NodeJS.Timeout | undefined;
  #peakBytes = 0;

  constructor(deps: ActivityDeps, name: string) {
    this.#pid = deps.engines.trinoPid(name);
    this.#floorBytes = deps.config.hardware.trino.floorBytes;
    if (this.#pid !== undefined) this.#timer = setInterval(() => void this.#sample(), SAMPLE_MS);
  }

  /** Highest seen over the floor, in bytes; undefined where it cannot be seen. */
  get peakBytes(): number | undefined {
    return this.#pid === undefined ? undefined : Math.max(0, this.#peakBytes - this.#floorBytes);
  }

  async #sample(): Promise<void> {
    this.#peakBytes = Math.max(this.#peakBytes, await rssAnon(this.#pid!).catch(() => 0));
  }

  /** Proof that the query is gone, with what the server did not give back. A server that is gone holds nothing. */
  async giveBack(): Promise<Proof> {
    let bytesLeft = 0;
    if (this.#pid !== undefined) {
      await this.#sample();
      const held = (): Promise<number> => rssAnon(this.#pid!).catch(() => 0); // a server that is gone holds nothing
      let heldBytes = await held();
      if (heldBytes > this.#floorBytes) {
        heldBytes = await shrinkHeap({ pid: this.#pid }).then(({ afterBytes }) => afterBytes, held);
      }
      bytesLeft = Math.max(0, heldBytes - this.#floorBytes);
    }
    return { kind: 'query-gone', atMs: Date.now(), bytesLeft };
  }

  close(): void {
    clearInterval(this.#timer);
  }
}

import { join } from 'node:path';
import type { HandoffRef } from '../src/contracts/handoff.ts';
import type { Proof, StepUsage } from '../src/contracts/pool.ts';
import { type DatafusionResult, prepareFifo, runDatafusion } from '../src/engines/datafusion/run-datafusion.ts';
import type { ActivityDeps } from './deps.ts';
import { attemptMs } from './leased.ts';

/** A container that decodes Parquet for a step that reads Arrow. */
export interface ParquetDecoder {
  /** Gets an Arrow IPC stream. */
  readonly fifo: string;
  /** Starts the container. The answer ends when `signal` does, and when the container fails: then nobody will ever write to the FIFO. */
  start(signal: AbortSignal): Promise<AbortSignal>;
  /** Waits for the container's end; stops it first when nobody reads any more. @throws what the container failed with */
  end(options?: { stop: boolean }): Promise<{ proof: Proof; used?: StepUsage }>;
}

/** What the container is lent, of the lease of the step that reads. */
export interface DecoderLease {
  run: string;
  step: string;
  token: number;
  pool: string;
  leaseId?: string;
  leaseBytes: number;
  scratchBytes: number;
  /** Directory of the attempt. */
  directory: string;
}

/** Parquet is decoded under the reading step's own lease and streams through a FIFO: not through this process. */
export function parquetDecoder(deps: ActivityDeps, lease: DecoderLease, ref: HandoffRef): ParquetDecoder {
  const { datafusion } = deps.engines;
  const { directory, ...lent } = lease;
  const fifo = join(directory, 'rows', 'rows.fifo');
  const stop = new AbortController();
  let decoding: Promise<DatafusionResult> | undefined;
  return {
    fifo,
    async start(signal) {
      await prepareFifo(fifo, datafusion.user);
      const both = AbortSignal.any([signal, stop.signal]);
      decoding = runDatafusion(datafusion, {
        ...lent,
        cpus: 1,
        inputs: { rows: ref },
        sql: 'select * from rows',
        output: { kind: 'fifo', path: fifo },
        attemptDir: directory,
        timeoutMs: attemptMs(),
        signal: both,
      });
      decoding.catch((error: unknown) => stop.abort(error));
      return both;
    },
    async end(options) {
      if (options?.stop) stop.abort(new Error('its reader has ended'));
      if (!decoding) return { proof: { kind: 'never-started', atMs: Date.now(), bytesLeft: 0 } };
      const { proof, used } = await decoding;
      return { proof, used };
    },
  };
}

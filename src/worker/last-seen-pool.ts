import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Client, WorkflowNotFoundError } from '@temporalio/client';
import type { ResolvedConfig } from '../config/resolved.ts';
import { poolWorkflowId } from '../contracts/pool.ts';

/** Remembers, over worker processes, which run of the pool was last alive: a pool that opens again must find its ledger. */
export class LastSeenPool {
  readonly #file: string;
  readonly #client: Client;
  readonly #pool: string;

  constructor(config: ResolvedConfig, client: Client) {
    const address = config.temporal.address.replace(/[^\w.-]/g, '_');
    this.#file = join(config.home, 'run', `pool-${config.pool.name}-${address}-${config.temporal.namespace}.run`);
    this.#client = client;
    this.#pool = config.pool.name;
  }

  runId(): string | undefined {
    try {
      return readFileSync(this.#file, 'utf8').trim() || undefined;
    } catch {
      return undefined; // no pool was ever seen from this home
    }
  }

  /** Looks which run is alive now, and writes it down. */
  async look(): Promise<void> {
    try {
      const { runId, status } = await this.#client.workflow.getHandle(poolWorkflowId(this.#pool)).describe();
      if (status.name !== 'RUNNING' || runId === this.runId()) return;
      mkdirSync(join(this.#file, '..'), { recursive: true });
      const aside = `${this.#file}.${process.pid}`;
      writeFileSync(aside, `${runId}\n`);
      renameSync(aside, this.#file);
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw error;
    }
  }
}

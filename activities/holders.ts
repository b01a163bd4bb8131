import { type Client, WorkflowNotFoundError } from '@temporalio/client';
import type { Holder } from '../src/contracts/pool.ts';
import { isAlive } from '../src/host/process-id.ts';

const isOpen = (status: string): boolean => status === 'RUNNING' || status === 'PAUSED';

/** Whether a holder is closed, or its process on this host dead. Of processes of other hosts nothing is said. */
export async function isGone(deps: { client: Client; host: string }, holder: Holder): Promise<boolean> {
  if (!('workflowId' in holder)) return holder.host === deps.host && !isAlive(holder.process);
  try {
    const { status } = await deps.client.workflow.getHandle(holder.workflowId, holder.runId).describe();
    return !isOpen(status.name);
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return true;
    throw error;
  }
}

/**
 * Whether a logical run is still under way. A reset run goes on with the work of the one before, so the newest run of the
 * workflow counts when it belongs to the same chain.
 */
export async function isRunLive(client: Client, workflowId: string, run: string): Promise<boolean> {
  try {
    const newest = await client.workflow.getHandle(workflowId).describe();
    if (!isOpen(newest.status.name)) return false;
    return newest.runId === run || newest.raw.workflowExecutionInfo?.firstRunId === run;
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return false;
    throw error;
  }
}

/** A run that visibility has never shown for this long is over; a young one may not be visible yet. */
const UNSEEN_MS = 60_000;

/** Tells of runs known by their id alone, as things left outside carry it, whether they are under way. */
export class RunLiveness {
  readonly #client: Client;
  readonly #workflowIds = new Map<string, string>();
  readonly #unseenSince = new Map<string, number>();

  constructor(client: Client) {
    this.#client = client;
  }

  /** @param knownSinceMs when something was first named after it. @defaultValue now */
  async isLive(run: string, nowMs = Date.now(), knownSinceMs = nowMs): Promise<boolean> {
    const workflowId = await this.#workflowOf(run);
    if (workflowId !== undefined) return isRunLive(this.#client, workflowId, run);
    const since = this.#unseenSince.get(run) ?? knownSinceMs;
    this.#unseenSince.set(run, since);
    return nowMs - since < UNSEEN_MS;
  }

  async #workflowOf(run: string): Promise<string | undefined> {
    const known = this.#workflowIds.get(run);
    if (known !== undefined) return known;
    if (!/^[0-9a-f-]{36}$/.test(run)) return undefined; // no run id: not to be put into a query
    for await (const { workflowId } of this.#client.workflow.list({ query: `RunId = '${run}'` })) {
      this.#workflowIds.set(run, workflowId);
      this.#unseenSince.delete(run);
      return workflowId;
    }
    return undefined;
  }
}

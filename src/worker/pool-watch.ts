import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import { isGone } from '../../activities/holders.ts';
import type { PoolClient } from '../../activities/pool-client.ts';
import { type Holder, runOfData } from '../contracts/pool.ts';
import { isAlive } from '../host/process-id.ts';
import type { DataLease, PoolState } from '../policy/pool/state.ts';

export interface WatchDeps {
  client: Client;
  pool: PoolClient;
  poolName: string;
  host: string;
  /** Called on every round; says limits and takes standing charges again where a new pool does not know them. */
  renew(ledger: PoolState | undefined): Promise<void>;
  /** Whether a logical run is still under way; a reset run goes on with the files of the one before. */
  isRunLive(workflowId: string, run: string): Promise<boolean>;
  /** Removes files whose run is over, and tells the pool. */
  dropData(data: DataLease[]): Promise<void>;
  onError(error: unknown): void;
}

const EVERY_MS = 3_000;
/** A step's next attempt comes by heartbeat timeout and takes its lease over; only one that stays away longer is looked after. */
const DEAD_PROCESS_GRACE_MS = 40_000;
/** Holders described in one round; the rest follows in the next ones. */
const HOLDERS_A_ROUND = 50;

/**
 * Looks, while a worker is up, whether those who hold or wait are still there, and tells the pool whom to look after.
 * It frees nothing itself, and costs no history as long as all is well.
 */
export async function watchPool(deps: WatchDeps, signal: AbortSignal): Promise<void> {
  const deadSince = new Map<string, number>();
  for (let from = 0; !signal.aborted;) {
    try {
      const ledger = await deps.pool.ledger(deps.poolName);
      await deps.renew(ledger);
      from = ledger && (await lookRound(deps, ledger, from, deadSince)) ? from + HOLDERS_A_ROUND : 0;
    } catch (error) {
      if (!signal.aborted) deps.onError(error);
    }
    await sleep(EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}

/** Answers whether there are holders past this round. */
async function lookRound(
  deps: WatchDeps,
  ledger: PoolState,
  from: number,
  deadSince: Map<string, number>,
): Promise<boolean> {
  const held = [...Object.values(ledger.leases), ...ledger.queue];
  const holders = new Map<string, Holder>();
  for (const { holder } of held) holders.set(holderKey(holder), holder);
  const keys = [...holders.keys()].slice(from, from + HOLDERS_A_ROUND);
  const gone = new Set<string>();
  await Promise.all(keys.map(async (key) => ((await isGone(deps, holders.get(key)!)) ? gone.add(key) : undefined)));

  for (const lease of [...Object.values(ledger.leases), ...ledger.queue]) {
    const { leaseId } = lease;
    if ('phase' in lease && lease.phase === 'ending') {
      await deps.pool.suspect(deps.poolName, { leaseId, because: 'its holder is done with it' });
    } else if (gone.has(holderKey(lease.holder))) {
      await deps.pool.suspect(deps.poolName, { leaseId, because: 'its holder is closed' });
    } else if ('begun' in lease && lease.begun?.host === deps.host && !isAlive(lease.begun.process)) {
      const since = deadSince.get(leaseId) ?? Date.now();
      deadSince.set(leaseId, since);
      if (Date.now() - since < DEAD_PROCESS_GRACE_MS) continue;
      await deps.pool.suspect(deps.poolName, { leaseId, because: `process ${lease.begun.process.pid} is gone` });
    } else deadSince.delete(leaseId);
  }
  await dropOrphans(deps, Object.values(ledger.data));
  return from + HOLDERS_A_ROUND < holders.size;
}

async function dropOrphans(deps: WatchDeps, data: DataLease[]): Promise<void> {
  const live = new Map<string, boolean>();
  for (const { dataId, holder } of data) {
    const run = runOfData(dataId);
    if (!live.has(run)) live.set(run, !('workflowId' in holder) || (await deps.isRunLive(holder.workflowId, run)));
  }
  const orphaned = data.filter(({ dataId }) => live.get(runOfData(dataId)) === false);
  if (orphaned.length > 0) await deps.dropData(orphaned);
}

const holderKey = (holder: Holder): string =>
  'workflowId' in holder
    ? `${holder.workflowId}/${holder.runId}`
    : `${holder.host}/${holder.process.pid}/${holder.process.startedAt}`;

import type { Client, Connection } from '@temporalio/client';
import type { WorkflowBundle } from '@temporalio/worker';
import { isRunLive } from '../../activities/holders.ts';
import {
  createActivities,
  createControlActivities,
  createRunnerActivities,
  PoolClient,
} from '../../activities/index.ts';
import type { ResolvedConfig } from '../config/resolved.ts';
import { TaskQueue } from '../contracts/pool.ts';
import type { CgroupTree, NoCgroups } from '../host/cgroup-tree.ts';
import { tmpfsFreeBytes } from '../host/tmpfs.ts';
import { openEngines } from './engines.ts';
import { HostJanitor } from './host-janitor.ts';
import { type HostShare, waitForHost } from './host-share.ts';
import { LastSeenPool } from './last-seen-pool.ts';
import type { Pollers } from './pollers.ts';
import { watchPool } from './pool-watch.ts';
import type { ReleaseStack } from './release-stack.ts';
import type { RunningWorker, WorkerHooks } from './running-worker.ts';
import { addSearchAttributes, probeSearchAttributes } from './search-attributes.ts';
import { StandingCharges } from './standing.ts';
import type { WorkerHost } from './worker-host.ts';

/** Sticky, as the pool's; a run may wait a little longer than the pool. */
const RUNS_STICKY = '5 seconds';
const CONTROL_SLOTS = 8;

/** A process that Temporal and its host have let in, and what it began to load. */
export interface Admitted {
  readonly cgroups: CgroupTree | NoCgroups;
  readonly client: Client;
  readonly connection: Connection;
  readonly host: WorkerHost;
  readonly share: HostShare;
  readonly pollers: Pollers;
  /** Polls the pool's queue when the answer is called. */
  readonly pool: Promise<() => void>;
  readonly workflows: Promise<WorkflowBundle>;
  /** Names of the user's transforms. */
  readonly transforms: Promise<readonly string[]>;
}

/**
 * Opens the engines of this host, charges the process to the pool, and polls its queues.
 * @throws SpillwayError `HostTaken`, `LeaseRefused`, `InvalidInput`
 */
export async function serveQueues(
  config: ResolvedConfig,
  { log, readSecret, signal }: WorkerHooks,
  { cgroups, client, connection, host, share, pollers, ...begun }: Admitted,
  stack: ReleaseStack,
): Promise<RunningWorker> {
  const engines = await openEngines(config, readSecret, cgroups);
  const pool = new PoolClient(client);
  const deps = { config, pool, client, engines, host: host.name, process: host.process };
  const lastSeen = new LastSeenPool(config, client);

  // Control acts and the pool come first: what a dead process held is freed by them, and this one's own charge may wait for it.
  await pollers.poll(TaskQueue.control(config.pool.name), {
    activities: createControlActivities({ ...deps, lastSeenRun: () => lastSeen.runId() }),
    maxConcurrentActivityTaskExecutions: CONTROL_SLOTS,
  });
  (await begun.pool)();

  const attributes = await probeSearchAttributes(connection, config.temporal.namespace);
  const runs = pollers.prepare(TaskQueue.WORKFLOWS, {
    workflowBundle: await begun.workflows,
    stickyQueueScheduleToStartTimeout: RUNS_STICKY,
    activities: createRunnerActivities({
      shmFreeBytes: tmpfsFreeBytes,
      ...{ config, pool, transforms: await begun.transforms },
      searchAttributes: attributes.present,
    }),
    enableNonLocalActivities: false,
  });
  runs.catch(() => undefined); // awaited once this process was charged

  const stopping = new AbortController();
  const state = { pollsHeavy: false };
  const standing = new StandingCharges(config, pool, host, engines, stopping.signal, log);
  if (share.kind === 'first') await standing.announce();
  signal?.throwIfAborted(); // nothing was charged yet
  const janitor = new HostJanitor(deps, cgroups, log);
  const watching = watchPool(
    {
      client,
      pool,
      poolName: config.pool.name,
      host: host.name,
      async renew(ledger) {
        const first = share.kind === 'first' || state.pollsHeavy;
        await standing.renew(ledger, first);
        await lastSeen.look();
        if (first) await janitor.round();
      },
      isRunLive: (workflowId, id) => isRunLive(client, workflowId, id),
      dropData: (data) => janitor.dropData(data),
      onError: (error) => log.warn(`watching the pool: ${error instanceof Error ? error.message : String(error)}`),
    },
    stopping.signal,
  );
  stack.push('the standing charges', () => standing.giveBack());
  stack.push('the watch', () => {
    stopping.abort(new Error('the worker stops'));
    return watching;
  });
  await standing.take();
  signal?.throwIfAborted();

  if (!attributes.present) {
    log.warn(
      `search attributes ${attributes.missing.join(', ')} are missing, so runs carry none; add them: ${addSearchAttributes(attributes.missing, config.temporal.namespace)}`,
    );
  }
  (await runs)();
  const activities = createActivities(deps);
  await pollers.poll(TaskQueue.light(config.pool.name), {
    activities,
    maxConcurrentActivityTaskExecutions: config.hardware.lightSlots,
  });

  const pollHeavy = async (): Promise<void> => {
    await pollers.poll(TaskQueue.heavy(config.pool.name), { activities, maxConcurrentActivityTaskExecutions: 1 });
    state.pollsHeavy = true;
  };
  if (share.kind === 'first') await pollHeavy();
  else void takeOver().catch((error: unknown) => (stopping.signal.aborted ? undefined : pollers.fail(error)));

  async function takeOver(): Promise<void> {
    const lock = await waitForHost(config, host.identity, stopping.signal);
    stack.push('the host lock', () => lock.release());
    log.info('the process that ran heavy steps is gone; this one takes its place');
    await standing.announce();
    await pollHeavy();
  }

  const stop = async (): Promise<void> => {
    stopping.abort(new Error('the worker stops'));
    pollers.drain(TaskQueue.heavy(config.pool.name), TaskQueue.light(config.pool.name), TaskQueue.WORKFLOWS);
    await stack.close();
  };
  return {
    client,
    get pollsHeavy() {
      return state.pollsHeavy;
    },
    failed: pollers.failed,
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

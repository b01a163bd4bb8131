import type { Client } from '@temporalio/client';
import { isRunLive } from '../../activities/holders.ts';
import {
  createActivities,
  createControlActivities,
  createRunnerActivities,
  PoolClient,
} from '../../activities/index.ts';
import { workerStandingBytes } from '../config/plan-facts.ts';
import type { ResolvedConfig } from '../config/resolved.ts';
import { TaskQueue } from '../contracts/pool.ts';
import { listTransforms } from '../engines/transform/run-transform.ts';
import { transformModule } from '../engines/transform/transform-module.ts';
import { bundlePool, bundleWorkflows } from './bundles.ts';
import { connect, connectWorkers } from './connect.ts';
import { openEngines, type SecretReader } from './engines.ts';
import { HostJanitor } from './host-janitor.ts';
import { LastSeenPool } from './last-seen-pool.ts';
import { shareHost, waitForHost } from './host-share.ts';
import { Pollers } from './pollers.ts';
import { watchPool } from './pool-watch.ts';
import { ReleaseStack } from './release-stack.ts';
import { addSearchAttributes, probeSearchAttributes } from './search-attributes.ts';
import { StandingCharges } from './standing.ts';
import { joinWorkerGroup } from './worker-group.ts';
import { openHost } from './worker-host.ts';
import type { WorkerLog } from './worker-log.ts';
import { openCgroupTree } from '../host/cgroup-tree.ts';
import { ownProcessId } from '../host/process-id.ts';
import { tmpfsFreeBytes } from '../host/tmpfs.ts';

/** What a worker needs of the program around it. */
export interface WorkerHooks {
  log: WorkerLog;
  /** Reads secrets on this host; see `readSecret`. */
  readSecret: SecretReader;
}

/**
 * How long Temporal waits for the process that has a workflow in its cache, before it gives the next task to another one. Whoever takes the place of a worker that is gone waits as
 * long for the pool: 10 s by default.
 */
const STICKY = { pool: '2 seconds', runs: '5 seconds' } as const;

/** A worker process's Workers, and how to stop them. */
export interface RunningWorker extends AsyncDisposable {
  readonly client: Client;
  /** True once this process polls the heavy queue of its host. */
  readonly pollsHeavy: boolean;
  /** Rejects when a Worker fails; never resolves. */
  readonly failed: Promise<never>;
  /**
   * Stops taking work, lets running steps go on until the drain deadline, then cancels them, gives back what the process was
   * charged, and closes. Calling it again waits for the same end.
   */
  stop(): Promise<void>;
}

const CONTROL_SLOTS = 8;

/**
 * Starts everything that one process polls: runs, light steps, control acts, the pool, and heavy steps when it is the
 * first process on this host.
 * @throws SpillwayError `EngineUnreachable`, `HostTaken`, `LeaseRefused`
 */
export async function startWorker(config: ResolvedConfig, options: WorkerHooks): Promise<RunningWorker> {
  const stack = new ReleaseStack();
  try {
    return await open(config, options, stack);
  } catch (error) {
    await stack.close().catch((closing: unknown) => options.log.warn(String(closing)));
    throw error;
  }
}

async function open(
  config: ResolvedConfig,
  { log, readSecret }: WorkerHooks,
  stack: ReleaseStack,
): Promise<RunningWorker> {
  const cgroups = await openCgroupTree();
  const { poolBytes } = config.hardware;
  const own = { pool: config.pool.name, poolBytes, process: ownProcessId(), bytes: workerStandingBytes(config.hardware) }; // prettier-ignore
  // First, as what is taken before counts elsewhere, and so it is left last.
  stack.push('the memory group', await joinWorkerGroup(cgroups, own, log));

  const { client, connection } = await connect(config.temporal);
  stack.push('the client', () => connection.close());
  const native = await connectWorkers(config.temporal);
  stack.push('the connection', () => native.close());

  const host = await openHost(config, client, connection);
  const share = await shareHost(config, host.identity);
  if (share.kind === 'first') stack.push('the host lock', () => share.lock.release());
  else log.info(`joined pool ${config.pool.name}: process ${share.holder.pid} runs the heavy steps of this host`);

  const bundles = Promise.all([bundlePool(config), bundleWorkflows(config)]);
  bundles.catch(() => undefined); // awaited below, after what is quicker
  const module = transformModule(config);
  const transforms = module === undefined ? Promise.resolve([]) : listTransforms(module);
  transforms.catch(() => undefined);
  const engines = await openEngines(config, readSecret, cgroups);
  const pool = new PoolClient(client);
  const deps = { config, pool, client, engines, host: host.name, process: host.process };

  const lastSeen = new LastSeenPool(config, client);

  const pollers = new Pollers(config, native, stack);

  const [poolBundle, workflowBundle] = await bundles;
  const attributes = await probeSearchAttributes(connection, config.temporal.namespace);
  const runs = pollers.prepare(TaskQueue.WORKFLOWS, {
    workflowBundle,
    stickyQueueScheduleToStartTimeout: STICKY.runs,
    activities: createRunnerActivities({
      shmFreeBytes: tmpfsFreeBytes,
      ...{ config, pool, transforms: await transforms },
      searchAttributes: attributes.present,
    }),
    enableNonLocalActivities: false,
  });
  runs.catch(() => undefined); // awaited once this process was charged
  // Control acts and the pool come first: what a dead process held is freed by them, and this one's own charge may wait for it.
  await pollers.poll(TaskQueue.control(config.pool.name), {
    activities: createControlActivities({ ...deps, lastSeenRun: () => lastSeen.runId() }),
    maxConcurrentActivityTaskExecutions: CONTROL_SLOTS,
  });
  await pollers.poll(TaskQueue.POOL, { workflowBundle: poolBundle, stickyQueueScheduleToStartTimeout: STICKY.pool });

  const stopping = new AbortController();
  const state = { pollsHeavy: false };
  const standing = new StandingCharges(config, pool, host, engines, stopping.signal, log);
  if (share.kind === 'first') await standing.announce();
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

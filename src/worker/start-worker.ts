import type { ResolvedConfig } from '../config/resolved.ts';
import { workerStandingBytes } from '../config/plan-facts.ts';
import { TaskQueue } from '../contracts/pool.ts';
import { abortable } from '../engines/abortable.ts';
import { listTransforms } from '../engines/transform/run-transform.ts';
import { transformModule } from '../engines/transform/transform-module.ts';
import { openCgroupTree } from '../host/cgroup-tree.ts';
import { ownProcessId } from '../host/process-id.ts';
import { bundlePool, bundleWorkflows } from './bundles.ts';
import { connect, connectWorkers } from './connect.ts';
import { shareHost } from './host-share.ts';
import { Pollers } from './pollers.ts';
import { ReleaseStack } from './release-stack.ts';
import type { RunningWorker, WorkerHooks } from './running-worker.ts';
import { joinWorkerGroup } from './worker-group.ts';
import { openHost } from './worker-host.ts';

/**
 * How long Temporal waits for the process that has a workflow in its cache, before it gives the next task to another one. Whoever takes the place of a worker that is gone waits as
 * long for the pool: 10 s by default.
 */
const POOL_STICKY = '2 seconds';

/**
 * Starts everything that one process polls: runs, light steps, control acts, the pool, and heavy steps when it is the
 * first process on this host.
 * @throws SpillwayError `EngineUnreachable`, `HostTaken`, `LeaseRefused`
 * @throws the reason of the signal when that aborts before the worker polls; what it had begun is closed then, and what it was charged given back
 */
export async function startWorker(config: ResolvedConfig, options: WorkerHooks): Promise<RunningWorker> {
  const stack = new ReleaseStack();
  try {
    return await abortable(open(config, options, stack), options.signal);
  } catch (error) {
    await stack.close().catch((closing: unknown) => options.log.warn(String(closing)));
    throw error;
  }
}

async function open(config: ResolvedConfig, hooks: WorkerHooks, stack: ReleaseStack): Promise<RunningWorker> {
  const { log, signal } = hooks;
  const cgroups = await openCgroupTree();
  const { poolBytes } = config.hardware;
  const own = { pool: config.pool.name, poolBytes, process: ownProcessId(), bytes: workerStandingBytes(config.hardware) }; // prettier-ignore
  // First, as what is taken before counts elsewhere, and so it is left last.
  stack.push('the memory group', await joinWorkerGroup(cgroups, own, log));

  const [linked, native] = [connect(config.temporal), connectWorkers(config.temporal)];
  stack.push('the client', () => linked.then((it) => it.connection.close(), () => undefined)); // prettier-ignore
  stack.push('the connection', () => native.then((it) => it.close(), () => undefined)); // prettier-ignore
  const [{ client, connection }, polling] = await Promise.all([linked, native]);

  const host = await openHost(config, client, connection);
  signal?.throwIfAborted();
  const share = await shareHost(config, host.identity);
  if (share.kind === 'first') stack.push('the host lock', () => share.lock.release());
  else log.info(`joined pool ${config.pool.name}: process ${share.holder.pid} runs the heavy steps of this host`);

  // The threads of workflows load on a core of their own; engines and what steps do are loaded meanwhile.
  const pollers = new Pollers(config, polling, stack);
  const pool = bundlePool(config).then((workflowBundle) =>
    pollers.prepare(TaskQueue.POOL, { workflowBundle, stickyQueueScheduleToStartTimeout: POOL_STICKY }),
  );
  const workflows = bundleWorkflows(config, signal);
  const module = transformModule(config);
  const transforms = module === undefined ? Promise.resolve([]) : listTransforms(module, { signal });
  for (const begun of [pool, workflows, transforms]) begun.catch(() => undefined); // awaited there
  const { serveQueues } = await import('./serve-queues.ts');
  signal?.throwIfAborted();
  const opened = { cgroups, client, connection, host, share, pollers, pool, workflows, transforms };
  return serveQueues(config, hooks, opened, stack);
}

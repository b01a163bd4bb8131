import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Context } from '@temporalio/activity';
import { Client } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime, Worker, type WorkerOptions } from '@temporalio/worker';
import { leased, noUsage } from '../../activities/leased.ts';
import { createLedgerActivities } from '../../activities/ledger.ts';
import type { HandoffRef } from '../../src/contracts/handoff.ts';
import type { PlanRequest } from '../../src/contracts/plan.ts';
import { dataIdOf, type Proof, TaskQueue } from '../../src/contracts/pool.ts';
import type { DropRequest, RunnerActivities, StepRequest, StepResult } from '../../src/contracts/steps.ts';
import { ownProcessId } from '../../src/host/process-id.ts';
import { temporalCli } from '../../src/provision/temporal-cli.ts';
import { bundlePool, bundleWorkflows } from '../../src/worker/bundles.ts';
import type { BenchOrder } from '../bench.ts';
import { startDevServer } from './dev-server.ts';
import { POOL, POOL_BYTES, type StepJob, stepPlan } from './step-plan.ts';
import { TimedPool } from './timed-pool.ts';

/** Queue of plain steps, one at a time. */
export const PLAIN_QUEUE = 'plain';

export interface PlainActivities {
  plainStep(request: { workMs: number }): Promise<void>;
}

/** A Temporal server and all Workers of a pool, with steps that do nothing. */
export interface Stage {
  readonly client: Client;
  readonly pool: TimedPool;
  /** Workflow id → when each step's activity started, in milliseconds. */
  readonly starts: Map<string, number[]>;
  readonly serverVersion: string;
  close(): Promise<void>;
}

const unlinked = (): Proof => ({ kind: 'unlinked', atMs: Date.now(), bytesLeft: 0 });

/** Starts a development server in memory, with the settings of `spillway up`, and the Workers. */
export async function openStage({ config, env: environment, say }: BenchOrder): Promise<Stage> {
  Runtime.install({ logger: new DefaultLogger('ERROR'), shutdownSignals: [] });
  const cli = await temporalCli(join(config.home, 'cache'), environment, ({ text }) => say(text));
  const server = await startDevServer(cli.path);
  const closers: (() => Promise<unknown>)[] = [() => server.stop()];
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0).reverse()) await closer();
  };
  try {
    const native = await NativeConnection.connect({ address: server.address });
    closers.push(() => native.close());
    const client = new Client({ connection: server.connection });
    const pool = new TimedPool(client);
    const starts = new Map<string, number[]>();
    const module = fileURLToPath(
      new URL(`./workflows${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url),
    );
    const [poolBundle, workflowBundle] = await Promise.all([
      bundlePool(config),
      bundleWorkflows({ ...config, workflows: module }),
    ]);
    const poll = async (taskQueue: string, options: Omit<WorkerOptions, 'taskQueue'>): Promise<void> => {
      const worker = await Worker.create({
        connection: native,
        taskQueue,
        ...options,
      });
      const ended = worker.run();
      closers.push(async () => {
        worker.shutdown();
        await ended;
      });
    };
    const steps = stepActivities(pool, starts);
    await poll(TaskQueue.POOL, { workflowBundle: poolBundle });
    await poll(TaskQueue.control(POOL), {
      activities: {
        ...createLedgerActivities({ client, lastSeenRun: () => undefined }),
        dropHandoffs: async ({ dataIds }: DropRequest) => {
          await pool.drop(
            POOL,
            dataIds.map((dataId) => ({ dataId, proof: unlinked() })),
          );
          return { bytes: 0 };
        },
      },
    });
    const runner: RunnerActivities = {
      planRun: async (request: PlanRequest) => stepPlan((request as { job: StepJob }).job),
      acquire: (request) => pool.acquire(request.pool, request.ask),
      endLeases: (request) => pool.end(request.pool, request.ends),
      withdrawLeases: (request) => pool.withdraw(request.pool, request.withdraws),
    };
    await poll(TaskQueue.WORKFLOWS, { workflowBundle, activities: runner, enableNonLocalActivities: false });
    await poll(TaskQueue.heavy(POOL), { activities: steps, maxConcurrentActivityTaskExecutions: 1 });
    // More than fit: what runs at once is the pool's affair here.
    await poll(TaskQueue.light(POOL), { activities: steps, maxConcurrentActivityTaskExecutions: 100 });
    await poll(PLAIN_QUEUE, { activities: steps, maxConcurrentActivityTaskExecutions: 1 });
    await pool.announce(POOL, {
      host: 'bench',
      limitBytes: POOL_BYTES,
      scratchLimitBytes: POOL_BYTES,
      evidence: { alive: [], cgroup: 'none', runtime: 'process' },
    });
    const { serverVersion } = await server.connection.workflowService.getSystemInfo({});
    return { client, pool, starts, serverVersion: serverVersion ?? 'unknown', close };
  } catch (error) {
    await close();
    throw error;
  }
}

function stepActivities(
  pool: TimedPool,
  starts: Map<string, number[]>,
): PlainActivities & { datafusionSql(request: StepRequest): Promise<StepResult> } {
  const process = ownProcessId();
  const note = (): void => {
    const { workflowId } = Context.current().info.workflowExecution!;
    const list = starts.get(workflowId) ?? [];
    starts.set(workflowId, [...list, performance.now()]);
  };
  return {
    async plainStep({ workMs }) {
      note();
      if (workMs > 0) await sleep(workMs);
    },
    datafusionSql(request) {
      note();
      return leased({ pool, host: 'bench', process }, request, async () => {
        const workMs = 'sql' in request.spec ? Number(/\d+/.exec(request.spec.sql)?.[0] ?? 0) : 0;
        if (workMs > 0) await sleep(workMs);
        return { proof: unlinked(), used: noUsage(0, 'ok'), output: nothing(dataIdOf(request.run, request.spec.step)) };
      });
    },
  };
}

/** The address of no rows: as large in the history as any other. */
const nothing = (dataId: string): HandoffRef => ({
  mode: 'arrow',
  because: 'a step of the bench writes nothing',
  parts: [],
  schema: [{ name: 'shipdate', type: 'Date32<DAY>', nullable: true }],
  rows: 0,
  bytes: 0,
  host: 'bench',
  dataId,
  fingerprint: dataId,
});

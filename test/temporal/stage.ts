// Long, because it is the whole wiring of a worker, in the order of `startWorker`, and what tests do with it.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client, WorkflowHandle } from '@temporalio/client';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { DefaultLogger, Runtime } from '@temporalio/worker';
import { createControlActivities, createRunnerActivities, PoolClient } from '../../activities/index.ts';
import { isRunLive } from '../../activities/holders.ts';
import type { ResolvedConfig } from '../../src/config/resolved.ts';
import type { Demote, Demoted, PoolStatus, Proof } from '../../src/contracts/pool.ts';
import { poolWorkflowId, TaskQueue } from '../../src/contracts/pool.ts';
import { RUN_REPORT_QUERY, type RunReport } from '../../src/contracts/report.ts';
import type { DropRequest, ReconcileRequest } from '../../src/contracts/steps.ts';
import { checkpointLimits } from '../../src/config/checkpoint-limits.ts';
import { openCheckpoints } from '../../src/handoff/checkpoints.ts';
import { transformGroups } from '../../src/engines/transform/transform-groups.ts';
import { openScratch } from '../../src/handoff/scratch-ledger.ts';
import { ownProcessId } from '../../src/host/process-id.ts';
import type { Engines } from '../../src/worker/engines.ts';
import { LastSeenPool } from '../../src/worker/last-seen-pool.ts';
import { Pollers } from '../../src/worker/pollers.ts';
import { watchPool } from '../../src/worker/pool-watch.ts';
import { ReleaseStack } from '../../src/worker/release-stack.ts';
import { StandingCharges } from '../../src/worker/standing.ts';
import { poolBundle, stageBundle } from './stage-bundles.ts';
import { HOST, stageConfig, type StageOptions } from './stage-config.ts';
import { StepDoubles } from './step-doubles.ts';
import { clientOf, temporalServer } from './temporal-server.ts';

/** Control acts that were asked for. */
export interface ControlActs {
  drops: DropRequest[];
  /** Rows are moved at once, unless a test says what else becomes of them. */
  demotions: Demote[];
  onDemote?: (request: Demote) => Demoted;
  reconciles: ReconcileRequest[];
  /** Engines that were asked for what they kept; all of it comes back, unless a test says how many bytes stay. */
  evictions: string[];
  onEvict?: (engine: string) => number;
}

/** Handle of a run whose result is `T`. */
export type Run<T = unknown> = WorkflowHandle<() => Promise<T>>;

/**
 * A worker on a real Temporal server, wired as `startWorker` wires it: the pool on a Worker of its own, runs on theirs, the watch.
 * Only what steps do is a double, and what is outside: there are no containers, Trinos or tables to look for.
 */
export class Stage {
  readonly env: TestWorkflowEnvironment;
  readonly client: Client;
  readonly config: ResolvedConfig;
  readonly pool: PoolClient;
  readonly steps = new StepDoubles();
  readonly control: ControlActs = { drops: [], demotions: [], reconciles: [], evictions: [] };
  readonly #stack = new ReleaseStack();
  #stepWorkers = new ReleaseStack();
  #serial = 0;

  private constructor(env: TestWorkflowEnvironment, config: ResolvedConfig) {
    this.env = env;
    this.config = config;
    this.client = clientOf(env);
    this.pool = new PoolClient(this.client);
  }

  /** Starts server, pool and Workers; call it once per file, it takes some seconds. */
  static async open(options: StageOptions): Promise<Stage> {
    silenceTemporal();
    const home = await mkdtemp(join(tmpdir(), 'spillway-stage-'));
    const env = await temporalServer();
    const stage = new Stage(env, stageConfig(options, env.address, home));
    stage.#stack.push('the home', () => rm(home, { recursive: true, force: true }));
    stage.#stack.push('the server', () => env.teardown());
    await stage.#start(options).catch(async (error: unknown) => {
      await stage.close();
      throw error;
    });
    return stage;
  }

  async #start({ poolContinuesAfterEvents, shmFreeBytes = 0 }: StageOptions): Promise<void> {
    const { config, pool, client } = this;
    const poolName = config.pool.name;
    const [ofPool, workflowBundle] = await Promise.all([poolBundle(), stageBundle(config)]);
    const pollers = new Pollers(config, this.env.nativeConnection, this.#stack);
    const process = ownProcessId();
    const engines = await this.#engines();
    const lastSeen = new LastSeenPool(config, client);
    const control = createControlActivities({
      ...{ pool, client, engines, process, host: HOST, lastSeenRun: () => lastSeen.runId() },
      config: { ...config, trino: {}, postgres: {} }, // nobody to ask for what was left
    });
    await pollers.poll(TaskQueue.control(poolName), {
      activities: {
        ...control,
        dropHandoffs: (request: DropRequest) => {
          this.control.drops.push(request);
          return control.dropHandoffs(request);
        },
        demoteRows: async (request: Demote): Promise<Demoted> => {
          this.control.demotions.push(request);
          const { dataId, token, scratchBytes } = request;
          return (
            this.control.onDemote?.(request) ?? { dataId, token, outcome: 'moved', scratchBytes, because: 'a double' }
          );
        },
        evictEngine: async ({ engine }: { engine: string }): Promise<Proof> => {
          this.control.evictions.push(engine);
          return { kind: 'query-gone', atMs: Date.now(), bytesLeft: this.control.onEvict?.(engine) ?? 0 };
        },
        reconcile: (request: ReconcileRequest) => {
          this.control.reconciles.push(request);
          return control.reconcile(request);
        },
      },
      maxConcurrentActivityTaskExecutions: 8,
    });
    await pollers.poll(TaskQueue.POOL, { workflowBundle: ofPool });
    if (poolContinuesAfterEvents !== undefined) {
      const args = [{ pool: poolName, continueAfterEvents: poolContinuesAfterEvents }];
      await client.workflow.start('memoryPool', {
        workflowId: poolWorkflowId(poolName),
        taskQueue: TaskQueue.POOL,
        args,
      });
    }
    const stopping = new AbortController();
    const log = { info: () => undefined, warn: () => undefined };
    const standing = new StandingCharges(
      config,
      pool,
      { name: HOST, process, identity: undefined as never },
      engines,
      stopping.signal,
      log,
    );
    await standing.announce();
    await standing.take();
    const watching = watchPool(
      {
        ...{ client, pool, poolName, host: HOST },
        renew: async (ledger) => {
          await standing.renew(ledger, true);
          await lastSeen.look();
        },
        isRunLive: (workflowId, run) => isRunLive(client, workflowId, run),
        dropData: async (data) => {
          for (const { dataId } of data)
            await pool.drop(poolName, [{ dataId, proof: { kind: 'unlinked', atMs: Date.now(), bytesLeft: 0 } }]);
        },
        onError: () => undefined,
      },
      stopping.signal,
    );
    this.#stack.push('the watch', () => {
      stopping.abort(new Error('the test is over'));
      return watching;
    });
    await pollers.poll(TaskQueue.WORKFLOWS, {
      workflowBundle,
      activities: createRunnerActivities({
        config,
        pool,
        searchAttributes: true,
        shmFreeBytes: async () => shmFreeBytes,
      }),
      enableNonLocalActivities: false,
    });
    this.#stack.push('the step Workers', () => this.stopStepWorkers());
    await this.startStepWorkers();
  }

  /** Polls the heavy and the light queue. */
  async startStepWorkers(): Promise<void> {
    this.#stepWorkers = new ReleaseStack();
    const { config } = this;
    const pollers = new Pollers(config, this.env.nativeConnection, this.#stepWorkers);
    const activities = this.steps.activities({ pool: this.pool, host: HOST, process: ownProcessId() });
    await pollers.poll(TaskQueue.heavy(config.pool.name), { activities, maxConcurrentActivityTaskExecutions: 1 });
    await pollers.poll(TaskQueue.light(config.pool.name), {
      activities,
      maxConcurrentActivityTaskExecutions: config.hardware.lightSlots,
    });
  }

  /** Stops polling for steps, as a worker does that is told to: what runs is cancelled after the drain deadline. */
  stopStepWorkers(): Promise<void> {
    return this.#stepWorkers.close();
  }

  /** Nothing of ours is alive outside. */
  async #engines(): Promise<Engines> {
    const none = (): never => {
      throw new Error('no test needs it');
    };
    const scratch = await openScratch({ root: this.config.scratch });
    return {
      scratch,
      checkpoints: openCheckpoints(scratch, checkpointLimits(this.config)),
      containers: {
        runStep: none,
        listByLabels: async () => [],
        removeByLabels: async () => [],
        removeGroups: async () => undefined,
      } as unknown as Engines['containers'],
      datafusion: {} as Engines['datafusion'],
      transformGroups: transformGroups({ version: 'none', because: 'a double' }, 0),
      trino: none,
      trinoPid: () => undefined,
      token: none,
      postgres: none,
      evidence: async () => ({ alive: [], cgroup: 'none', runtime: 'process' }),
    };
  }

  /** Starts a run, as `temporal workflow start` does. */
  start<T = unknown>(type: string, ...args: unknown[]): Promise<Run<T>> {
    this.#serial += 1;
    const options = { workflowId: `${type}-${this.#serial}`, taskQueue: TaskQueue.WORKFLOWS, args };
    return this.client.workflow.start(type, options);
  }

  /** Starts a run and waits for its end. */
  async run<T = unknown>(type: string, ...args: unknown[]): Promise<T> {
    return (await this.start<T>(type, ...args)).result();
  }

  report(handle: Pick<WorkflowHandle, 'query'>): Promise<RunReport> {
    return handle.query<RunReport>(RUN_REPORT_QUERY);
  }

  /** Handle of the pool's workflow. */
  get poolHandle(): WorkflowHandle {
    return this.client.workflow.getHandle(poolWorkflowId(this.config.pool.name));
  }

  async status(): Promise<PoolStatus> {
    const answered = (status: PoolStatus | undefined): boolean => status !== undefined;
    return (await eventually('the pool answers', () => this.pool.status(this.config.pool.name), answered))!;
  }

  /** Continues a run from the workflow task it completed last, or first, or in an event, as `temporal workflow reset` does. */
  async reset(handle: WorkflowHandle, from: 'last' | 'first' | { eventId: unknown } = 'last'): Promise<WorkflowHandle> {
    const { runId } = await handle.describe();
    const { events } = await handle.fetchHistory();
    const tasks = events!.filter((event) => event.workflowTaskCompletedEventAttributes);
    const task =
      typeof from === 'object'
        ? tasks.find(({ eventId }) => String(eventId) === String(from.eventId))!
        : tasks.at(from === 'last' ? -1 : 0)!;
    const answer = await this.client.workflowService.resetWorkflowExecution({
      namespace: 'default',
      workflowExecution: { workflowId: handle.workflowId, runId },
      reason: 'a test',
      requestId: `reset of ${runId}`,
      workflowTaskFinishEventId: task.eventId!,
    });
    return this.client.workflow.getHandle(handle.workflowId, answer.runId);
  }

  /** The pool once it lends nothing but standing charges and keeps no data; fails when something stays. */
  idle(withinMs = 30_000): Promise<PoolStatus> {
    const atRest = ({ leases, queue }: PoolStatus): boolean =>
      queue.length === 0 && leases.every(({ kind }) => kind === 'standing');
    return eventually('the pool is at its standing charges', () => this.status(), atRest, withinMs);
  }

  /** Stops everything; runs that are under way are left to the server, which goes too. */
  close(): Promise<void> {
    return this.#stack.close();
  }
}

let silenced = false;
/** Failures are asserted on, not read in the log. */
export function silenceTemporal(): void {
  if (!silenced)
    Runtime.install({
      logger: new DefaultLogger('ERROR', () => undefined),
      telemetryOptions: { logging: { filter: 'OFF' } },
    });
  silenced = true;
}

/** Looks again until what is seen is right; the failure shows what was seen last. */
export async function eventually<T>(
  what: string,
  look: () => Promise<T>,
  right: (seen: T) => boolean,
  withinMs = 30_000,
): Promise<T> {
  for (const until = Date.now() + withinMs; ;) {
    const seen = await look();
    if (right(seen)) return seen;
    if (Date.now() > until)
      throw new Error(`not within ${withinMs} ms: ${what}; last seen ${JSON.stringify(seen, undefined, 1)}`);
    await sleep(25);
  }
}

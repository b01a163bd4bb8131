import { type NativeConnection, Worker, type WorkerOptions } from '@temporalio/worker';
import type { ResolvedConfig } from '../config/resolved.ts';
import type { ReleaseStack } from './release-stack.ts';

/** Cancellation rides on heartbeats: it reaches a step within this time. */
const HEARTBEAT_THROTTLE = '2 seconds';
/** Steps that ignore their cancellation are given up after this long past the drain deadline. */
const FORCE_AFTER_MS = 60_000;

/** The Workers of one process, one per task queue, each closed by the stack. */
export class Pollers {
  readonly #config: ResolvedConfig;
  readonly #connection: NativeConnection;
  readonly #stack: ReleaseStack;
  readonly #workers = new Map<string, Worker>();
  /** Rejects when a Worker fails; never resolves. */
  readonly failed: Promise<never>;
  #reject!: (error: unknown) => void;

  constructor(config: ResolvedConfig, connection: NativeConnection, stack: ReleaseStack) {
    this.#config = config;
    this.#connection = connection;
    this.#stack = stack;
    this.failed = new Promise((_resolve, reject) => (this.#reject = reject));
    this.failed.catch(() => undefined); // nobody has to watch
  }

  /** Starts to poll a queue. */
  async poll(taskQueue: string, options: Omit<WorkerOptions, 'taskQueue'>): Promise<void> {
    (await this.prepare(taskQueue, options))();
  }

  /** Loads what a queue's Worker needs, which may take a while; polls it when the answer is called. */
  async prepare(taskQueue: string, options: Omit<WorkerOptions, 'taskQueue'>): Promise<() => void> {
    const creating = Worker.create({
      connection: this.#connection,
      namespace: this.#config.temporal.namespace,
      taskQueue,
      shutdownGraceTime: this.#config.drainMs,
      shutdownForceTime: this.#config.drainMs + FORCE_AFTER_MS,
      maxHeartbeatThrottleInterval: HEARTBEAT_THROTTLE,
      defaultHeartbeatThrottleInterval: HEARTBEAT_THROTTLE,
      ...options,
    });
    let ended: Promise<void> | undefined;
    this.#stack.push(taskQueue, async () => {
      const worker = await creating.catch(() => undefined); // told by who prepares it
      this.drain(taskQueue);
      // One that never ran lets go of its connection only by running.
      await (ended ?? worker?.runUntil(async () => undefined))?.catch(() => undefined); // told by `failed`
    });
    const worker = await creating;
    this.#workers.set(taskQueue, worker);
    return () => {
      ended = worker.run();
      ended.catch((error: unknown) => this.fail(error));
    };
  }

  /** Stops taking work from queues; what runs goes on until the drain deadline. */
  drain(...taskQueues: string[]): void {
    for (const taskQueue of taskQueues) {
      const worker = this.#workers.get(taskQueue);
      if (worker?.getState() === 'RUNNING') worker.shutdown();
    }
  }

  fail(error: unknown): void {
    this.#reject(error);
  }
}

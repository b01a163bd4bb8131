import type { Workflow } from '@temporalio/common';
import {
  type Client,
  isGrpcServiceError,
  QueryNotRegisteredError,
  ServiceError,
  WithStartWorkflowOperation,
  WorkflowNotFoundError,
  WorkflowUpdateRPCTimeoutOrCancelledError,
} from '@temporalio/client';
import type {
  Announce,
  AnnounceAnswer,
  Answer,
  Ask,
  Begin,
  BeginAnswer,
  Drop,
  End,
  Operate,
  OperateAnswer,
  PoolStatus,
  StepHistory,
  Suspect,
  Withdraw,
} from '../src/contracts/pool.ts';
import { PoolMessage, poolWorkflowId, TaskQueue } from '../src/contracts/pool.ts';
import type { PoolState } from '../src/policy/pool/state.ts';

/** A reply that takes longer is given up, and the message is sent again as a signal that cannot be lost. */
const REPLY_MS = 2_000;
/** `begin` has no signal to fall back on: it waits for a pool that is being revived. */
const BEGIN_MS = 30_000;

/** The server did not answer in time, or nobody behind it did. */
const isServiceTrouble = (error: unknown): boolean => error instanceof ServiceError || isGrpcServiceError(error);

/** How the pool's workflow is named and started, wherever a message finds none running. */
const poolStart = (pool: string) =>
  ({ workflowId: poolWorkflowId(pool), taskQueue: TaskQueue.POOL, args: [{ pool }] }) as const;

/** Says everything that is said to a pool. A pool that is not running is started by whatever is said to it. */
export class PoolClient {
  readonly #client: Client;
  constructor(client: Client) {
    this.#client = client;
  }

  /** Asks for a lease; on any error the ask goes as a signal, and the answer comes as one. */
  async acquire(pool: string, ask: Ask): Promise<Answer> {
    try {
      return await this.#update<Answer, Ask>(pool, PoolMessage.ACQUIRE, ask, REPLY_MS);
    } catch {
      await this.#signal(pool, PoolMessage.ACQUIRE, ask);
      return { kind: 'queued', ahead: -1, because: 'asked by signal; the answer comes by signal' };
    }
  }

  async begin(pool: string, begin: Begin): Promise<BeginAnswer> {
    return this.#updateWithStart<BeginAnswer, Begin>(pool, PoolMessage.BEGIN, begin, BEGIN_MS);
  }

  async announce(pool: string, announce: Announce): Promise<AnnounceAnswer> {
    return this.#updateWithStart<AnnounceAnswer, Announce>(pool, PoolMessage.ANNOUNCE, announce, BEGIN_MS);
  }

  async end(pool: string, ends: End[]): Promise<void> {
    try {
      await this.#update<void, End[]>(pool, PoolMessage.END, ends, REPLY_MS);
    } catch {
      await this.#signal(pool, PoolMessage.END, ends);
    }
  }

  async withdraw(pool: string, withdraws: Withdraw[]): Promise<void> {
    await this.#signal(pool, PoolMessage.WITHDRAW, withdraws);
  }

  /** Of a run's datasets together: each message costs the pool a workflow task. */
  async drop(pool: string, drops: Drop | Drop[]): Promise<void> {
    if ([drops].flat().length > 0) await this.#signal(pool, PoolMessage.DROP, drops);
  }

  async suspect(pool: string, suspect: Suspect): Promise<void> {
    await this.#signal(pool, PoolMessage.SUSPECT, suspect);
  }

  /** Says what an operator wants, to a pool that runs. @throws WorkflowNotFoundError when none does */
  async operate(pool: string, operate: Operate): Promise<OperateAnswer> {
    return this.#update<OperateAnswer, Operate>(pool, PoolMessage.OPERATE, operate, BEGIN_MS);
  }

  /** Undefined when no pool runs or it does not answer in time. */
  async status(pool: string): Promise<PoolStatus | undefined> {
    return this.#query<PoolStatus>(pool, PoolMessage.STATUS);
  }

  /** What is remembered of the steps of a pipeline, or of all; undefined when no pool runs or it does not answer in time. */
  async histories(pool: string, pipeline?: string): Promise<Record<string, StepHistory> | undefined> {
    return this.#query<Record<string, StepHistory>>(pool, PoolMessage.HISTORIES, pipeline);
  }

  /** The whole ledger; undefined when no pool runs or it does not answer in time. */
  async ledger(pool: string): Promise<PoolState | undefined> {
    return this.#query<PoolState>(pool, PoolMessage.LEDGER);
  }

  async #query<T>(pool: string, name: string, ...args: unknown[]): Promise<T | undefined> {
    try {
      const handle = this.#client.workflow.getHandle(poolWorkflowId(pool));
      return await this.#client.withDeadline(Date.now() + REPLY_MS, () => handle.query<T, unknown[]>(name, ...args));
    } catch (error) {
      // A worker of an earlier release, still up during an upgrade, does not know every query.
      const unknown = error instanceof WorkflowNotFoundError || error instanceof QueryNotRegisteredError;
      if (unknown || isServiceTrouble(error)) return undefined;
      throw error;
    }
  }

  #update<Answer, Message>(pool: string, name: string, message: Message, withinMs: number): Promise<Answer> {
    const handle = this.#client.workflow.getHandle(poolWorkflowId(pool));
    return this.#client.withDeadline(Date.now() + withinMs, () =>
      handle.executeUpdate<Answer, [Message]>(name, { args: [message] }),
    );
  }

  async #updateWithStart<Answer, Message>(
    pool: string,
    name: string,
    message: Message,
    withinMs: number,
  ): Promise<Answer> {
    try {
      return await this.#update<Answer, Message>(pool, name, message, REPLY_MS);
    } catch (error) {
      const slow = error instanceof WorkflowUpdateRPCTimeoutOrCancelledError || isServiceTrouble(error);
      if (!(error instanceof WorkflowNotFoundError) && !slow) throw error;
    }
    const startWorkflowOperation = new WithStartWorkflowOperation('memoryPool', {
      ...poolStart(pool),
      workflowIdConflictPolicy: 'USE_EXISTING',
    });
    return this.#client.withDeadline(Date.now() + withinMs, () =>
      this.#client.workflow.executeUpdateWithStart<Workflow, Answer, [Message]>(name, {
        args: [message],
        startWorkflowOperation,
      }),
    );
  }

  async #signal<Message>(pool: string, signal: string, message: Message): Promise<void> {
    await this.#client.workflow.signalWithStart('memoryPool', { ...poolStart(pool), signal, signalArgs: [message] });
  }
}

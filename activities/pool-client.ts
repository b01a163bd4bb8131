import { ApplicationFailure, type Workflow } from '@temporalio/common';
import {
  type Client,
  isGrpcServiceError,
  QueryNotRegisteredError,
  ServiceError,
  WithStartWorkflowOperation,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
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
  Said,
  SaidAnswer,
  StepHistory,
  Suspect,
  Withdraw,
} from '../src/contracts/pool.ts';
import { INVALID_MESSAGE, PoolMessage, poolWorkflowId, TaskQueue } from '../src/contracts/pool.ts';
import type { PoolState } from '../src/policy/pool/state.ts';
import { GroupCommit } from './group-commit.ts';

/** A reply that takes longer is given up, and the message is sent again as a signal that cannot be lost. */
const REPLY_MS = 2_000;
/** `begin` has no signal to fall back on: it waits for a pool that is being revived. */
const BEGIN_MS = 30_000;

/** The server did not answer in time, or nobody behind it did. */
const isServiceTrouble = (error: unknown): boolean => error instanceof ServiceError || isGrpcServiceError(error);

/** Why the pool's workflow did not take an update; undefined when that is not what went wrong. */
const refusalOf = (error: unknown): ApplicationFailure | undefined =>
  error instanceof WorkflowUpdateFailedError && error.cause instanceof ApplicationFailure ? error.cause : undefined;

/** The message cannot be read: sent again, in whatever way, it is no better. */
const isInvalid = (error: unknown): boolean => refusalOf(error)?.type === INVALID_MESSAGE;

/** The pool is served by a worker of an earlier release, which has no such update. */
const isUnknownUpdate = (error: unknown): boolean => /no registered handler/i.test(refusalOf(error)?.message ?? '');

/** How the pool's workflow is named and started, wherever a message finds none running. */
const poolStart = (pool: string) =>
  ({ workflowId: poolWorkflowId(pool), taskQueue: TaskQueue.POOL, args: [{ pool }] }) as const;

/** Says everything that is said to a pool. A pool that is not running is started by whatever is said to it. */
export class PoolClient {
  readonly #client: Client;
  /** By pool: what this process says to it. */
  readonly #lines = new Map<string, GroupCommit<Said, SaidAnswer>>();
  constructor(client: Client) {
    this.#client = client;
  }

  /**
   * Asks for a lease; on any error the ask goes as a signal, and the answer comes as one.
   * @throws WorkflowUpdateFailedError for an ask that no pool can read
   */
  async acquire(pool: string, ask: Ask): Promise<Answer> {
    try {
      return (await this.#say(pool, { kind: 'acquire', ask })) as Answer;
    } catch (error) {
      if (isInvalid(error)) throw error;
      await this.#signal(pool, PoolMessage.ACQUIRE, ask);
      return { kind: 'queued', ahead: -1, because: 'asked by signal; the answer comes by signal' };
    }
  }

  async begin(pool: string, begin: Begin): Promise<BeginAnswer> {
    return this.#orStarted(pool, PoolMessage.BEGIN, begin, async () => {
      return (await this.#say(pool, { kind: 'begin', begin })) as BeginAnswer;
    });
  }

  async announce(pool: string, announce: Announce): Promise<AnnounceAnswer> {
    return this.#orStarted(pool, PoolMessage.ANNOUNCE, announce, () =>
      this.#update<AnnounceAnswer, Announce>(pool, PoolMessage.ANNOUNCE, announce, REPLY_MS),
    );
  }

  async end(pool: string, ends: End[]): Promise<void> {
    await this.#orSignalled(pool, PoolMessage.END, ends, { kind: 'end', ends });
  }

  async withdraw(pool: string, withdraws: Withdraw[]): Promise<void> {
    await this.#orSignalled(pool, PoolMessage.WITHDRAW, withdraws, { kind: 'withdraw', withdraws });
  }

  async drop(pool: string, drops: Drop[]): Promise<void> {
    if (drops.length > 0) await this.#orSignalled(pool, PoolMessage.DROP, drops, { kind: 'drop', drops });
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
    return this.#query<PoolStatus>(pool, PoolMessage.STATUS, REPLY_MS);
  }

  /** What is remembered of the steps of a pipeline, or of all; undefined when no pool runs or it does not answer in time. */
  async histories(
    pool: string,
    pipeline?: string,
    withinMs = REPLY_MS,
  ): Promise<Record<string, StepHistory> | undefined> {
    return this.#query<Record<string, StepHistory>>(pool, PoolMessage.HISTORIES, withinMs, pipeline);
  }

  /** The whole ledger; undefined when no pool runs or it does not answer in time. */
  async ledger(pool: string): Promise<PoolState | undefined> {
    return this.#query<PoolState>(pool, PoolMessage.LEDGER, REPLY_MS);
  }

  async #query<T>(pool: string, name: string, withinMs: number, ...args: unknown[]): Promise<T | undefined> {
    try {
      const handle = this.#client.workflow.getHandle(poolWorkflowId(pool));
      return await this.#client.withDeadline(Date.now() + withinMs, () => handle.query<T, unknown[]>(name, ...args));
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

  /** What `first` answers; when the pool does not, the message starts it, and waits longer. */
  async #orStarted<Answer, Message>(
    pool: string,
    name: string,
    message: Message,
    first: () => Promise<Answer>,
  ): Promise<Answer> {
    try {
      return await first();
    } catch (error) {
      const slow = error instanceof WorkflowUpdateRPCTimeoutOrCancelledError || isServiceTrouble(error);
      if (!(error instanceof WorkflowNotFoundError) && !slow) throw error;
    }
    const startWorkflowOperation = new WithStartWorkflowOperation('memoryPool', {
      ...poolStart(pool),
      workflowIdConflictPolicy: 'USE_EXISTING',
    });
    return this.#client.withDeadline(Date.now() + BEGIN_MS, () =>
      this.#client.workflow.executeUpdateWithStart<Workflow, Answer, [Message]>(name, {
        args: [message],
        startWorkflowOperation,
      }),
    );
  }

  /** What is not answered goes as a signal, which cannot be lost. */
  async #orSignalled<Message>(pool: string, signal: string, message: Message, said: Said): Promise<void> {
    try {
      await this.#say(pool, said);
    } catch (error) {
      if (isInvalid(error)) throw error;
      await this.#signal(pool, signal, message);
    }
  }

  #say(pool: string, said: Said): Promise<SaidAnswer> {
    let line = this.#lines.get(pool);
    if (!line) {
      line = new GroupCommit((together) => this.#sayTogether(pool, together));
      this.#lines.set(pool, line);
    }
    return line.say(said);
  }

  async #sayTogether(pool: string, together: Said[]): Promise<PromiseSettledResult<SaidAnswer>[]> {
    if (together.length > 1) {
      try {
        const answers = await this.#update<SaidAnswer[], Said[]>(pool, PoolMessage.SEVERAL, together, REPLY_MS);
        return answers.map((value) => ({ status: 'fulfilled', value }));
      } catch (error) {
        if (!isUnknownUpdate(error) && !isInvalid(error)) throw error; // one that is invalid fails alone
      }
    }
    return Promise.allSettled(together.map((said) => this.#sayAlone(pool, said)));
  }

  /** Under its own name, as people read it in the Temporal UI. */
  async #sayAlone(pool: string, said: Said): Promise<SaidAnswer> {
    switch (said.kind) {
      case 'acquire':
        return this.#update<Answer, Ask>(pool, PoolMessage.ACQUIRE, said.ask, REPLY_MS);
      case 'begin':
        return this.#update<BeginAnswer, Begin>(pool, PoolMessage.BEGIN, said.begin, REPLY_MS);
      case 'end':
        return this.#update<null, End[]>(pool, PoolMessage.END, said.ends, REPLY_MS);
      case 'withdraw':
        return this.#update<null, Withdraw[]>(pool, PoolMessage.WITHDRAW, said.withdraws, REPLY_MS);
      case 'drop':
        return this.#update<null, Drop[]>(pool, PoolMessage.DROP, said.drops, REPLY_MS);
    }
  }

  async #signal<Message>(pool: string, signal: string, message: Message): Promise<void> {
    await this.#client.workflow.signalWithStart('memoryPool', { ...poolStart(pool), signal, signalArgs: [message] });
  }
}

import { setTimeout as sleep } from 'node:timers/promises';
import { WorkflowUpdateRPCTimeoutOrCancelledError } from '@temporalio/client';
import type { PoolClient } from '../../activities/pool-client.ts';
import { workerStandingBytes } from '../config/plan-facts.ts';
import type { ResolvedConfig } from '../config/resolved.ts';
import { chargedServers } from '../config/system-share.ts';
import { SpillwayError } from '../contracts/errors.ts';
import { type Holder, poolWorkflowId, type ProcessId } from '../contracts/pool.ts';
import { readProcessId } from '../host/process-id.ts';
import type { PoolState } from '../policy/pool/state.ts';
import { startedPid, type Engines } from './engines.ts';
import type { WorkerHost } from './worker-host.ts';
import type { WorkerLog } from './worker-log.ts';

/** Asked again this often: a process hears of its grant by the answer, not by a signal. */
const ASK_AGAIN_MS = 500;

interface StandingAsk {
  pool: string;
  leaseId: string;
  step: string;
  bytes: number;
  holder: Holder;
  signal: AbortSignal;
  onWait(because: string): void;
}

/**
 * Takes a standing charge, waiting until the pool has room for it.
 * @throws SpillwayError `LeaseRefused` when it never will
 */
async function takeStanding(client: PoolClient, ask: StandingAsk): Promise<void> {
  for (let waited = false; ; waited = true) {
    const answer = await client.acquire(ask.pool, {
      leaseId: ask.leaseId,
      kind: 'standing',
      weight: 'light',
      bytes: ask.bytes,
      scratchBytes: 0,
      priority: 1,
      holder: ask.holder,
      step: ask.step,
    });
    if (answer.kind === 'granted') return;
    if (answer.kind === 'refused') {
      throw new SpillwayError(
        'LeaseRefused',
        `${ask.step} cannot be charged to pool ${ask.pool}: ${answer.because}. Raise pool.limit, or lower light.slots, light.stepBytes or worker.baseline.`,
      );
    }
    if (!waited) ask.onWait(answer.because);
    await sleep(ASK_AGAIN_MS, undefined, { signal: ask.signal });
  }
}

/** What this process, and the resident engines it looks after, are charged for good. */
export class StandingCharges {
  readonly #config: ResolvedConfig;
  readonly #pool: PoolClient;
  readonly #host: WorkerHost;
  readonly #engines: Engines;
  readonly #signal: AbortSignal;
  readonly #log: WorkerLog;
  #taking: Promise<void> | undefined;

  constructor(
    config: ResolvedConfig,
    pool: PoolClient,
    host: WorkerHost,
    engines: Engines,
    signal: AbortSignal,
    log: WorkerLog,
  ) {
    this.#config = config;
    this.#pool = pool;
    this.#host = host;
    this.#engines = engines;
    this.#signal = signal;
    this.#log = log;
  }

  get #workerId(): string {
    return `standing/${this.#host.name}/worker-${this.#host.process.pid}-${this.#host.process.startedAt}`;
  }

  /** Says what this host lends. @throws SpillwayError `HostTaken` when the pool lends another host's memory, `EngineUnreachable` when it does not answer */
  async announce(): Promise<void> {
    const { hardware, pool, temporal } = this.#config;
    const said = {
      host: this.#host.name,
      limitBytes: hardware.poolBytes,
      scratchLimitBytes: hardware.scratchBytes,
      evidence: await this.#engines.evidence(),
    };
    const answer = await this.#pool.announce(pool.name, said).catch((cause: unknown) => {
      if (!(cause instanceof WorkflowUpdateRPCTimeoutOrCancelledError)) throw cause;
      throw new SpillwayError(
        'EngineUnreachable',
        `Pool ${pool.name} does not answer, so nothing can be lent. See what its workflow waits for: temporal workflow describe --workflow-id ${poolWorkflowId(pool.name)} --address ${temporal.address} --namespace ${temporal.namespace}`,
        { cause },
      );
    });
    if (answer.kind === 'refused') throw new SpillwayError('HostTaken', answer.because);
  }

  /** Takes all charges, waiting until the pool has room for them. Asking while it waits is waiting for the same. */
  take(): Promise<void> {
    this.#taking ??= this.#takeAll().finally(() => (this.#taking = undefined));
    return this.#taking;
  }

  /** All at once: the pool hears them in one message. */
  async #takeAll(): Promise<void> {
    const { process } = this.#host;
    const { hardware, serversHere, trino } = this.#config;
    const resident = Object.entries(trino).filter(([, { residence }]) => residence === 'resident');
    await Promise.all([
      this.#ask(this.#workerId, `worker ${process.pid}`, workerStandingBytes(hardware), process),
      ...resident.map(([name]) =>
        this.#askForServer(`trino.${name}`, `Trino ${name}`, hardware.trino.floorBytes, this.#engines.trinoPid(name)),
      ),
      ...chargedServers(hardware, serversHere).map(({ part, what, bytes }) =>
        this.#askForServer(part, what, bytes, startedPid(this.#config, part)),
      ),
    ]);
  }

  /** A server's charge stands for its process: it ends when that is seen gone. Without a process there is nothing to pay for. */
  async #askForServer(id: string, step: string, bytes: number, pid: number | undefined): Promise<void> {
    const server = pid === undefined ? undefined : readProcessId(pid);
    if (!server) return;
    await this.#ask(`standing/${this.#host.name}/${id}-${server.pid}-${server.startedAt}`, step, bytes, server);
  }

  /**
   * A pool that was opened anew knows neither limits nor charges: says them again. It does not wait for charges: what is in their way may be of a process
   * that is gone, and who calls this is who has it looked after.
   */
  async renew(ledger: PoolState | undefined, mayAnnounce: boolean): Promise<void> {
    const { hardware } = this.#config;
    const told = ledger?.host === this.#host.name && ledger.limitBytes === hardware.poolBytes;
    if (mayAnnounce && !told) await this.announce();
    if (told && ledger.leases[this.#workerId]) return;
    this.take().catch((error: unknown) => {
      if (!this.#signal.aborted)
        this.#log.warn(`standing charges: ${error instanceof Error ? error.message : String(error)}`);
    });
  }

  async giveBack(): Promise<void> {
    const { name } = this.#config.pool;
    await this.#pool.withdraw(name, [{ leaseId: this.#workerId }]);
    // Has the task that this gives to the pool's workflow end here: one that a process takes with it is given to the next one 10 s later.
    await this.#pool.status(name);
  }

  async #ask(leaseId: string, step: string, bytes: number, process: ProcessId): Promise<void> {
    await takeStanding(this.#pool, {
      pool: this.#config.pool.name,
      leaseId,
      step,
      bytes,
      holder: { host: this.#host.name, process },
      signal: this.#signal,
      onWait: (because) => this.#log.info(`${step} waits for its standing charge: ${because}`),
    });
  }
}

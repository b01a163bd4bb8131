import type { Client, QueryConfig, QueryResultRow } from 'pg';
import { SpillwayError } from '../../contracts/errors.ts';
import { abortable } from '../abortable.ts';
import { CopyIn } from './copy-in.ts';
import { connectFailure } from './failures.ts';
import { CONFIGURE_SESSION } from './sql.ts';

/** What the engine needs of its surroundings. */
export interface PostgresDeps {
  /** Makes a connection of its own, connected: no pool, no transaction pooler in between. */
  connect(): Promise<Client>;
}

const CONNECT_MS = 15_000;
const CLOSE_MS = 2_000;

/**
 * One connection with the settings every session of ours has.
 * A statement that is aborted rejects at once; its backend may still work and is ended by whoever cleans up.
 */
export class Session {
  readonly client: Client;
  readonly pid: number;
  readonly backendStart: string;
  /** `synchronous_commit` of the server, at least `on`. */
  readonly durableCommit: string;
  private readonly signal: AbortSignal | undefined;
  private statements = 0;
  private waiting = 0;
  private copying: CopyIn | undefined;

  private constructor(client: Client, facts: SessionFacts, signal: AbortSignal | undefined) {
    this.client = client;
    this.pid = facts.pid;
    this.backendStart = facts.backend_start;
    this.durableCommit = ['off', 'local'].includes(facts.synchronous_commit) ? 'on' : facts.synchronous_commit;
    this.signal = signal;
  }

  /** @throws SpillwayError `TargetUnreachable`; the reason of `signal` */
  static async open(deps: PostgresDeps, application: string, signal?: AbortSignal): Promise<Session> {
    const client = await connectWithin(deps, signal);
    // A dead connection emits errors that no query of ours may be there to take.
    client.on('error', () => undefined);
    const socket = client.connection.stream as { setKeepAlive?: (on: boolean, ms: number) => void };
    socket.setKeepAlive?.(true, 10_000);
    try {
      const { rows } = await abortable(client.query<SessionFacts>(CONFIGURE_SESSION, [application]), signal);
      return new Session(client, rows[0]!, signal);
    } catch (error) {
      await closeClient(client);
      throw signal?.aborted ? error : connectFailure(error);
    }
  }

  /** Runs one statement and answers its rows. */
  async query<Row extends QueryResultRow>(text: string, values?: unknown[]): Promise<Row[]> {
    this.signal?.throwIfAborted();
    return (await this.answered(this.client.query<Row>(text, values))).rows;
  }

  /** Runs one statement and answers how many rows it touched. */
  async run(text: string, values?: unknown[]): Promise<number> {
    this.signal?.throwIfAborted();
    return (await this.answered(this.client.query(text, values))).rowCount ?? 0;
  }

  /** Runs one statement that somebody else wrote, and answers how many rows it touched or gave. By the extended protocol: several in one text are refused. */
  async runAlone(text: string, values: readonly unknown[] = []): Promise<number> {
    this.signal?.throwIfAborted();
    const statement: QueryConfig & { queryMode: 'extended' } = { text, values: [...values], queryMode: 'extended' };
    return (await this.answered(this.client.query(statement))).rowCount ?? 0;
  }

  /** Starts a COPY FROM STDIN, on a connection that does nothing else meanwhile. */
  async copy(text: string): Promise<CopyIn> {
    this.copying = this.client.query(new CopyIn(text));
    await this.copying.ready;
    return this.copying;
  }

  /** What the server owes an answer to, another value for each statement; undefined while it owes none, as between the chunks of a COPY. */
  get owed(): unknown {
    if (this.waiting > 0) return this.statements;
    return this.copying?.isOwed ? this.copying : undefined;
  }

  private async answered<T>(work: Promise<T>): Promise<T> {
    this.statements += 1;
    this.waiting += 1;
    try {
      return await abortable(work, this.signal);
    } finally {
      this.waiting -= 1;
    }
  }

  /** Runs statements in one transaction; rolls back when they fail. */
  async transaction<T>(act: () => Promise<T>): Promise<T> {
    await this.run('begin');
    try {
      const result = await act();
      await this.commit();
      return result;
    } catch (error) {
      // After an abort the statement may still run; a rollback would wait for its end. The session is closed instead.
      if (!this.signal?.aborted) await this.client.query('rollback').catch(() => undefined);
      throw error;
    }
  }

  /** COMMIT, and sure of it: a failed transaction answers COMMIT with a rollback. */
  async commit(): Promise<void> {
    this.signal?.throwIfAborted();
    const { command } = await this.answered(this.client.query('commit'));
    if (command !== 'COMMIT') throw new Error(`the transaction had failed: COMMIT answered ${command}`);
  }

  /** Ends the connection, by force when it does not answer, at once after an abort. Never rejects. */
  close(): Promise<void> {
    return closeClient(this.client, this.signal?.aborted ? 0 : CLOSE_MS);
  }
}

interface SessionFacts extends QueryResultRow {
  pid: number;
  backend_start: string;
  synchronous_commit: string;
}

async function closeClient(client: Client, waitMs: number = CLOSE_MS): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, waitMs)));
  await Promise.race([client.end().catch(() => undefined), late]);
  clearTimeout(timer);
  client.connection.stream.destroy();
}

async function connectWithin(deps: PostgresDeps, signal: AbortSignal | undefined): Promise<Client> {
  const connecting = deps.connect();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${CONNECT_MS / 1000} s`)), CONNECT_MS);
  });
  try {
    return await abortable(Promise.race([connecting, late]), signal);
  } catch (error) {
    // It may still come.
    connecting.then(
      (client) => {
        client.on('error', () => undefined);
        return closeClient(client);
      },
      () => undefined,
    );
    throw signal?.aborted ? error : connectFailure(error);
  } finally {
    clearTimeout(timer);
  }
}

/** The error of a load that its caller cancelled, in any phase. */
export const cancelled = (table: string, phase: string, signal: AbortSignal): SpillwayError =>
  new SpillwayError('LoadInterrupted', `The load into ${table} was cancelled while ${phase}; nothing was published.`, {
    cause: signal.reason,
  });

/** Waits `ms`, or less when the signal aborts; then it rejects. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const slept = new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)));
  return abortable(slept, signal).finally(() => clearTimeout(timer));
}

import type { Socket } from 'node:net';
import type { Connection, Submittable } from 'pg';
import { type Chunk, seal } from './chunk.ts';

/** CopyData with the file trailer (-1), then CopyDone. */
const FINISH = Buffer.from([0x64, 0, 0, 0, 6, 0xff, 0xff, 0x63, 0, 0, 0, 4]);

type CopyConnection = Connection & { sendCopyFail(message: string): void };

/** Where the messages of a binary COPY go: one COPY, or several that share the rows. */
export interface CopySink {
  readonly connections: number;
  /** Bytes handed to sockets. */
  readonly bytes: number;
  /** Over, one way or the other. */
  readonly settled: boolean;
  readonly error: Error | undefined;
  /** Chunks that no socket has taken yet. */
  readonly pending: number;
  /** Since when a socket has taken nothing of what waits for it, the longest of them: a server that is stopped, not dead, gives no other sign. */
  readonly progressAtMs: number;
  /** Calls `watcher` at the end, at once when it has come; answers a function that forgets it. */
  onSettled(watcher: () => void): () => void;
  /** Settles when a socket has taken one more chunk. */
  drained(): Promise<void>;
  /** Sends a chunk's message of `used` bytes, whole rows; `free` is called when the chunk may be written again, on failure too. */
  write(chunk: Chunk, used: number, free: () => void): void;
  /** Ends the data; answers the rows that the server counted. */
  finish(): Promise<number>;
  /** Ends it without its rows. Never rejects; afterwards it is settled. */
  abort(because: string, terminate: () => Promise<unknown>, deadlines?: AbortDeadlines): Promise<void>;
}

/** How long the steps of an abort may take. */
export interface AbortDeadlines {
  /** From CopyFail to the server's answer. @defaultValue 2 s */
  failMs?: number;
  /** From the request to end the backend to the end of the connection. @defaultValue 3 s */
  terminateMs?: number;
}

/**
 * One COPY … FROM STDIN (FORMAT binary), as a query object of `pg`.
 *
 * Life: submitted → copying (server waits for data) → finishing (CopyDone sent) → settled. Every ending settles
 * {@link CopyIn.done} exactly once: CommandComplete with its row count, an error of the server at any time (pg forgets a
 * query at its error, so ReadyForQuery never comes), or the end of the connection. Writing after the end is a no-op.
 */
export class CopyIn implements Submittable, CopySink {
  readonly connections = 1;
  /** Rows as the server counted them; rejects with the server's or the connection's error. */
  readonly done: Promise<number>;
  /** Settles when the server is ready for data; rejects as `done` does. */
  readonly ready: Promise<void>;
  /** Bytes handed to the socket. */
  bytes = 0;
  settled = false;
  error: Error | undefined;
  /** Chunks that the socket has not taken yet. */
  pending = 0;
  /** Last time that the socket took a chunk: a server that is stopped, not dead, gives no other sign. */
  progressAtMs = Date.now();
  private readonly text: string;
  private connection: CopyConnection | undefined;
  private socket: Socket | undefined;
  private copying = false;
  private finished = false;
  private rowCount: number | undefined;
  private readonly settlers: {
    ready: () => void;
    readyFailed: (error: Error) => void;
    done: (rows: number) => void;
    failed: (error: Error) => void;
  };
  private readonly settledWatchers = new Set<() => void>();
  private readonly drainWatchers = new Set<() => void>();
  private readonly onClose = (): void => this.settle(new Error('the connection was closed during COPY'));

  constructor(text: string) {
    this.text = text;
    const settlers: Partial<CopyIn['settlers']> = {};
    this.ready = new Promise((resolve, reject) => Object.assign(settlers, { ready: resolve, readyFailed: reject }));
    this.done = new Promise((resolve, reject) => Object.assign(settlers, { done: resolve, failed: reject }));
    this.settlers = settlers as CopyIn['settlers'];
    // Whoever waits sees the rejection; nobody has to.
    this.ready.catch(() => undefined);
    this.done.catch(() => undefined);
  }

  submit(connection: Connection): void {
    this.connection = connection as CopyConnection;
    this.socket = connection.stream as Socket;
    this.socket.once('close', this.onClose);
    connection.query(this.text);
  }
  handleCopyInResponse(): void {
    this.copying = true;
    this.settlers.ready();
  }
  handleError(error: Error): void {
    this.settle(error);
  }
  handleCommandComplete(message: { text: string }): void {
    const rows = /^COPY (\d+)/.exec(message.text)?.[1];
    if (rows !== undefined) this.rowCount = Number(rows);
  }
  handleReadyForQuery(): void {
    this.settle(this.rowCount === undefined ? new Error('the statement was not a COPY FROM STDIN') : undefined);
  }
  // The rest of what pg may call on a query; a COPY FROM STDIN has none of it.
  handleRowDescription(): void {}
  handleDataRow(): void {}
  handleEmptyQuery(): void {}
  handlePortalSuspended(): void {}

  private settle(error: Error | undefined): void {
    if (this.settled) return;
    this.settled = true;
    this.copying = false;
    this.socket?.removeListener('close', this.onClose);
    if (error) {
      this.error = error;
      this.settlers.readyFailed(error);
      this.settlers.failed(error);
    } else this.settlers.done(this.rowCount!);
    this.notify(this.settledWatchers);
    this.settledWatchers.clear();
  }

  private notify(watchers: Set<() => void>): void {
    for (const watcher of [...watchers]) watcher();
  }

  /** Calls `watcher` at the end, at once when it has come; answers a function that forgets it. */
  onSettled(watcher: () => void): () => void {
    if (this.settled) watcher();
    else this.settledWatchers.add(watcher);
    return () => this.settledWatchers.delete(watcher);
  }

  /** Settles when the socket has taken one more chunk. */
  drained(): Promise<void> {
    return new Promise((resolve) => {
      const watcher = (): void => {
        this.drainWatchers.delete(watcher);
        resolve();
      };
      this.drainWatchers.add(watcher);
    });
  }

  /** Sends a chunk's message of `used` bytes; `free` is called when the chunk may be written again, on failure too. */
  write(chunk: Chunk, used: number, free: () => void): void {
    if (!this.copying || this.socket!.destroyed) return free();
    seal(chunk, used);
    if (this.pending === 0) this.progressAtMs = Date.now();
    this.pending++;
    this.bytes += used;
    this.socket!.write(chunk.bytes.subarray(0, used), () => {
      this.pending--;
      this.progressAtMs = Date.now();
      free();
      this.notify(this.drainWatchers);
    });
  }

  /** Whether the server has all that it waits for, and has not answered. */
  get isOwed(): boolean {
    return !this.settled && (!this.copying || (this.finished && this.pending === 0));
  }

  /** Ends the data; settles as {@link done}. */
  finish(): Promise<number> {
    this.finished = true;
    if (this.copying && !this.socket!.destroyed) this.socket!.write(FINISH);
    return this.done;
  }

  /**
   * Ends the COPY without its rows: CopyFail; when no answer comes, `terminate` (end the backend from another connection);
   * when that does not help either, the socket is destroyed. Never rejects; afterwards the COPY is settled.
   */
  async abort(because: string, terminate: () => Promise<unknown>, deadlines: AbortDeadlines = {}): Promise<void> {
    const within = async (ms: number): Promise<boolean> => {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)));
      await Promise.race([
        this.done.then(
          () => undefined,
          () => undefined,
        ),
        late,
      ]);
      clearTimeout(timer);
      return this.settled;
    };
    if (this.settled) return;
    if (this.copying && !this.socket!.destroyed) {
      this.connection!.sendCopyFail(because);
      if (await within(deadlines.failMs ?? 2000)) return;
    }
    void terminate().catch(() => undefined);
    if (await within(deadlines.terminateMs ?? 3000)) return;
    this.socket?.destroy();
    this.settle(new Error(`the server did not answer; ${because}`));
  }
}

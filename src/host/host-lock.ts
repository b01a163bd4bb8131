import { createHash } from 'node:crypto';
import { connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { SpillwayError } from '../contracts/errors.ts';

/** Who holds a host lock: what a person needs to find and stop it. */
export interface HostLockIdentity {
  pool: string;
  cluster: string;
  namespace: string;
  address: string;
  pid: number;
  uid: number;
  cwd: string;
  host: string;
  sinceMs: number;
}

export interface HeldHostLock {
  kind: 'held';
  /** Lets go; calling it twice is fine. The kernel does the same when this process dies. */
  release(): Promise<void>;
}

/** `by` is absent when the holder did not say who it is within two seconds: it hangs, is stopped, or is not ours. */
export interface TakenHostLock {
  kind: 'taken';
  by?: HostLockIdentity;
}

const ANSWER_MS = 2000;
/** Pause before a holder that takes no connections is asked again. */
const HANGS_MS = 250;
/** Longest answer of a holder that is read. */
const ANSWER_CHARS = 64 * 1024;

/**
 * Takes a lock that at most one process of this host holds, across users and directories, or says who has it.
 *
 * It is an abstract unix socket: no file that could be left behind, removed or hidden by a mount, and the kernel lets go
 * when the holder dies, however it dies. Abstract names belong to a network namespace: processes in containers with a network of their own
 * are not kept apart. Linux only.
 */
export async function takeHostLock(name: string, identity: HostLockIdentity): Promise<HeldHostLock | TakenHostLock> {
  for (;;) {
    const held = await listen(name, identity);
    if (held) return held;
    const holder = await reach(name);
    if (holder === 'gone') continue; // died between our two questions
    if (holder === 'hangs') return { kind: 'taken' };
    holder.socket.destroy();
    return { kind: 'taken', ...(holder.identity && { by: holder.identity }) };
  }
}

/**
 * Waits until the lock is free and takes it. `onTaken` hears of each holder waited for.
 * Rejects with the signal's reason when that aborts.
 */
export async function watchHostLock(
  name: string,
  identity: HostLockIdentity,
  options: { signal?: AbortSignal; onTaken?: (by: HostLockIdentity | undefined) => void } = {},
): Promise<HeldHostLock> {
  const { signal, onTaken } = options;
  for (;;) {
    signal?.throwIfAborted();
    const held = await listen(name, identity);
    if (held) return held;
    const holder = await reach(name);
    if (holder === 'gone') continue;
    onTaken?.(holder === 'hangs' ? undefined : holder.identity);
    if (holder === 'hangs') {
      await sleep(HANGS_MS, undefined, { ...(signal && { signal }) });
      continue;
    }
    // The connection is the watch: it ends when the holder lets go, and the kernel ends it when the holder dies.
    await ended(holder.socket, signal);
    // Everybody who waited is woken at once, and a holder that refuses us at once must not make us spin.
    await sleep(10 + Math.random() * 40);
  }
}

/** Names up to the kernel's 107 bytes are kept readable; longer ones keep their start and a hash. */
function address(name: string): string {
  const full = `spillway.${name}`;
  const short = Buffer.byteLength(full) <= 100 ? full : `${full.slice(0, 40)}.${sha256(full)}`;
  return `\0${short}`;
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 32);

function listen(name: string, identity: HostLockIdentity): Promise<HeldHostLock | undefined> {
  if (process.platform !== 'linux') {
    throw new SpillwayError('InvalidInput', `a host lock needs Linux; this is ${process.platform}`);
  }
  const connections = new Set<Socket>();
  const server = createServer((socket) => {
    connections.add(socket);
    socket.on('close', () => connections.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.unref();
    socket.write(`${JSON.stringify(identity)}\n`);
  });
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(undefined);
      else reject(error);
    });
    server.listen({ path: address(name) }, () => {
      server.unref();
      let released: Promise<void> | undefined;
      const release = (): Promise<void> =>
        (released ??= new Promise((done) => {
          server.close(() => done());
          for (const socket of connections) socket.destroy();
        }));
      resolve({ kind: 'held', release });
    });
  });
}

/** An open connection to the holder and what it said of itself. */
async function reach(name: string): Promise<{ socket: Socket; identity?: HostLockIdentity } | 'gone' | 'hangs'> {
  const socket = connect({ path: address(name) });
  const connected = await new Promise<'yes' | 'gone' | 'hangs'>((resolve, reject) => {
    socket.once('connect', () => resolve('yes'));
    socket.once('error', (error: NodeJS.ErrnoException) => {
      // Reset: it let go before it took us from its backlog.
      if (['ECONNREFUSED', 'ENOENT', 'ECONNRESET'].includes(error.code ?? '')) resolve('gone');
      // Its backlog is full: it is there, and takes nothing.
      else if (error.code === 'EAGAIN') resolve('hangs');
      else reject(error);
    });
  });
  if (connected !== 'yes') {
    socket.destroy();
    return connected;
  }
  socket.on('error', () => socket.destroy());
  const line = await firstLine(socket);
  const identity = line === undefined ? undefined : parseIdentity(line);
  return { socket, ...(identity && { identity }) };
}

function firstLine(socket: Socket): Promise<string | undefined> {
  return new Promise((resolve) => {
    let text = '';
    const finish = (line: string | undefined): void => {
      clearTimeout(timer);
      socket.off('data', onData);
      socket.off('close', onClose);
      socket.resume(); // else the end of the connection is never noticed
      resolve(line);
    };
    const onData = (chunk: Buffer): void => {
      text += chunk.toString();
      const end = text.indexOf('\n');
      if (end >= 0) finish(text.slice(0, end));
      else if (text.length > ANSWER_CHARS) finish(undefined);
    };
    const onClose = (): void => finish(undefined);
    const timer = setTimeout(finish, ANSWER_MS, undefined);
    socket.on('data', onData);
    socket.on('close', onClose);
  });
}

function parseIdentity(line: string): HostLockIdentity | undefined {
  try {
    const value = JSON.parse(line) as Partial<HostLockIdentity> | null;
    return typeof value?.pid === 'number' && typeof value.pool === 'string' ? (value as HostLockIdentity) : undefined;
  } catch {
    return undefined;
  }
}

function ended(socket: Socket, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      socket.destroy();
      reject(signal!.reason as Error);
    };
    if (signal?.aborted) return onAbort();
    signal?.addEventListener('abort', onAbort, { once: true });
    const done = (): void => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    };
    if (socket.destroyed) done();
    else socket.once('close', done);
  });
}

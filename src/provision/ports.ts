import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { createServer } from 'node:net';

/** Below it are ports of the system and of what is customarily installed. */
const LOWEST = 10_000;
/** Where the kernel's own range begins unless a host is set otherwise. */
const EPHEMERAL_FROM = 32_768;
const TRIES = 200;

/**
 * A free port on loopback: the first of `preferred` that nobody listens on (a remembered one, the customary one), else
 * one below those that the kernel gives to outgoing connections, so that no connection sits on it while its server
 * restarts; else any. Never one of `taken`. Somebody else may take it before it is used; callers start again when that
 * happens.
 */
export async function freePort(preferred: readonly (number | undefined)[], taken: Set<number>): Promise<number> {
  for (const port of preferred) {
    if (port !== undefined && !taken.has(port) && (await listenOnce(port)) !== undefined) {
      taken.add(port);
      return port;
    }
  }
  const span = ephemeralFrom() - LOWEST;
  for (let tries = 0; ; tries += 1) {
    const port = await listenOnce(span > 0 && tries < TRIES ? LOWEST + Math.floor(Math.random() * span) : 0);
    if (port !== undefined && !taken.has(port)) {
      taken.add(port);
      return port;
    }
  }
}

/** The first port that an outgoing connection may get. */
function ephemeralFrom(): number {
  try {
    return Number.parseInt(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8'), 10);
  } catch {
    return EPHEMERAL_FROM;
  }
}

/** The port that was listened on, for a moment; undefined when it is taken. */
function listenOnce(port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(undefined));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : undefined));
    });
  });
}

/** State of a listening socket in `/proc/net/tcp`. */
const LISTENING = '0A';

/** Whether a process itself listens on a TCP port, on any address. Its open files must be readable: its user's, or root's. */
export function listensOn(pid: number, port: number): boolean {
  const sockets = new Set(['tcp', 'tcp6'].flatMap((name) => listeners(`/proc/${pid}/net/${name}`, port)));
  return openFiles(pid).some((file) => sockets.has(file));
}

/** Links as `/proc/<pid>/fd` shows them, of the sockets in a table that listen on a port. */
function listeners(table: string, port: number): string[] {
  const lines = attempt(() => readFileSync(table, 'utf8').trim().split('\n').slice(1)) ?? [];
  return lines
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local = '', , state]) => state === LISTENING && Number.parseInt(local.split(':')[1] ?? '', 16) === port)
    .map((fields) => `socket:[${fields[9]}]`);
}

function openFiles(pid: number): string[] {
  const directory = `/proc/${pid}/fd`;
  const names = attempt(() => readdirSync(directory)) ?? [];
  return names.flatMap((name) => attempt(() => readlinkSync(join(directory, name))) ?? []);
}

/** Nothing when it cannot be read: a process ends, a file closes. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

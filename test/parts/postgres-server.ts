import type { ChildProcess } from 'node:child_process';
import { execFile, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { chmod, chown, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { freePort } from '../../src/provision/ports.ts';

const run = promisify(execFile);
/** `nobody`: PostgreSQL refuses to run as root. */
export const NOBODY = 65534;
const START_MS = 30_000;

/** A throw-away PostgreSQL. */
export interface PostgresServer {
  readonly url: string;
  /** Makes a connection of its own. */
  readonly connect: () => Promise<Client>;
  /** Stops it: `fast` ends sessions in order, `immediate` is a crash, `kill` is `kill -9` of all its processes. */
  readonly stop: (mode?: 'fast' | 'immediate' | 'kill') => Promise<void>;
  readonly start: () => Promise<void>;
  /** Stops it and removes its files. */
  readonly remove: () => Promise<void>;
}

/** Processes that a process has started. */
const childrenOf = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);

function killed(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // ended meanwhile
  }
}

/** Folder of the server's programs: on PATH, else where Debian puts them, the newest first. */
function binaries(): string {
  const debian = '/usr/lib/postgresql';
  const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : [];
  const folders = [
    ...(process.env['PATH'] ?? '').split(delimiter),
    ...versions.map((version) => join(debian, version, 'bin')),
  ];
  const found = folders.find((folder) => existsSync(join(folder, 'initdb')) && existsSync(join(folder, 'postgres')));
  if (found === undefined)
    throw new Error('initdb and postgres are neither on PATH nor under /usr/lib/postgresql; install PostgreSQL');
  return found;
}

/**
 * Starts a PostgreSQL of its own on a free port, its data in a temporary folder. `settings` are command line settings, `bin` the folder of its
 * programs. Whoever starts it calls `remove`.
 */
export async function startPostgres(settings: Record<string, string> = {}, bin = binaries()): Promise<PostgresServer> {
  const identity = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};
  const root = await mkdtemp(join(tmpdir(), 'spillway-pg-'));
  if ('uid' in identity) await chown(root, NOBODY, NOBODY);
  await chmod(root, 0o700);
  const data = join(root, 'data');
  const env = { PATH: process.env['PATH'], LC_ALL: 'C' };
  await run(
    join(bin, 'initdb'),
    ['-D', data, '--username=spillway', '--auth=trust', '--encoding=UTF8', '--locale=C', '--no-sync'],
    { ...identity, env, cwd: root },
  );
  const port = await freePort([], new Set());
  const url = `postgres://spillway@127.0.0.1:${port}/postgres`;
  const fixed = { listen_addresses: '127.0.0.1', port: String(port), unix_socket_directories: root, fsync: 'off' };
  const flags = Object.entries({ ...fixed, ...settings }).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  let child: ChildProcess | undefined;
  let exited: Promise<void> = Promise.resolve();
  let log = '';
  // A run that is broken off before its clean-up leaves no server.
  process.once('exit', () => child?.kill('SIGQUIT'));

  const connect = async (): Promise<Client> => {
    const client = new Client({ connectionString: url, connectionTimeoutMillis: 5000 });
    client.on('error', () => undefined);
    await client.connect();
    return client;
  };
  const start = async (): Promise<void> => {
    child = spawn(join(bin, 'postgres'), ['-D', data, ...flags], {
      ...identity,
      env,
      cwd: root,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    child.stderr!.on('data', (text: Buffer) => (log = (log + text.toString()).slice(-20_000)));
    exited = new Promise((resolve) => child!.once('close', () => resolve()));
    for (const deadline = Date.now() + START_MS; ;) {
      try {
        return await (await connect()).end();
      } catch (error) {
        if (child.exitCode !== null || Date.now() > deadline)
          throw new Error(`PostgreSQL did not start:\n${log}`, { cause: error });
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  };
  const stop = async (mode: 'fast' | 'immediate' | 'kill' = 'fast'): Promise<void> => {
    if (!child) return;
    const backends = childrenOf(child.pid!);
    child.kill(({ fast: 'SIGINT', immediate: 'SIGQUIT', kill: 'SIGKILL' } as const)[mode]);
    child = undefined;
    // A postmaster that is killed does not end its backends: they would work on, and COMMIT, until they look after it.
    if (mode === 'kill') for (const pid of backends) killed(pid);
    await exited;
    while (mode === 'kill' && backends.some((pid) => existsSync(`/proc/${pid}`)))
      await new Promise((resolve) => setTimeout(resolve, 20));
  };
  const remove = async (): Promise<void> => {
    await stop('immediate');
    await rm(root, { recursive: true, force: true });
  };
  try {
    await start();
  } catch (error) {
    await remove();
    throw error;
  }
  return { url, connect, stop, start, remove };
}

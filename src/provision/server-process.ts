import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ProcessId } from '../contracts/pool.ts';
import { isAlive } from '../host/process-id.ts';

export interface ServerStart {
  readonly command: string;
  readonly args: readonly string[];
  /** All of the server's environment; nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** Gets both outputs, appended. */
  readonly logFile: string;
  /** Where the process writes who it is; see {@link readStat}. */
  readonly statFile: string;
  /** Another user to run as; needs root. */
  readonly user?: { readonly uid: number; readonly gid: number };
  /** An open directory that the server finds as {@link PASSED_DIRECTORY}, wherever it lies and whoever may enter its parents; closed here. */
  readonly passDirectory?: number;
}

/** Path of {@link ServerStart.passDirectory} as the started process sees it. */
export const PASSED_DIRECTORY = '/proc/self/fd/4';

/**
 * The shell writes its own line of /proc to descriptor 3 and becomes the server: same process, same start time. So who
 * the server is stands in the file before there is a server, and a caller killed in between loses nothing.
 */
const BECOME = 'read -r s < "/proc/$$/stat" && echo "$s" >&3 && exec 3>&- && exec "$@"';

/** Starts a server that outlives us, in a session of its own, and answers who it is. */
export async function startServer(start: ServerStart): Promise<ProcessId> {
  if (process.platform !== 'linux') throw new Error('servers are started on Linux only');
  const log = openSync(start.logFile, 'a', 0o600);
  const stat = openSync(start.statFile, 'w', 0o600);
  try {
    const child = spawn('/bin/sh', ['-c', BECOME, 'sh', start.command, ...start.args], {
      cwd: start.cwd,
      env: { ...start.env },
      detached: true,
      stdio: ['ignore', log, log, stat, start.passDirectory ?? 'ignore'],
      ...(start.user ?? {}),
    });
    await new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject));
    child.unref();
    for (let tries = 0; tries < 500; tries += 1) {
      const identity = readStat(start.statFile);
      if (identity) return identity;
      await sleep(10);
    }
    throw new Error(`${start.command} did not start within 5 s`);
  } finally {
    closeSync(log);
    closeSync(stat);
    if (start.passDirectory !== undefined) closeSync(start.passDirectory);
  }
}

/** Who wrote this stat file; undefined when nobody did, or the file is absent. The process may be gone. */
export function readStat(statFile: string): ProcessId | undefined {
  let line: string;
  try {
    line = readFileSync(statFile, 'utf8').trimEnd();
  } catch {
    return undefined;
  }
  // The name of the program stands in parentheses and may hold anything: fields are counted behind the last one.
  const startedAt = Number(line.slice(line.lastIndexOf(')') + 2).split(' ')[19]);
  const pid = Number.parseInt(line, 10);
  return Number.isSafeInteger(pid) && Number.isSafeInteger(startedAt) ? { pid, startedAt } : undefined;
}

export interface StopOrder {
  /** What asks this server to end in good order. */
  readonly signal: NodeJS.Signals;
  /** How long it may take before it is killed. */
  readonly graceMs: number;
}

/**
 * Ends a process that is told by pid and start time, first by its signal, then by SIGKILL to its group, and resolves when
 * it is seen gone. A later process with the same pid is left alone. Answers how it ended.
 */
export async function stopServer(identity: ProcessId, order: StopOrder): Promise<'was-gone' | 'ended' | 'killed'> {
  if (!isAlive(identity)) return 'was-gone';
  signal(identity.pid, order.signal);
  if (await goneWithin(identity, order.graceMs)) return 'ended';
  signal(-identity.pid, 'SIGKILL');
  if (isAlive(identity)) signal(identity.pid, 'SIGKILL');
  if (await goneWithin(identity, 10_000)) return 'killed';
  throw new Error(`process ${identity.pid} is still there 10 s after SIGKILL`);
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

async function goneWithin(identity: ProcessId, ms: number): Promise<boolean> {
  for (const until = Date.now() + ms; Date.now() < until;) {
    if (!isAlive(identity)) return true;
    await sleep(25);
  }
  return !isAlive(identity);
}

/** What a server logged at last, a megabyte at most: a JVM that cannot start prints some 200 kB, its reason in the middle. Empty without a log. */
export function readLog(logFile: string): string {
  try {
    return readFileSync(logFile, 'utf8').slice(-1_000_000);
  } catch {
    return '';
  }
}

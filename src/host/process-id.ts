import { readFileSync } from 'node:fs';
import type { ProcessId } from '../contracts/pool.ts';

/**
 * Identity of a process of this host, or undefined when there is none with that pid.
 * `startedAt` is in clock ticks since boot, so a later process with the same pid is told apart.
 * A zombie counts as gone, as it holds no memory and does no work, but only when none of its threads is left: a killed
 * process of many threads is a zombie from the end of its first one on, with its memory and its ports still held.
 */
export function readProcessId(pid: number, procRoot = '/proc'): ProcessId | undefined {
  let stat: string;
  try {
    stat = readFileSync(`${procRoot}/${pid}/stat`, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
  // The command name may hold blanks and brackets, so fields are counted from its last closing one.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const threads = Number(fields[17]);
  if (fields[0] === 'X' || (fields[0] === 'Z' && threads <= 1)) return undefined;
  const startedAt = Number(fields[19]);
  return Number.isSafeInteger(startedAt) ? { pid, startedAt } : undefined;
}

/** Whether a name says, after `prefix`, the pid of who made it, and that is gone: what was killed could not remove what it had made. */
export function isLeftBehind(name: string, prefix: string, procRoot = '/proc'): boolean {
  const pid = name.startsWith(prefix) ? /^\d+(?=-|$)/.exec(name.slice(prefix.length))?.[0] : undefined;
  return pid !== undefined && readProcessId(Number(pid), procRoot) === undefined;
}

/** Identity of this process. Throws where there is no `/proc`. */
export function ownProcessId(): ProcessId {
  const own = readProcessId(process.pid);
  if (!own) throw new Error('this process is not in /proc');
  return own;
}

/** Whether exactly this process still runs; a newer one with the same pid does not count. */
export function isAlive(processId: ProcessId, procRoot = '/proc'): boolean {
  return readProcessId(processId.pid, procRoot)?.startedAt === processId.startedAt;
}

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { ProcessId } from '../contracts/pool.ts';

/** Who runs under this pid now: pid and the instant it started. Undefined when nobody does, or only a zombie. */
export function processIdentity(pid: number): ProcessId | undefined {
  if (process.platform !== 'linux') return identityFromPs(pid);
  try {
    return identityFromStat(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return undefined;
  }
}

/**
 * Reads a line of `/proc/<pid>/stat`; `startedAt` is in clock ticks since boot. The name of the program stands in
 * parentheses and may hold spaces and parentheses itself, so fields are counted behind the last one.
 */
export function identityFromStat(line: string): ProcessId | undefined {
  const pid = Number.parseInt(line, 10);
  const fields = line.slice(line.lastIndexOf(')') + 2).trim().split(' ');
  const startedAt = Number(fields[19]);
  if (!Number.isSafeInteger(pid) || !Number.isSafeInteger(startedAt) || fields.length < 20) return undefined;
  if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
  return { pid, startedAt };
}

/** Systems without /proc: the start time in milliseconds, as `ps` tells it to the second. */
function identityFromPs(pid: number): ProcessId | undefined {
  try {
    const started = Date.parse(execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim());
    return Number.isNaN(started) ? undefined : { pid, startedAt: started };
  } catch {
    return undefined;
  }
}

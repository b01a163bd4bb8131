import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ProcessId } from '../contracts/pool.ts';
import { isAlive, readProcessId } from './process-id.ts';

/** A process that carries a mark among its arguments, and what stands after it. */
export interface MarkedProcess {
  process: ProcessId;
  values: string[];
}

const GONE_WITHIN_MS = 5_000;

/** Processes of this host with this mark, whoever started them. */
export function markedProcesses(mark: string): MarkedProcess[] {
  return readdirSync('/proc').flatMap((name) => {
    const pid = Number(name);
    if (!Number.isInteger(pid)) return [];
    try {
      const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
      const at = args.indexOf(mark);
      const process = at < 0 ? undefined : readProcessId(pid);
      return process ? [{ process, values: args.slice(at + 1) }] : [];
    } catch {
      return []; // ended while we looked
    }
  });
}

/** Kills exactly this process and waits until it is gone. @throws Error when it is still there after 5 s */
export async function endProcess(processId: ProcessId): Promise<void> {
  for (const deadline = Date.now() + GONE_WITHIN_MS; isAlive(processId);) {
    if (Date.now() > deadline) throw new Error(`process ${processId.pid} is still there after SIGKILL`);
    try {
      process.kill(processId.pid, 'SIGKILL');
    } catch {
      // gone between two looks
    }
    await sleep(10);
  }
}

import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ProcessId } from '../../contracts/pool.ts';
import { isAlive, readProcessId } from '../../host/process-id.ts';

/** An attempt of a transform, as its process is named. */
export interface TransformName {
  run: string;
  step: string;
  token: number;
}

const MARK = '--spillway-transform';
const GONE_WITHIN_MS = 5_000;

/** Arguments by which a process is found, whoever started it. */
export const nameArguments = ({ run, step, token }: TransformName): string[] => [MARK, run, step, String(token)];

export interface FoundTransform extends TransformName {
  process: ProcessId;
}

/** Transform processes of this host that this user may end. */
export function transformProcesses(): FoundTransform[] {
  return readdirSync('/proc').flatMap((name) => {
    const pid = Number(name);
    if (!Number.isInteger(pid)) return [];
    try {
      const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      const at = args.indexOf(MARK);
      const [run, step, token] = args.slice(at + 1);
      if (at < 0 || run === undefined || step === undefined) return [];
      const process = readProcessId(pid);
      return process ? [{ run, step, token: Number(token), process }] : [];
    } catch {
      return []; // ended while we looked
    }
  });
}

/**
 * Ends the transform processes of a run, or of one of its steps up to a token, and sees them gone. Answers how many there were.
 * @throws Error when one is still there after 5 s
 */
export async function endTransforms(of: { run: string; step?: string; upToToken?: number }): Promise<number> {
  const ours = transformProcesses().filter(
    ({ run, step, token }) =>
      run === of.run && (of.step === undefined || step === of.step) && token <= (of.upToToken ?? Infinity),
  );
  await Promise.all(ours.map(({ process }) => endProcess(process)));
  return ours.length;
}

/** Kills exactly this process and waits until it is gone. */
export async function endProcess(processId: ProcessId): Promise<void> {
  for (const deadline = Date.now() + GONE_WITHIN_MS; isAlive(processId);) {
    if (Date.now() > deadline) throw new Error(`process ${processId.pid} of a transform is still there`);
    try {
      process.kill(processId.pid, 'SIGKILL');
    } catch {
      // gone between two looks
    }
    await sleep(10);
  }
}

import { execa } from 'execa';

/**
 * What the kernel's log says about kills for want of memory in a group: whose limit was passed.
 * `own`: the group's or one below it; `ceiling`: one above it, or the host's; `none`: no such kill is in the log;
 * `unreadable`: this user may not read it.
 */
export type KernelVerdict = 'own' | 'ceiling' | 'none' | 'unreadable';

/** Lines of the kernel's log about kills of processes in a group or below it; undefined where this user may not read it. */
export async function readOomKills(groupPath: string): Promise<string[] | undefined> {
  const result = await execa('dmesg', { reject: false, timeout: 5000 });
  if (result.failed || result.stdout === '') return undefined;
  return findOomKills(result.stdout, groupPath);
}

/** Those lines in the text of a kernel log. Pure. */
export function findOomKills(log: string, groupPath: string): string[] {
  return log.split('\n').filter((line) => {
    const victim = /task_memcg=([^,]+)/.exec(line)?.[1];
    return victim !== undefined && within(victim, groupPath);
  });
}

/**
 * Judges the last kill in a group that the log did not hold `before`: the log knows groups by their paths only, and a path may come again. Pure.
 */
export function judgeKernelLog(
  groupPath: string,
  before: readonly string[] | undefined,
  after: readonly string[] | undefined,
): KernelVerdict {
  if (!before || !after) return 'unreadable';
  const last = after.filter((line) => !before.includes(line)).at(-1);
  if (last === undefined) return 'none';
  const limited = /oom_memcg=([^,]+)/.exec(last)?.[1]; // absent when the whole host ran out
  return limited !== undefined && within(limited, groupPath) ? 'own' : 'ceiling';
}

const within = (path: string, group: string): boolean => path === group || path.startsWith(`${group}/`);

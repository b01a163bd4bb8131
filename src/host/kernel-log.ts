import { execa } from 'execa';

/**
 * What the kernel's log says about kills for want of memory in a group: whose limit was passed.
 * `own`: the group's or one below it; `ceiling`: one above it, or the host's; `none`: no such kill is in the log;
 * `unreadable`: this user may not read it.
 */
export type KernelVerdict = 'own' | 'ceiling' | 'none' | 'unreadable';

/** Asks the kernel's log about a group. Its path must be unique to one attempt, since the log knows no names but paths. */
export async function readOomVerdict(groupPath: string): Promise<KernelVerdict> {
  const result = await execa('dmesg', { reject: false, timeout: 5000, stripFinalNewline: false });
  if (result.failed || result.stdout === '') return 'unreadable';
  return judgeKernelLog(result.stdout, groupPath);
}

/** Reads the last kill of a process in the group from the text of a kernel log. Pure. */
export function judgeKernelLog(log: string, groupPath: string): KernelVerdict {
  const within = (path: string): boolean => path === groupPath || path.startsWith(`${groupPath}/`);
  let verdict: KernelVerdict = 'none';
  for (const line of log.split('\n')) {
    const victim = /task_memcg=([^,]+)/.exec(line)?.[1];
    if (victim === undefined || !within(victim)) continue;
    const limited = /oom_memcg=([^,]+)/.exec(line)?.[1]; // absent when the whole host ran out
    verdict = limited !== undefined && within(limited) ? 'own' : 'ceiling';
  }
  return verdict;
}

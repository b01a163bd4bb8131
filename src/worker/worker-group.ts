import type { ProcessId } from '../contracts/pool.ts';
import { type CgroupTree, type NoCgroups, poolPath } from '../host/cgroup-tree.ts';
import { isAlive } from '../host/process-id.ts';
import { formatBytes } from '../policy/sizes.ts';
import type { WorkerLog } from './worker-log.ts';

/** What a worker process is charged, and whom. */
export interface WorkerShare {
  pool: string;
  poolBytes: number;
  process: ProcessId;
  /** Its standing charge: the limit of its group. */
  bytes: number;
}

const nameOf = ({ pid, startedAt }: ProcessId): string => `worker-${pid}-${startedAt}`;

/** Of its children a process may leave some for a moment; the group goes with the next worker then. */
const LEAVE_MS = 500;

/**
 * Moves this process into a memory group of its own below its pool's, limited to its standing charge: one that leaks is ended by the kernel at that, and
 * takes nothing from steps. What it took before stays charged where it was. Answers how to leave. Where groups cannot be made, and in a unit of systemd,
 * which has a group of its own, nothing happens.
 */
export async function joinWorkerGroup(
  tree: CgroupTree | NoCgroups,
  { pool, poolBytes, process, bytes }: WorkerShare,
  log: WorkerLog,
): Promise<() => Promise<void>> {
  const nothing = async (): Promise<void> => undefined;
  if (tree.version === 'none') return nothing;
  try {
    const before = await tree.groupOf(process.pid);
    if (before.endsWith('.service')) return nothing;
    const path = await tree.makeStep(await tree.makePool(pool, poolBytes), nameOf(process), bytes);
    await tree.addProcess(path, process.pid);
    return async () => {
      await tree.moveProcess(before, process.pid).catch(nothing); // a scope of systemd goes with its last process
      await tree.remove(path, LEAVE_MS).catch(nothing);
    };
  } catch (error) {
    log.warn(`this worker is not held to its ${formatBytes(bytes)}: ${(error as Error).message}`);
    return nothing;
  }
}

/** Removes the groups of worker processes that are gone, once nobody is left in them. Answers their names. */
export async function removeDeadWorkerGroups(tree: CgroupTree | NoCgroups, pool: string): Promise<string[]> {
  if (tree.version === 'none') return [];
  const removed: string[] = [];
  for (const name of await tree.children(poolPath(pool))) {
    const [, pid, startedAt] = /^worker-(\d+)-(\d+)$/.exec(name) ?? [];
    if (pid === undefined || isAlive({ pid: Number(pid), startedAt: Number(startedAt) })) continue;
    const path = `${poolPath(pool)}/${name}`;
    if ((await tree.read(path))?.processes !== 0) continue; // children that it left: they are ended by name
    await tree.remove(path);
    removed.push(name);
  }
  return removed;
}

import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { SpillwayError } from '../../contracts/errors.ts';
import type { Proof } from '../../contracts/pool.ts';
import { poolPath, type CgroupTree, type NoCgroups } from '../../host/cgroup-tree.ts';
import { attemptPrefix, isAttemptName } from './container-name.ts';

/** Removes the groups that earlier attempts of a step left, and one of this very attempt. */
export async function removeLowerGroups(
  tree: CgroupTree,
  pool: string,
  { run, step, token }: { run: string; step: string; token: number },
): Promise<void> {
  const prefix = attemptPrefix({ run, step });
  for (const group of await tree.children(pool)) {
    if (group.startsWith(prefix) && Number(group.slice(prefix.length)) <= token)
      await removeGroup(tree, `${pool}/${group}`);
  }
}

/**
 * Removes a step's group once its container or process is gone, with whoever is left in it: a runtime that was killed between making a container and
 * starting it leaves a process that it knows nothing of.
 */
export async function removeGroup(tree: CgroupTree, path: string): Promise<void> {
  await tree.kill(path);
  await tree.remove(path);
}

/** The kernel sums a group's statistics every 2 s, or when a processor has 64 pages that they have not heard of (FLUSH_TIME, MEMCG_CHARGE_BATCH in mm/memcontrol.c). */
const STATISTICS_LAG_MS = 2500;
const STATISTICS_LAG_BYTES = 64 * 4096 * availableParallelism();

/**
 * Proof of a step whose container or process is gone; its group tells what of its bytes is left. Of one that keeps nothing, so little that the statistics may
 * not have heard of its end is looked at again, for as long as they may lag.
 *
 * @throws `ContainerFailed` when somebody is left in it
 */
export async function proveEmpty(
  tree: Pick<CgroupTree, 'kill' | 'read'> | undefined,
  stepPath: string | undefined,
  { keepsRows, lagMs = STATISTICS_LAG_MS }: { keepsRows: boolean; lagMs?: number },
): Promise<Proof> {
  if (!tree || !stepPath) return { kind: 'exited', atMs: Date.now(), bytesLeft: 0 };
  await tree.kill(stepPath);
  const began = Date.now();
  for (let round = 0; ; round++) {
    const reading = await tree.read(stepPath);
    if (!reading || reading.processes === 0) {
      const bytesLeft = reading?.heldBytes ?? 0;
      const mayLag = !keepsRows && bytesLeft > 0 && bytesLeft <= STATISTICS_LAG_BYTES;
      if (!mayLag || Date.now() - began > lagMs) return { kind: 'cgroup-empty', atMs: Date.now(), bytesLeft };
      await sleep(50);
      continue;
    }
    if (round >= 500) {
      throw new SpillwayError(
        'ContainerFailed',
        `processes are left in ${stepPath} after its container was removed; end them`,
      );
    }
    await sleep(20);
  }
}

/** Removes step groups of a pool that are older and hold no process, unless `exists` knows whom they wait for. Answers their names. */
export async function removeEmptyGroups(
  tree: CgroupTree | NoCgroups,
  pool: string,
  olderThanMs: number,
  exists: (name: string) => Promise<boolean>,
): Promise<string[]> {
  if (tree.version === 'none') return [];
  const removed: string[] = [];
  for (const name of await tree.children(poolPath(pool))) {
    const path = `${poolPath(pool)}/${name}`;
    if (!isAttemptName(name) || (await tree.ageMs(path)) < olderThanMs) continue;
    if ((await tree.read(path))?.processes !== 0 || (await exists(name))) continue;
    await tree.remove(path);
    removed.push(name);
  }
  return removed;
}

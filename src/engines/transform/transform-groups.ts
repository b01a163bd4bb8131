import { writeFile } from 'node:fs/promises';
import type { CgroupTree, NoCgroups } from '../../host/cgroup-tree.ts';
import { poolPath } from '../../host/cgroup-tree.ts';
import { containerName } from '../container/container-name.ts';
import { removeGroup, removeLowerGroups } from '../container/step-group.ts';

/** An attempt of a transform. */
interface Attempt {
  run: string;
  step: string;
  token: number;
}

/** The memory group of one transform process. */
export interface TransformGroup {
  /** Puts the process into it: what it takes from now on counts there. */
  hold(pid: number): Promise<void>;
  /** Whether the kernel ended a process in it for want of memory. */
  ranOut(): Promise<boolean>;
  /** Removes it, with whoever is left in it. */
  remove(): Promise<void>;
}

/** Memory groups of transform processes, below their pool's as those of containers are. */
export interface TransformGroups {
  /** Makes one, limited to `bytes`; those of earlier attempts go first. Undefined on hosts where none can be made. */
  make(pool: string, attempt: Attempt, bytes: number): Promise<TransformGroup | undefined>;
  /** Removes those of a step's attempts up to a token, once their processes are gone. */
  removeUpTo(pool: string, attempt: Attempt): Promise<void>;
}

/** A container that decodes the input of a transform bears the name of the step itself. */
const ofTransform = ({ run, step, token }: Attempt): Attempt => ({ run, step: `${step} transform`, token });

/** @param poolLimitBytes limit of the pool's group, which is made with the first */
export function transformGroups(tree: CgroupTree | NoCgroups, poolLimitBytes: number): TransformGroups {
  if (tree.version === 'none') return { make: async () => undefined, removeUpTo: async () => undefined };
  return {
    async make(pool, attempt, bytes) {
      const named = ofTransform(attempt);
      const parent = await tree.makePool(pool, poolLimitBytes);
      await removeLowerGroups(tree, parent, named);
      const path = await tree.makeStep(parent, containerName(named), bytes);
      return {
        async hold(pid) {
          await tree.addProcess(path, pid);
          // When memory runs out on the host or in the pool, a step goes before the worker.
          await writeFile(`/proc/${pid}/oom_score_adj`, '500').catch(() => undefined);
        },
        ranOut: async () => Object.keys((await tree.read(path))?.oomKills ?? {}).length > 0,
        remove: () => removeGroup(tree, path),
      };
    },
    removeUpTo: (pool, attempt) => removeLowerGroups(tree, poolPath(pool), ofTransform(attempt)),
  };
}

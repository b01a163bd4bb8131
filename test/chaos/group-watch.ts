import { bytesUnder } from '../../src/handoff/bytes-under.ts';
import { openCgroupTree, poolPath, type CgroupTree } from '../../src/host/cgroup-tree.ts';

/** Looked at this often. */
const EVERY_MS = 50;
/** The kernel sums a group's statistics every 2 s: for as long a pool's may count what a worker held that is gone. */
const LAG_MS = 2_500;

/** What a pool's memory groups showed while they were watched; bytes. */
export interface Watched {
  looks: number;
  /** Looks at which a worker lived in a group of its own. */
  workerLooks: number;
  /** Most that steps were lent at one time, by the limits of groups in which somebody lived. */
  lentBytes: number;
  /** Most that lay in memory as rows at one time. */
  rowBytes: number;
  /** Most that a pool's group held beyond what its workers held, and its steps and their rows were lent. */
  beyondBytes: number;
  /** Limits that the pool's group had. */
  poolLimits: number[];
  /** Most heavy engines at one time. */
  engines: number;
}

/**
 * Watches the memory groups of a pool from outside: the kernel's own word on what is lent. Undefined where there are none.
 * @param rowsRoot where rows in memory lie: the group of a pool holds them when their writer is gone
 * @param isHeavy whether a step's group is of a heavy step, by its name
 */
export async function watchGroups(
  pool: string,
  rowsRoot: string | undefined,
  isHeavy: (group: string) => boolean,
): Promise<{ stop(): Promise<Watched> } | undefined> {
  // prettier-ignore
  const tree = await openCgroupTree();
  if (tree.version === 'none') return undefined;
  const seen: Watched = {
    looks: 0,
    workerLooks: 0,
    lentBytes: 0,
    rowBytes: 0,
    beyondBytes: 0,
    poolLimits: [],
    engines: 0,
  };
  const workers: { atMs: number; bytes: number }[] = [];
  let stopped = false;
  const loop = (async () => {
    while (!stopped) {
      await look(tree, poolPath(pool), { rowsRoot, isHeavy, workers }, seen).catch(() => undefined); // groups go while they are read
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
  })();
  return {
    async stop() {
      stopped = true;
      await loop;
      return seen;
    },
  };
}

async function look(
  tree: CgroupTree,
  path: string,
  of: {
    rowsRoot: string | undefined;
    isHeavy: (group: string) => boolean;
    workers: { atMs: number; bytes: number }[];
  },
  seen: Watched,
): Promise<void> {
  // Rows first, as they may go; then the pool's group: a step that begins between two reads is not missed in what was lent.
  const rowBytes = of.rowsRoot === undefined ? 0 : await bytesUnder(of.rowsRoot);
  const pool = await tree.read(path);
  const names = await tree.children(path);
  const groups = await Promise.all(names.map(async (name) => ({ name, reading: await tree.read(`${path}/${name}`) })));
  if (!pool) return;
  const inUse = groups.filter(({ reading }) => reading !== undefined && reading.processes > 0);
  const isWorker = ({ name }: { name: string }): boolean => name.startsWith('worker-');
  const alive = inUse.filter((group) => !isWorker(group));
  const lentBytes = alive.reduce((sum, { reading }) => sum + (reading!.limitBytes ?? 0), 0);
  const allLimits = groups.reduce((sum, group) => sum + (isWorker(group) ? 0 : (group.reading?.limitBytes ?? 0)), 0);
  const bytes = groups.reduce((sum, group) => sum + (isWorker(group) ? (group.reading?.heldBytes ?? 0) : 0), 0);
  of.workers.push({ atMs: Date.now(), bytes });
  while (of.workers[0]!.atMs < Date.now() - LAG_MS) of.workers.shift();
  const workerBytes = Math.max(...of.workers.map((one) => one.bytes));
  seen.looks += 1;
  if (inUse.length > alive.length) seen.workerLooks += 1;
  seen.lentBytes = Math.max(seen.lentBytes, lentBytes);
  seen.rowBytes = Math.max(seen.rowBytes, rowBytes);
  seen.beyondBytes = Math.max(seen.beyondBytes, pool.heldBytes - workerBytes - allLimits - rowBytes);
  seen.engines = Math.max(seen.engines, alive.filter(({ name }) => of.isHeavy(name)).length);
  if (pool.limitBytes !== undefined && !seen.poolLimits.includes(pool.limitBytes))
    seen.poolLimits.push(pool.limitBytes);
}

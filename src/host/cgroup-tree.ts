// A little past 250 lines: both versions of the kernel's interface stand side by side, since they differ in names far more than in shape.
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rmdir, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SpillwayError } from '../contracts/errors.ts';
import { isLeftBehind } from './process-id.ts';

/** Numbers of one group, its descendants included. Bytes. */
export interface GroupReading {
  usageBytes: number;
  /** Highest usage since the group was made; page cache counts, so it may stand at the limit without any trouble. */
  peakBytes: number;
  /** Absent when the group has no limit. */
  limitBytes?: number;
  /** Anonymous memory and tmpfs pages: what cannot be reclaimed. Never more than the usage. */
  heldBytes: number;
  /** Kills by the kernel, for each group of the subtree that counts its own. v1 forgets them with the group of the killed process. */
  oomKills: Record<string, number>;
  processes: number;
}

/**
 * The memory groups of this host below a pool's. Paths start with `/`. Where systemd has `spillway.slice`, pools stand in it, beside the worker's unit and the
 * servers', so that its limit holds all of them together; else at the root of the hierarchy.
 * On v1 a runtime repeats a group in every hierarchy, so making is done in one and removing in all.
 */
export interface CgroupTree {
  readonly version: 'v1' | 'v2';
  /** Makes the pool's group with its limit, or sets the limit of the one that is there. Answers its path. */
  makePool(pool: string, limitBytes: number): Promise<string>;
  /** Makes a step's group below its pool's (a path of makePool), limit set before anything runs in it. Answers its path. */
  makeStep(pool: string, name: string, limitBytes: number): Promise<string>;
  /** Puts a process into a step's group (a path of makeStep). */
  addProcess(path: string, pid: number): Promise<void>;
  /** Path of a pool's or step's group against the root of the hierarchy, as `--cgroup-parent` takes it. */
  fromRoot(path: string): string;
  /** Puts a process into a group, a path of {@link groupOf}, that has no groups below it. What it holds already stays charged where it was. */
  moveProcess(path: string, pid: number): Promise<void>;
  /** Path of the group that a process is in, against the root of the hierarchy. */
  groupOf(pid: number): Promise<string>;
  /** Reads a group; undefined when it is gone. */
  read(path: string): Promise<GroupReading | undefined>;
  /** Names of the groups directly below. */
  children(path: string): Promise<string[]>;
  /** Milliseconds since the group was made or changed; 0 when it is gone. */
  ageMs(path: string): Promise<number>;
  /** Kills every process in a group and below it. */
  kill(path: string): Promise<void>;
  /** Removes a group and all below it, depth first; waits up to `waitMs` (5,000) for its last processes. A group that is gone is fine. */
  remove(path: string, waitMs?: number): Promise<void>;
}

/** Without writable groups the ceiling is kept by accounting and by the runtime's own limits only. */
export interface NoCgroups {
  readonly version: 'none';
  readonly because: string;
}

export interface CgroupTreeOptions {
  /** @defaultValue '/sys/fs/cgroup' */
  root?: string;
  /** Removes one directory; recorded trees hold plain files and need another. @defaultValue rmdir */
  removeDirectory?: (path: string) => Promise<void>;
  /** @defaultValue '/proc' */
  procRoot?: string;
}

/** The unit that `spillway render` writes for systemd. */
const SLICE = '/spillway.slice';

/** Finds out which groups this host has and whether we may make some; probes by making and removing one. */
export async function openCgroupTree(options: CgroupTreeOptions = {}): Promise<CgroupTree | NoCgroups> {
  const { root = '/sys/fs/cgroup', removeDirectory = (path) => rmdir(path), procRoot = '/proc' } = options;
  const top = await readdir(root).catch((): string[] => []);
  const isV2 = top.includes('cgroup.controllers');
  if (!isV2 && !top.includes('memory')) return { version: 'none', because: `no memory groups below ${root}` };
  const layout: Layout = isV2
    ? { version: 'v2', memory: root, all: async () => [root] }
    : {
        version: 'v1',
        memory: join(root, 'memory'),
        all: async () => (await readdir(root)).map((name) => join(root, name)),
      };
  const base = existsSync(join(layout.memory, SLICE)) ? SLICE : '/';
  try {
    if (isV2) for (const parent of base === '/' ? [root] : [root, join(root, base)]) await delegate(parent);
    const probe = join(layout.memory, base, `${PROBE}${process.pid}`);
    await mkdir(probe, { recursive: true });
    await removeDirectory(probe);
    await removeProbesOfTheDead(join(layout.memory, base), procRoot, removeDirectory);
  } catch (error) {
    return { version: 'none', because: `memory groups below ${root} cannot be made: ${(error as Error).message}` };
  }
  return new Tree(layout, base, removeDirectory, procRoot);
}

/** Before the pid of who tries whether groups can be made. */
const PROBE = 'spillway-probe-';

/** Who was killed while it tried could not remove its group. */
async function removeProbesOfTheDead(
  at: string,
  procRoot: string,
  removeDirectory: (path: string) => Promise<void>,
): Promise<void> {
  for (const name of await folders(at)) {
    if (!isLeftBehind(name, PROBE, procRoot)) continue;
    await removeDirectory(join(at, name)).catch(() => undefined); // a pool may be called like one, and another process may be quicker
  }
}

/** Path of a pool's group; the same on every host and hierarchy. */
export function poolPath(pool: string): string {
  return `/spillway-${pool.replaceAll(/[^\w.-]+/g, '-')}`;
}

interface Layout {
  version: 'v1' | 'v2';
  memory: string;
  /** Every hierarchy a runtime may have made our group in. */
  all: () => Promise<string[]>;
}

class Tree implements CgroupTree {
  readonly version: 'v1' | 'v2';
  readonly #layout: Layout;
  readonly #base: string;
  readonly #removeDirectory: (path: string) => Promise<void>;

  readonly #procRoot: string;

  constructor(layout: Layout, base: string, removeDirectory: (path: string) => Promise<void>, procRoot: string) {
    this.version = layout.version;
    this.#layout = layout;
    this.#base = base;
    this.#removeDirectory = removeDirectory;
    this.#procRoot = procRoot;
  }

  async makePool(pool: string, limitBytes: number): Promise<string> {
    const path = poolPath(pool);
    await mkdir(this.#at(path), { recursive: true });
    if (this.version === 'v2') await delegate(this.#at(path));
    await this.#limit(path, limitBytes);
    return path;
  }

  async makeStep(pool: string, name: string, limitBytes: number): Promise<string> {
    const path = `${pool}/${name}`;
    await mkdir(this.#at(path));
    // A runtime puts containers below this group, so on v2 it passes its controllers on.
    if (this.version === 'v2') await delegate(this.#at(path));
    await this.#limit(path, limitBytes);
    return path;
  }

  async addProcess(path: string, pid: number): Promise<void> {
    // A v2 group that passes controllers on holds no processes of its own.
    const at = this.version === 'v2' ? join(this.#at(path), 'process') : this.#at(path);
    await mkdir(at, { recursive: true });
    await writeFile(join(at, 'cgroup.procs'), String(pid));
  }

  fromRoot(path: string): string {
    return join(this.#base, path);
  }

  async moveProcess(path: string, pid: number): Promise<void> {
    await writeFile(join(this.#layout.memory, path, 'cgroup.procs'), String(pid));
  }

  async groupOf(pid: number): Promise<string> {
    const groups = await readFile(join(this.#procRoot, String(pid), 'cgroup'), 'utf8');
    // Lines of hierarchy:controllers:path; v2 has the number 0 and names no controllers.
    const line = this.version === 'v2' ? /^0::(.*)$/m : /^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(.*)$/m;
    return line.exec(groups)?.[1] ?? '/';
  }

  async read(path: string): Promise<GroupReading | undefined> {
    const at = this.#at(path);
    const v1 = this.version === 'v1';
    const groups = await subtree(at);
    const [usage, peak, limit, held] = await Promise.all([
      readText(join(at, v1 ? 'memory.usage_in_bytes' : 'memory.current')),
      readText(join(at, v1 ? 'memory.max_usage_in_bytes' : 'memory.peak')),
      readText(join(at, v1 ? 'memory.limit_in_bytes' : 'memory.max')),
      heldBelow(groups, v1),
    ]);
    if (usage === undefined || held === undefined) return undefined;
    const limitBytes = Number(limit);
    const oomKills: Record<string, number> = {};
    let processes = 0;
    for (const group of groups) {
      processes += ((await readText(join(group, 'cgroup.procs'))) ?? '').split('\n').filter(Boolean).length;
      // v2 counts a group's descendants with it and keeps the count; v1 counts in the group of the killed process alone.
      if (!v1 && group !== at) continue;
      const kills = field((await readText(join(group, v1 ? 'memory.oom_control' : 'memory.events'))) ?? '', 'oom_kill');
      if (kills > 0) oomKills[group.slice(at.length) || '/'] = kills;
    }
    return {
      usageBytes: Number(usage),
      // memory.peak is there from Linux 5.19.
      peakBytes: Number(peak ?? usage),
      ...(Number.isFinite(limitBytes) && limitBytes < UNLIMITED && { limitBytes }),
      // What the statistics have not heard of yet may be freed already.
      heldBytes: Math.min(held, Number(usage)),
      oomKills,
      processes,
    };
  }

  async children(path: string): Promise<string[]> {
    return folders(this.#at(path));
  }

  async ageMs(path: string): Promise<number> {
    const found = await stat(this.#at(path)).catch(() => undefined);
    return found ? Math.max(0, Date.now() - found.mtimeMs) : 0;
  }

  async kill(path: string): Promise<void> {
    if (path === '/' || !path.startsWith('/') || path.includes('..')) throw new Error(`not a group of ours: ${path}`);
    for (const group of await subtree(this.#at(path))) {
      const pids = await readFile(join(group, 'cgroup.procs'), 'utf8').catch(() => '');
      for (const pid of pids
        .split('\n')
        .map(Number)
        .filter((found) => found > 1)) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
        }
      }
    }
  }

  async remove(path: string, waitMs = 5000): Promise<void> {
    if (path === '/' || !path.startsWith('/') || path.includes('..')) throw new Error(`not a group of ours: ${path}`);
    const deadline = Date.now() + waitMs;
    for (;;) {
      const left: string[] = [];
      for (const hierarchy of await this.#layout.all()) {
        const groups = await subtree(join(hierarchy, this.#base, path));
        for (const group of groups.reverse()) {
          await this.#removeDirectory(group).catch((error: NodeJS.ErrnoException) => {
            if (error.code !== 'ENOENT') left.push(`${group}: ${error.code ?? error.message}`);
          });
        }
      }
      if (left.length === 0) return;
      if (Date.now() >= deadline) {
        throw new SpillwayError(
          'ContainerFailed',
          `cannot remove the memory group ${path}; see who is in its cgroup.procs`,
          {
            details: { left },
          },
        );
      }
      await sleep(20);
    }
  }

  #at(path: string): string {
    return join(this.#layout.memory, this.#base, path);
  }

  async #limit(path: string, limitBytes: number): Promise<void> {
    const at = this.#at(path);
    if (this.version === 'v2') {
      await writeFile(join(at, 'memory.max'), String(limitBytes));
      await writeFile(join(at, 'memory.swap.max'), '0').catch(ignoreMissing); // no such file without swap accounting
      return;
    }
    const memory = join(at, 'memory.limit_in_bytes');
    const withSwap = join(at, 'memory.memsw.limit_in_bytes');
    // The second must never be below the first, so a limit that rises is written in the other order.
    const rises = limitBytes > Number((await readText(withSwap)) ?? Number.MAX_VALUE);
    for (const file of rises ? [withSwap, memory] : [memory, withSwap]) {
      await writeFile(file, String(limitBytes)).catch(file === withSwap ? ignoreMissing : undefined);
    }
  }
}

/** v1 says "no limit" as the largest whole number of pages. */
const UNLIMITED = 2 ** 62;

/** Lets the children of a v2 group have limits of their own. */
async function delegate(path: string): Promise<void> {
  const available = ((await readText(join(path, 'cgroup.controllers'))) ?? '').split(/\s+/);
  const wanted = ['memory', 'cpu', 'cpuset', 'pids'].filter((name) => available.includes(name));
  if (!wanted.includes('memory')) throw new Error(`${path} has no memory controller`);
  const on = ((await readText(join(path, 'cgroup.subtree_control'))) ?? '').split(/\s+/);
  const missing = wanted.filter((name) => !on.includes(name));
  if (missing.length > 0) {
    await writeFile(join(path, 'cgroup.subtree_control'), missing.map((name) => `+${name}`).join(' '));
  }
}

/**
 * Anonymous and tmpfs bytes of the first group with all below it; undefined when it is gone.
 *
 * Linux (seen on 6.18) brings a group's statistics up to date only when its own count of changes says so, and stops counting for it while a group below is
 * due: a parent may stand still for two seconds while its children are right. So no group is believed to hold less than its children do together.
 * They are read deepest first, which mostly makes the parents' due as well.
 */
async function heldBelow(groups: readonly string[], v1: boolean): Promise<number | undefined> {
  const below = new Map<string, number>();
  let held: number | undefined;
  for (const group of [...groups].reverse()) {
    const text = await readText(join(group, 'memory.stat'));
    if (text === undefined) {
      held = undefined;
      continue;
    }
    const own = field(text, v1 ? 'total_rss' : 'anon') + field(text, v1 ? 'total_shmem' : 'shmem');
    held = Math.max(own, below.get(group) ?? 0);
    const parent = dirname(group);
    below.set(parent, (below.get(parent) ?? 0) + held);
  }
  return held;
}

/** The group and all below it, parents first. */
async function subtree(at: string): Promise<string[]> {
  const found: string[] = [];
  const todo = [at];
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    const below = await readdir(next, { withFileTypes: true }).catch(() => undefined);
    if (!below) continue;
    found.push(next);
    for (const entry of below) if (entry.isDirectory()) todo.push(join(next, entry.name));
  }
  return found;
}

async function folders(at: string): Promise<string[]> {
  const entries = await readdir(at, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    // ENODEV: the group went away between opening and reading.
    if (code === 'ENOENT' || code === 'ENODEV' || code === 'ENOTDIR') return undefined;
    throw error;
  }
}

function field(text: string, name: string): number {
  for (const line of text.split('\n')) {
    if (line.startsWith(`${name} `)) return Number(line.slice(name.length + 1));
  }
  return 0;
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT' && error.code !== 'EACCES') throw error;
}

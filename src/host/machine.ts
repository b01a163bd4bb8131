import { readFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { availableParallelism, hostname, totalmem } from 'node:os';
import { dirname, resolve } from 'node:path';

/** What this host has. */
export interface Machine {
  /** Name that leases and handoffs carry: the host name. */
  host: string;
  /** RAM in bytes, or the limit of the group this process runs in where that is lower. */
  ramBytes: number;
  /** Cores, not threads, that this process may run on. */
  physicalCores: number;
  /** Logical processors this process may run on, one thread of each core first. */
  cpus: number[];
}

/** Reads the facts of this host. `roots` let recorded trees stand in for `/proc` and `/sys`. */
export function readMachine(roots: { proc?: string; sys?: string } = {}): Machine {
  const { proc = '/proc', sys = '/sys' } = roots;
  const cores = readCores(allowedCpus(proc), sys);
  const limit = process.constrainedMemory();
  const total = totalmem();
  return {
    host: hostname(),
    // Unlimited is told as 0 or as a number beyond any RAM, by version of the kernel's interface.
    ramBytes: limit > 0 && limit < total ? limit : total,
    physicalCores: cores.length,
    cpus: interleave(cores),
  };
}

/**
 * A `--cpuset-cpus` value of that many processors: whole cores first, second threads only past them.
 * Asking for more than there are gives all.
 */
export function chooseCpuset(machine: Pick<Machine, 'cpus'>, count: number): string {
  return machine.cpus
    .slice(0, Math.max(1, Math.floor(count)))
    .sort((a, b) => a - b)
    .join(',');
}

/** Bytes an unprivileged writer may still add below `path`; the path need not exist yet. */
export async function diskFreeBytes(path: string): Promise<number> {
  for (let at = resolve(path); ; at = dirname(at)) {
    try {
      const { bavail, bsize } = await statfs(at);
      return bavail * bsize;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || at === dirname(at)) throw error;
    }
  }
}

const TMPFS_MAGIC = 0x01021994;

/** Whether files at `path` live in memory: they are charged to their writer and cannot be reclaimed. */
export async function isTmpfs(path: string): Promise<boolean> {
  return (await statfs(path)).type === TMPFS_MAGIC;
}

/** Reads a kernel list such as `0-3,8`. */
export function parseCpuList(text: string): number[] {
  return text
    .trim()
    .split(',')
    .filter((range) => range !== '')
    .flatMap((range) => {
      const [first = 0, last = first] = range.split('-').map(Number);
      return Array.from({ length: last - first + 1 }, (_, index) => first + index);
    });
}

function allowedCpus(proc: string): number[] {
  try {
    const allowed = /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync(`${proc}/self/status`, 'utf8'))?.[1];
    if (allowed) return parseCpuList(allowed);
  } catch {
    // No /proc: every processor counts.
  }
  return Array.from({ length: availableParallelism() }, (_, index) => index);
}

/** Processors of each core; a processor without topology is a core of its own. */
function readCores(cpus: number[], sys: string): number[][] {
  const cores = new Map<string, number[]>();
  for (const cpu of cpus) {
    const folder = `${sys}/devices/system/cpu/cpu${cpu}/topology`;
    let key = `cpu${cpu}`;
    try {
      const read = (name: string): string => readFileSync(`${folder}/${name}`, 'utf8').trim();
      key = `${read('physical_package_id')}/${read('core_id')}`;
    } catch {
      // Some virtual machines show no topology.
    }
    cores.set(key, [...(cores.get(key) ?? []), cpu]);
  }
  return [...cores.values()];
}

function interleave(cores: number[][]): number[] {
  const widest = Math.max(0, ...cores.map((core) => core.length));
  return Array.from({ length: widest }, (_, thread) => cores.flatMap((core) => core[thread] ?? [])).flat();
}

import { readFileSync, statfsSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { dirname } from 'node:path';

/** What `auto` computes with. Given by tests, read by {@link readHostFacts} otherwise. */
export interface HostFacts {
  /** RAM that this process may use: of the host, or of the container it runs in. */
  readonly ramBytes: number;
  readonly physicalCores: number;
  /** Free disk under the scratch root. */
  readonly freeDiskBytes: number;
}

/** Reads RAM, physical cores and free disk of this host; `scratch` need not exist yet. */
export function readHostFacts(scratch: string): HostFacts {
  const constrained = process.constrainedMemory();
  const total = totalmem();
  // Without a limit some kernels answer 0, others a number beyond any RAM.
  const ramBytes = constrained > 0 && constrained < total ? constrained : total;
  return { ramBytes, physicalCores: physicalCores(), freeDiskBytes: freeDiskBytes(scratch) };
}

/** Hyperthreads share one core's caches; engines run one partition per physical core. */
function physicalCores(): number {
  const usable = availableParallelism();
  try {
    const cores = new Set<string>();
    for (const cpu of readFileSync('/proc/cpuinfo', 'utf8').split('\n\n')) {
      const core = /^core id\s*:\s*(\d+)/m.exec(cpu)?.[1];
      if (core !== undefined) cores.add(`${/^physical id\s*:\s*(\d+)/m.exec(cpu)?.[1] ?? '0'}/${core}`);
    }
    return cores.size > 0 ? Math.min(cores.size, usable) : usable;
  } catch {
    return usable; // not Linux
  }
}

function freeDiskBytes(path: string): number {
  for (let at = path; ; at = dirname(at)) {
    try {
      const stats = statfsSync(at);
      return stats.bavail * stats.bsize;
    } catch (error) {
      if (at === dirname(at)) throw error;
    }
  }
}

import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import type { ResolvedConfig } from '../../config/resolved.ts';
import { openCgroupTree } from '../../host/cgroup-tree.ts';
import { probeRuntime } from '../../host/container-runtime.ts';
import { readMachine } from '../../host/machine.ts';
import type { HostReading } from '../../policy/doctor/host.ts';

/** Where the kernel shows itself; recorded trees stand in for it in tests. */
export interface KernelRoots {
  /** @defaultValue '/proc' */
  proc?: string;
  /** @defaultValue '/sys' */
  sys?: string;
  /** @defaultValue '/etc/passwd' */
  passwd?: string;
}

/** Reads what a host has; starts one container that only exits. */
export async function readHost(config: ResolvedConfig, roots: KernelRoots = {}): Promise<HostReading> {
  const { proc = '/proc', sys = '/sys', passwd = '/etc/passwd' } = roots;
  const machine = readMachine({ proc, sys });
  const cgroup = join(sys, 'fs', 'cgroup');
  const [cgroups, runtime] = await Promise.all([
    openCgroupTree({ root: cgroup }),
    probeRuntime({ kinds: [config.runtime.kind, config.runtime.kind === 'podman' ? 'docker' : 'podman'] }),
  ]);
  return {
    ramBytes: machine.ramBytes,
    physicalCores: machine.physicalCores,
    cgroups: cgroups.version === 'none' ? cgroups : { version: cgroups.version },
    controllers: await readControllers(cgroup),
    runtime,
    openFiles: openFiles(proc),
    selinux: await readSelinux(sys),
    otherUsers: otherUsers(readOr(passwd, '')),
  };
}

/** v2 lists the controllers of its root; v1 has a folder for each. */
export async function readControllers(cgroup: string): Promise<{ memory: boolean; cpuset: boolean }> {
  const v2 = await readFile(join(cgroup, 'cgroup.controllers'), 'utf8').catch(() => undefined);
  const names = v2?.trim().split(/\s+/);
  const has = (name: string): boolean =>
    names?.includes(name) ?? readOr(join(cgroup, name, 'tasks'), undefined) !== undefined;
  return { memory: has('memory'), cpuset: has('cpuset') };
}

function openFiles(proc: string): number {
  const found = /^Max open files\s+(\d+|unlimited)/m.exec(readOr(join(proc, 'self', 'limits'), ''))?.[1];
  return found === undefined || found === 'unlimited' ? Number.MAX_SAFE_INTEGER : Number(found);
}

async function readSelinux(sys: string): Promise<HostReading['selinux']> {
  const text = await readFile(join(sys, 'fs', 'selinux', 'enforce'), 'utf8').catch(() => undefined);
  return text === undefined ? 'absent' : text.trim() === '1' ? 'enforcing' : 'permissive';
}

/** Accounts of people: numbers from 1000 on, with a shell to log in to. */
export function otherUsers(passwd: string, me = userInfo().username): string[] {
  return passwd
    .split('\n')
    .map((line) => line.split(':'))
    .filter(
      ([, , uid = '', , , , shell = '']) =>
        Number(uid) >= 1000 && Number(uid) < 65_534 && !/(nologin|false)$/.test(shell),
    )
    .map(([name = '']) => name)
    .filter((name) => name !== me);
}

function readOr<T>(path: string, otherwise: T): string | T {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return otherwise;
  }
}

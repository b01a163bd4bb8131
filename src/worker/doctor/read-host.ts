import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import type { ResolvedConfig } from '../../config/resolved.ts';
import { openCgroupTree, type CgroupTree, type NoCgroups } from '../../host/cgroup-tree.ts';
import { probeRuntime, type RuntimeFound, type RuntimeMissing } from '../../host/container-runtime.ts';
import { isLeftBehind } from '../../host/process-id.ts';
import { tmpfsSizeBytes } from '../../host/tmpfs.ts';
import { readMachine } from '../../host/machine.ts';
import type { HostReading } from '../../policy/doctor/host.ts';
import { MiB } from '../../policy/sizes.ts';

/** What the trial containers may use together. */
const GROUP_BYTES = 256 * MiB;

/** Reads what a host has; starts a few containers that only exit. */
export async function readHost(config: ResolvedConfig): Promise<HostReading> {
  const machine = readMachine();
  const cgroups = await openCgroupTree();
  const runtime =
    config.runtime.kind === 'process' ? ({ kind: 'process' } as const) : await tryRuntime(config.runtime.kind, cgroups);
  return {
    ramBytes: machine.ramBytes,
    physicalCores: machine.physicalCores,
    cgroups: cgroups.version === 'none' ? cgroups : { version: cgroups.version },
    controllers: await readControllers('/sys/fs/cgroup'),
    runtime,
    openFiles: openFiles(),
    tmpfsBytes: await tmpfsSizeBytes(),
    selinux: await readSelinux(),
    otherUsers: otherUsers(readOr('/etc/passwd', '')),
  };
}

/** Tries the runtime, with a memory group of ours to start below where some can be made. */
async function tryRuntime(
  kind: 'podman' | 'docker',
  cgroups: CgroupTree | NoCgroups,
): Promise<RuntimeFound | RuntimeMissing> {
  const kinds = [kind, kind === 'podman' ? 'docker' : 'podman'] as const;
  if (cgroups.version === 'none') return probeRuntime({ kinds });
  await removeGroupsOfTheDead(cgroups);
  const group = await cgroups.makePool(`doctor-${process.pid}`, GROUP_BYTES);
  try {
    return await probeRuntime({ kinds, cgroupParent: cgroups.fromRoot(group) });
  } finally {
    await cgroups.remove(group);
  }
}

/** A doctor that was killed could not remove its group. A pool may be called like one; its limit is another. */
async function removeGroupsOfTheDead(cgroups: CgroupTree): Promise<void> {
  for (const name of await cgroups.children('/')) {
    if (!isLeftBehind(name, 'spillway-doctor-')) continue;
    const group = await cgroups.read(`/${name}`);
    if (group?.limitBytes === GROUP_BYTES && group.processes === 0) await cgroups.remove(`/${name}`);
  }
}

/** v2 lists the controllers of its root; v1 has a folder for each. */
export async function readControllers(cgroup: string): Promise<{ memory: boolean; cpuset: boolean }> {
  const v2 = await readFile(join(cgroup, 'cgroup.controllers'), 'utf8').catch(() => undefined);
  const names = v2?.trim().split(/\s+/);
  const has = (name: string): boolean =>
    names?.includes(name) ?? readOr(join(cgroup, name, 'tasks'), undefined) !== undefined;
  return { memory: has('memory'), cpuset: has('cpuset') };
}

function openFiles(): number {
  const found = /^Max open files\s+(\d+|unlimited)/m.exec(readOr('/proc/self/limits', ''))?.[1];
  return found === undefined || found === 'unlimited' ? Number.MAX_SAFE_INTEGER : Number(found);
}

async function readSelinux(): Promise<HostReading['selinux']> {
  const text = await readFile('/sys/fs/selinux/enforce', 'utf8').catch(() => undefined);
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

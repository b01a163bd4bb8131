import { execa } from 'execa';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createCliRuntime } from '../../src/engines/container/cli-runtime.ts';
import { containerName } from '../../src/engines/container/container-name.ts';
import type { ContainerRuntime, ContainerSpec } from '../../src/engines/container/container-port.ts';
import { openCgroupTree, poolPath, type CgroupTree } from '../../src/host/cgroup-tree.ts';
import { probeRuntime, type RuntimeFound } from '../../src/host/container-runtime.ts';
import { readMachine, type Machine } from '../../src/host/machine.ts';
import { datafusionImage } from '../../src/provision/datafusion-image.ts';

/** The real parts that container tests need: a runtime, groups, the runner's image, and a pool of their own. */
export interface ContainerHost {
  found: RuntimeFound;
  cgroups: CgroupTree;
  machine: Machine;
  image: string;
  scratch: string;
  pool: string;
  /** Runs the image's own entry point. */
  runtime: ContainerRuntime;
  /** Runs Python code given as `['-c', code]` in the same image. */
  python(poolLimitBytes?: number): ContainerRuntime;
  /** Containers of the pool, its groups in every hierarchy, and files left in scratch: nothing when all is gone. */
  leftovers(): Promise<string[]>;
  close(): Promise<void>;
}

export const POOL_LIMIT_BYTES = 12_000_000_000;

export async function openContainerHost(topic: string): Promise<ContainerHost> {
  const found = await probeRuntime();
  if (found.kind === 'none') throw new Error(found.because);
  const cgroups = await openCgroupTree();
  if (cgroups.version === 'none') throw new Error(cgroups.because);
  const scratch = mkdtempSync(join(tmpdir(), `spillway-${topic}-`));
  const { name: image } = await datafusionImage(found, join(scratch, 'image'), process.env, () => undefined);
  rmSync(join(scratch, 'image'), { recursive: true, force: true });
  const pool = `${topic}-${process.pid}`;
  const runtime = (flags: readonly string[], poolLimitBytes: number): ContainerRuntime =>
    createCliRuntime({ kind: found.kind, flags, cgroups, poolLimitBytes });
  const plain = runtime(found.flags, POOL_LIMIT_BYTES);
  return {
    ...{ found, cgroups, image, scratch, pool, machine: readMachine(), runtime: plain },
    python: (limit = POOL_LIMIT_BYTES) => runtime([...found.flags, '--entrypoint', '/usr/bin/python3.11'], limit),
    leftovers: async () => [
      ...(await plain.listByLabels({ 'spillway.pool': pool })).map(({ name }) => name),
      ...groupsBelow(pool),
      ...(readdirSync(scratch, { recursive: true, withFileTypes: true }) ?? [])
        .filter((entry) => !entry.isDirectory() && !entry.name.startsWith('kept-'))
        .map(({ name }) => name),
    ],
    close: async () => {
      await plain.removeByLabels({ 'spillway.pool': pool });
      await cgroups.remove(poolPath(pool));
      rmSync(scratch, { recursive: true, force: true });
    },
  };
}

/** Step groups below a pool's group, in whatever hierarchy. */
function groupsBelow(pool: string): string[] {
  const root = '/sys/fs/cgroup';
  const hierarchies = [root, ...readdirSync(root, { withFileTypes: true }).map(({ name }) => join(root, name))];
  const tops = hierarchies.flatMap((top) => [top, join(top, 'spillway.slice')]);
  return tops.flatMap((top) => {
    try {
      const entries = readdirSync(join(top, poolPath(pool)), { withFileTypes: true });
      return entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(top, name));
    } catch {
      return []; // not made in this hierarchy
    }
  });
}

/** A container of the topic's pool that runs Python code; `say` in it writes an event. */
export function pythonSpec(host: ContainerHost, code: string, more: Partial<ContainerSpec> = {}): ContainerSpec {
  const say = 'import json,sys,time,os\ndef say(ev, **more): print(json.dumps({"ev": ev, **more}), flush=True)\n';
  return {
    ...{ run: 'run-1', step: 'step-1', token: 1, pool: host.pool, image: host.image, command: ['-c', say + code] },
    ...{ memoryBytes: 100_000_000, cpuset: '0', mounts: [], timeoutMs: 60_000 },
    ...more,
  };
}

/** Resolves when the container has written this event. */
export function whenSaid(ev: string): { onEvent: NonNullable<ContainerSpec['onEvent']>; said: Promise<void> } {
  let resolve: () => void;
  const said = new Promise<void>((done) => (resolve = done));
  return { said, onEvent: (event) => (event.ev === ev ? resolve() : undefined) };
}

/** What the runtime says of a running container. */
export async function inspectContainer(host: ContainerHost, spec: ContainerSpec): Promise<InspectedContainer> {
  const { stdout } = await execa(host.found.kind, ['container', 'inspect', containerName(spec)]);
  return (JSON.parse(stdout) as InspectedContainer[])[0]!;
}
export interface InspectedContainer {
  HostConfig: Record<string, unknown>;
  Config: Record<string, unknown>;
  EffectiveCaps?: string[] | null;
  State: { ConmonPid: number };
}

/** Process id of the runtime's command that started a container. */
export async function commandPid(spec: ContainerSpec): Promise<number> {
  const name = containerName(spec);
  for (let round = 0; round < 100; round++) {
    for (const entry of readdirSync('/proc').filter((text) => /^\d+$/.test(text))) {
      const line = readCommand(entry);
      if (/(^|\/)(podman|docker)$/.test(line[0] ?? '') && line[1] === 'run' && line.includes(name))
        return Number(entry);
    }
    await sleep(20);
  }
  throw new Error(`no command runs ${name}`);
}

function readCommand(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return []; // ended meanwhile
  }
}

/** A directory of the host for one test. */
export function makeDir(...path: string[]): string {
  const dir = join(...path);
  mkdirSync(dir, { recursive: true });
  return dir;
}

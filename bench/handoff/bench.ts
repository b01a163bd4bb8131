import { execa } from 'execa';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { HandoffRef } from '../../src/contracts/handoff.ts';
import { createCliRuntime } from '../../src/engines/container/cli-runtime.ts';
import type { ContainerOutcome, ContainerRuntime, ContainerSpec } from '../../src/engines/container/container-port.ts';
import { splitMemory } from '../../src/engines/datafusion/memory-rule.ts';
import { runDatafusion, type DatafusionRequest } from '../../src/engines/datafusion/run-datafusion.ts';
import { openCgroupTree, poolPath } from '../../src/host/cgroup-tree.ts';
import { probeRuntime } from '../../src/host/container-runtime.ts';
import { readMachine } from '../../src/host/machine.ts';
import { GiB, MiB } from '../../src/policy/sizes.ts';
import { datafusionImage } from '../../src/provision/datafusion-image.ts';
import { PINS } from '../../src/provision/pins.ts';
import { ReleaseStack } from '../../src/worker/release-stack.ts';
import type { Bench } from '../bench.ts';
import { benchFile } from '../bench-python.ts';
import { figureOf } from '../figures.ts';

/** 0.8 of pyarrow's speed. */
const GOAL = { of: 'ratio', atMost: 1.25 } as const;

/**
 * Rows on tmpfs, written to each carrier: by a step (`select *`, in its container) and by pyarrow alone, in the same image with the same limits, in turn;
 * beside them what the medium does. Seconds are those of the work, without the start of container and interpreter.
 */
export const handoffBench: Bench = async ({ rounds, quick, env, signal, say }) => {
  const stack = new ReleaseStack();
  try {
    const found = await probeRuntime();
    const cgroups = await openCgroupTree();
    if (found.kind === 'none') throw new Error(found.because);
    const disk = mkdtempSync(join(tmpdir(), 'spillway-bench-'));
    const memory = mkdtempSync('/dev/shm/spillway-bench-');
    stack.push('files', () => [disk, memory].forEach((path) => rmSync(path, { recursive: true, force: true })));
    for (const path of [disk, memory]) chmodSync(path, 0o777);
    const { name: image } = await datafusionImage(found, join(disk, 'image'), env, () => undefined);
    const pool = `bench-handoff-${process.pid}`;
    const runtimeWith = (flags: readonly string[]): ContainerRuntime =>
      createCliRuntime({ kind: found.kind, flags, cgroups, poolLimitBytes: 12 * GiB });
    const runner = runtimeWith(found.flags);
    const python = runtimeWith([...found.flags, '--entrypoint', '/usr/bin/python3.11']);
    stack.push('groups', async () => {
      await runner.removeByLabels({ 'spillway.pool': pool });
      if (cgroups.version !== 'none') await cgroups.remove(poolPath(pool));
    });

    const machine = readMachine();
    const cpuset = '0,1';
    const leaseBytes = 3 * GiB;
    let token = 0;
    const program = join(disk, 'pyarrow_write.py');
    copyFileSync(benchFile('handoff', 'pyarrow_write.py'), program);
    const theirs = async (...args: string[]): Promise<number> => {
      signal.throwIfAborted();
      const spec: ContainerSpec = {
        ...{ run: 'bench', step: 'pyarrow', token: (token += 1), pool, image, cpuset, memoryBytes: leaseBytes },
        command: ['/disk/pyarrow_write.py', ...args],
        mounts: [{ source: disk, target: '/disk', writable: true }, { source: memory, target: '/memory', writable: true }],
        ...{ timeoutMs: 600_000, signal },
      }; // prettier-ignore
      return secondsOf(await python.run(spec));
    };

    const size = quick ? 32 * MiB : GiB;
    say(`making ${size / MiB} MiB of rows`);
    await theirs('make', '/memory/rows.arrow', String(size));
    const rows = join(memory, 'rows.arrow');
    const bytes = statSync(rows).size;
    const ref: HandoffRef = {
      ...{ mode: 'shm', because: 'a bench', schema: [], rows: 0, bytes, host: machine.host, fingerprint: 'f' },
      parts: [{ kind: 'arrow', uri: pathToFileURL(rows).href, rows: 0, bytes }],
    };
    const ours = async (output: (dir: string) => DatafusionRequest['output'], where: string): Promise<number> => {
      signal.throwIfAborted();
      const dir = join(where, 'out');
      mkdirSync(dir);
      let outcome: ContainerOutcome | undefined;
      const runtime: ContainerRuntime = { ...runner, run: async (spec) => (outcome = await runner.run(spec)) };
      try {
        await runDatafusion(
          { runtime, image, machine },
          {
            ...{ run: 'bench', step: 'ours', token: (token += 1), pool, leaseBytes, scratchBytes: 8 * GiB, cpus: 2 },
            ...{ inputs: { rows: ref }, sql: 'select * from rows', output: output(dir), attemptDir: join(disk, 'attempt') },
            ...{ timeoutMs: 600_000, signal },
          },
        ); // prettier-ignore
        return secondsOf(outcome!);
      } finally {
        rmSync(dir, { recursive: true });
      }
    };
    const { rowGroupBytes } = splitMemory(leaseBytes, 2);
    const ways = {
      memory: [() => ours((dir) => ({ kind: 'arrow', dir: join(disk, 'beside'), memory: { dir, bytes: bytes + 64 * MiB } }), memory), () => theirs('arrow', '/memory/rows.arrow', '/memory/theirs')],
      arrow: [() => ours((dir) => ({ kind: 'arrow', dir }), disk), () => theirs('arrow', '/memory/rows.arrow', '/disk/theirs')],
      parquet: [() => ours((dir) => ({ kind: 'parquet', dir }), disk), () => theirs('parquet', '/memory/rows.arrow', '/disk/theirs', String(rowGroupBytes))],
    } as const; // prettier-ignore
    const seen: Record<string, { ours: number[]; theirs: number[] }> = {};
    const medium = { memcpy: [] as number[], dd: [] as number[] };
    for (let round = quick ? 0 : -1; round < rounds; round += 1) {
      for (const [way, [own, other]] of Object.entries(ways)) {
        const [a, b] = [await own(), await other()];
        for (const path of [memory, disk]) rmSync(join(path, 'theirs'), { force: true });
        const all = (seen[way] ??= { ours: [], theirs: [] });
        if (round < 0) continue; // a warm-up
        all.ours.push(a);
        all.theirs.push(b);
      }
      medium.memcpy.push(await theirs('memcpy', '/memory/rows.arrow'));
      const began = performance.now();
      await execa('dd', [`if=${rows}`, `of=${join(disk, 'dd')}`, 'bs=4M', 'conv=fdatasync'], { cancelSignal: signal });
      medium.dd.push((performance.now() - began) / 1000);
      rmSync(join(disk, 'dd'));
      say(`round ${round + 1} of ${rounds}`);
    }
    const perGiB = (all: readonly number[]): number[] => all.map((seconds) => (seconds * GiB) / bytes);
    const figures = Object.entries(seen).map(([way, all]) =>
      figureOf({
        ...{ name: `write 1 GiB: ${way}`, unit: 's', ours: perGiB(all.ours), theirs: perGiB(all.theirs) },
        ...{ against: 'pyarrow on the same medium', goal: GOAL },
      }),
    );
    const media = Object.entries(medium).map(([name, all]) => figureOf({ name: `1 GiB: ${name}`, unit: 's', ours: perGiB(all) })); // prettier-ignore
    return { figures: [...figures, ...media], versions: { datafusion: PINS.datafusion, image } };
  } finally {
    await stack.close();
  }
};

/** Seconds that a container's work took, by its own word. */
function secondsOf(outcome: ContainerOutcome): number {
  const seconds = outcome.result?.['seconds'];
  if (outcome.verdict !== 'ok' || typeof seconds !== 'number')
    throw new Error(`a container ended as ${outcome.verdict}: ${outcome.stderrTail}`);
  return seconds;
}

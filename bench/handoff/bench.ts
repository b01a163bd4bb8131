import { execa } from 'execa';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
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

/** Linear: a byte of 4 GiB costs what one of 1 GiB costs. */
const LINEAR = { of: 'ratio', atMost: 1.25 } as const;
const TIMES = 4;
/** Beside the rows that it keeps in memory. */
const ENGINE_BYTES = 3 * GiB;

/**
 * Rows on tmpfs, written to each carrier: by a step (`select *`, in its container) and by pyarrow alone, in the same image with the same limits, in turn;
 * beside them what the medium does, and what four times the rows and a hundredth of them take. Seconds are those of the work, without the start of container and interpreter.
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
    let token = 0;
    const program = join(disk, 'pyarrow_write.py');
    copyFileSync(benchFile('handoff', 'pyarrow_write.py'), program);
    const theirs = async (...args: string[]): Promise<number> => {
      signal.throwIfAborted();
      const spec: ContainerSpec = {
        ...{ run: 'bench', step: 'pyarrow', token: (token += 1), pool, image, cpuset, memoryBytes: ENGINE_BYTES },
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
    await theirs('make', '/memory/few.arrow', String(Math.floor(size / 100)));
    const few = join(memory, 'few.arrow');
    const refOf = (file: string, times = 1): HandoffRef => ({
      ...{ mode: 'shm', because: 'a bench', schema: [], rows: 0, bytes: times * statSync(file).size, host: machine.host, fingerprint: 'f' },
      parts: Array.from({ length: times }, () => ({ kind: 'arrow', uri: pathToFileURL(file).href, rows: 0, bytes: statSync(file).size })),
    }); // prettier-ignore
    const ours = async (way: Way, input: HandoffRef): Promise<number> => {
      signal.throwIfAborted();
      const dir = join(way === 'memory' ? memory : disk, 'out');
      mkdirSync(dir);
      const memoryBytes = way === 'memory' ? input.bytes + 64 * MiB : 0;
      const output: DatafusionRequest['output'] =
        way === 'memory'
          ? { kind: 'arrow', dir: join(disk, 'beside'), memory: { dir, bytes: memoryBytes } }
          : { kind: way, dir };
      let outcome: ContainerOutcome | undefined;
      const runtime: ContainerRuntime = { ...runner, run: async (spec) => (outcome = await runner.run(spec)) };
      try {
        await runDatafusion(
          { runtime, image, machine },
          {
            ...{ run: 'bench', step: 'ours', token: (token += 1), pool, leaseBytes: ENGINE_BYTES + memoryBytes, scratchBytes: 8 * GiB, cpus: 2 },
            ...{ inputs: { rows: input }, sql: 'select * from rows', output, attemptDir: join(disk, 'attempt') },
            ...{ timeoutMs: 600_000, signal },
          },
        ); // prettier-ignore
        return secondsOf(outcome!);
      } finally {
        rmSync(dir, { recursive: true });
      }
    };
    const { rowGroupBytes } = splitMemory(ENGINE_BYTES, 2);
    const pyarrow = async (way: Way, source: string): Promise<number> => {
      const target = way === 'memory' ? '/memory/theirs' : '/disk/theirs';
      const [kind, ...more] = way === 'parquet' ? ['parquet', String(rowGroupBytes)] : ['arrow'];
      const seconds = await theirs(kind, `/memory/${basename(source)}`, target, ...more);
      for (const path of [memory, disk]) rmSync(join(path, 'theirs'), { force: true });
      return seconds;
    };
    const gib = bytes / GiB;
    const seen = new Map(WAYS.map((way) => [way, nothingSeen()]));
    const medium = { memcpy: [] as number[], dd: [] as number[] };
    for (let round = quick ? 0 : -1; round < rounds; round += 1) {
      for (const [way, all] of seen) {
        // Who comes first has the disk busy with what was removed before.
        const both = [
          async () => all.ours.push((await ours(way, refOf(rows))) / gib),
          async () => all.theirs.push((await pyarrow(way, rows)) / gib),
        ];
        for (const one of round % 2 === 0 ? both : both.reverse()) await one();
        all.few.push(await ours(way, refOf(few)));
        all.theirsFew.push(await pyarrow(way, few));
      }
      if (round < 0) {
        for (const all of seen.values()) Object.assign(all, nothingSeen()); // a warm-up
        continue;
      }
      for (const [way, all] of seen) all.many.push((await ours(way, refOf(rows, TIMES))) / TIMES / gib);
      medium.memcpy.push((await theirs('memcpy', '/memory/rows.arrow')) / gib);
      const began = performance.now();
      await execa('dd', [`if=${rows}`, `of=${join(disk, 'dd')}`, 'bs=4M', 'conv=fdatasync'], { cancelSignal: signal });
      medium.dd.push((performance.now() - began) / 1000 / gib);
      rmSync(join(disk, 'dd'));
      say(`round ${round + 1} of ${rounds}`);
    }
    const against = 'pyarrow on the same medium';
    const figures = [...seen].flatMap(([way, all]) => [
      figureOf({ name: `write 1 GiB: ${way}`, unit: 's', ours: all.ours, theirs: all.theirs, against, goal: GOAL }),
      figureOf({ name: `a GiB of ${TIMES}: ${way}`, unit: 's', ours: all.many, theirs: all.ours, against: '1 GiB by the same way', goal: LINEAR }),
      figureOf({ name: `write 10 MiB: ${way}`, unit: 's', ours: all.few, theirs: all.theirsFew, against }),
    ]); // prettier-ignore
    const media = Object.entries(medium).map(([name, all]) =>
      figureOf({ name: `1 GiB: ${name}`, unit: 's', ours: all }),
    );
    return { figures: [...figures, ...media], versions: { datafusion: PINS.datafusion, image } };
  } finally {
    await stack.close();
  }
};

const WAYS = ['memory', 'arrow', 'parquet'] as const;
type Way = (typeof WAYS)[number];
/** Seconds: of a GiB; of one of several; and of a hundredth of a GiB. */
type Seen = Record<'ours' | 'theirs' | 'many' | 'few' | 'theirsFew', number[]>;
const nothingSeen = (): Seen => ({ ours: [], theirs: [], many: [], few: [], theirsFew: [] });

/** Seconds that a container's work took, by its own word. */
function secondsOf(outcome: ContainerOutcome): number {
  const seconds = outcome.result?.['seconds'];
  if (outcome.verdict !== 'ok' || typeof seconds !== 'number')
    throw new Error(`a container ended as ${outcome.verdict}: ${outcome.stderrTail}`);
  return seconds;
}

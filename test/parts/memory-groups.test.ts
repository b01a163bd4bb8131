import { afterAll, afterEach, beforeAll, expect, jest, test } from '@jest/globals';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Int64, RecordBatchFileWriter, Table, vectorFromArray } from 'apache-arrow';
import type { ProcessId } from '../../src/contracts/pool.ts';
import { runTransform, type TransformResult } from '../../src/engines/transform/run-transform.ts';
import { transformGroups, type TransformGroups } from '../../src/engines/transform/transform-groups.ts';
import { type CgroupTree, openCgroupTree, poolPath } from '../../src/host/cgroup-tree.ts';
import { ownProcessId, readProcessId } from '../../src/host/process-id.ts';
import { GiB, MiB } from '../../src/policy/sizes.ts';
import { joinWorkerGroup, removeDeadWorkerGroups } from '../../src/worker/worker-group.ts';
import { eventually } from '../integration/stack-waiting.ts';

jest.setTimeout(60_000);

/** On a host without groups there is nothing to try: there the runtime's limits and the watchdog hold, which have tests of their own. */
let tree: CgroupTree;
const pool = `groups-${process.pid}`;
const children: ChildProcess[] = [];
beforeAll(async () => {
  const found = await openCgroupTree();
  if (found.version === 'none') throw new Error(`these tests need memory groups: ${found.because}`);
  tree = found;
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await eventually(async () => (await removeDeadWorkerGroups(tree, pool), (await tree.children(poolPath(pool))).length === 0 || undefined), { what: 'an empty pool' }); // prettier-ignore
});
afterAll(() => tree.remove(poolPath(pool)));

const quiet = { info: () => undefined, warn: (line: string) => expect(line).toBe('') };
/** Takes as many MB as it is told over its standard input. */
const TAKER = `process.stdin.on('data', (mb) => { globalThis.kept = Buffer.alloc(Number(mb) * 1e6, 1); console.log('took'); }); console.log('up');`;

async function taker(): Promise<{ child: ChildProcess; id: ProcessId }> {
  const child = spawn(process.execPath, ['-e', TAKER], { stdio: ['pipe', 'pipe', 'inherit'] });
  children.push(child);
  await once(child.stdout, 'data');
  const id = readProcessId(child.pid!);
  if (!id) throw new Error('it ended');
  return { child, id };
}
const join128 = (id: ProcessId): Promise<() => Promise<void>> =>
  joinWorkerGroup(tree, { pool, poolBytes: GiB, process: id, bytes: 128 * MiB }, quiet);

test('a worker that takes more than its standing charge is ended by the kernel, and nobody else of the pool', async () => {
  const [leaks, beside] = [await taker(), await taker()];
  await Promise.all([join128(leaks.id), join128(beside.id)]);
  expect(await tree.children(poolPath(pool))).toHaveLength(2);
  expect(await tree.groupOf(leaks.id.pid)).toMatch(
    `${tree.fromRoot(poolPath(pool))}/worker-${leaks.id.pid}-${leaks.id.startedAt}`,
  );
  leaks.child.stdin!.write('300');
  beside.child.stdin!.write('50');
  const [, signal] = (await once(leaks.child, 'exit')) as [number | null, string | null];
  expect(signal).toBe('SIGKILL');
  expect(beside.child.exitCode ?? beside.child.signalCode).toBeNull();
  const reading = await tree.read(`${poolPath(pool)}/worker-${beside.id.pid}-${beside.id.startedAt}`);
  expect(reading).toMatchObject({ limitBytes: 128 * MiB, processes: 1 });
  expect(reading!.heldBytes).toBeGreaterThan(45e6);
  // The next worker removes the group of the one that is gone, and no other.
  expect(await removeDeadWorkerGroups(tree, pool)).toEqual([`worker-${leaks.id.pid}-${leaks.id.startedAt}`]);
});

test('a worker that stops leaves its group as it was, and the group is gone', async () => {
  const before = await tree.groupOf(process.pid);
  const leave = await joinWorkerGroup(tree, { pool, poolBytes: GiB, process: ownProcessId(), bytes: GiB }, quiet);
  expect(await tree.groupOf(process.pid)).not.toBe(before);
  await leave();
  expect(await tree.groupOf(process.pid)).toBe(before);
  expect(await tree.children(poolPath(pool))).toEqual([]);
});

test('a worker in a unit of systemd stays in it', async () => {
  const unit = { ...tree, version: tree.version, groupOf: async () => '/spillway.slice/spillway-worker.service' } as CgroupTree; // prettier-ignore
  await joinWorkerGroup(unit, { pool, poolBytes: GiB, process: ownProcessId(), bytes: GiB }, quiet);
  expect(await tree.children(poolPath(pool)).catch(() => [])).toEqual([]);
});

/** Runs a transform in a group of so many bytes, with a watchdog that lets it have far more. */
async function transform(name: string, bytes: number, groups: TransformGroups): Promise<TransformResult> {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-groups-'));
  try {
    const numbers = new Table({ n: vectorFromArray([1n, 2n], new Int64()) });
    writeFileSync(join(folder, 'in.arrow'), RecordBatchFileWriter.writeAll(numbers).toUint8Array(true));
    const attempt = { run: folder, step: 'clean', token: 1 };
    return await runTransform({
      ...attempt,
      lease: { pool, leaseId: 'run/clean#0', bytes },
      groups,
      order: {
        kind: 'run',
        ...{ module: fileURLToPath(new URL('../integration/transforms-of-test.ts', import.meta.url)), transform: name },
        ...{ args: { prefix: '' }, run: folder, step: 'clean', limitBytes: 2 * GiB, scratchBytes: MiB, batchRows: 10 },
        input: { files: [join(folder, 'in.arrow')] },
        writeTo: { disk: join(folder, 'out.arrow') },
      },
      signal: new AbortController().signal,
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('a transform stands in a group of its own while it works, which goes with it', async () => {
  const groups = transformGroups(tree, GiB);
  let inGroup: string | undefined;
  const seen: TransformGroups = {
    ...groups,
    make: async (...of) => {
      const group = (await groups.make(...of))!;
      return { ...group, hold: async (pid) => (await group.hold(pid), void (inGroup = await tree.groupOf(pid))) };
    },
  };
  expect(await transform('twice', 512 * MiB, seen)).toMatchObject({ rows: 2 });
  // Processes of a v2 group stand in one below it.
  const leaf = tree.version === 'v2' ? '/process' : '';
  expect(inGroup).toMatch(new RegExp(`^${tree.fromRoot(poolPath(pool))}/spillway-.*-clean-transform-.*-t1${leaf}$`));
  expect(await tree.children(poolPath(pool))).toEqual([]);
});

test('a transform that the kernel ends at what it was lent has run out of its own memory', async () => {
  await expect(transform('spinning', 160 * MiB, transformGroups(tree, GiB))).rejects.toMatchObject({ code: 'OutOfMemoryOwn' }); // prettier-ignore
  expect(await tree.children(poolPath(pool))).toEqual([]);
});

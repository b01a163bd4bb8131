import { afterEach, beforeAll, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PipelineSpec } from '../../src/contracts/pipeline.ts';
import { openCgroupTree, poolPath } from '../../src/host/cgroup-tree.ts';
import { readOomKills } from '../../src/host/kernel-log.ts';
import { MiB } from '../../src/policy/sizes.ts';
import { FOUR_HEAVY_SLOTS, LEDGER_OFF, type Patch, patchedPackage } from './patched-package.ts';
import { sharedParts } from './provision-home.ts';
import { runningContainer } from './stack-containers.ts';
import { describeOverlap, heavyIntervals } from './stack-heavy.ts';
import { load, query, slowJob, smallJob } from './stack-jobs.ts';
import { stackTransforms } from './stack-leftovers.ts';
import { root, Stack } from './stack.ts';
import { eventually } from './stack-waiting.ts';

/** What holds when one of the fences has a hole: each is tried with the others taken away. */
let stack: Stack;
/** A pool of its own for each test: what a patched policy wrote, no other can replay. */
async function worker(topic: string, ...patches: Patch[]): Promise<void> {
  stack = await Stack.open(`fences-${topic}`, {
    pool: { limit: '6 GiB' },
    transforms: join(root, 'test', 'integration', 'transforms-of-stack.ts'),
  });
  await stack.worker(patches.length === 0 ? {} : { bin: patchedPackage(join(stack.directory, 'patched'), patches) });
}
beforeAll(() => sharedParts(), 600_000);
afterEach(async () => {
  try {
    await stack.clean();
  } finally {
    await stack.close();
  }
}, 150_000);

/** Four runs whose containers work for seconds. */
const four = (): Promise<string[]> =>
  Promise.all(['one', 'two', 'three', 'four'].map((table) => stack.startJob(slowJob(stack, table, 10_000))));
const heavyLeases = async (): Promise<number> => (await stack.status()).leases.filter(({ kind, weight, state }) => kind === 'work' && weight === 'heavy' && state !== 'queued').length; // prettier-ignore

test('with a ledger that grants everything, heavy steps still run one at a time', async () => {
  await worker('ledger', LEDGER_OFF);
  const sinceMs = Date.now();
  const ids = await four();
  await eventually(async () => (await heavyLeases()) > 1 || undefined, { what: 'two heavy leases at once' });
  await Promise.all(ids.map((id) => stack.result(id)));
  const intervals = await heavyIntervals(stack, sinceMs);
  expect(intervals.length).toBeGreaterThanOrEqual(8);
  expect(describeOverlap(intervals)).toEqual([]);
}, 300_000);

test('with four heavy slots, the ledger still lends to one at a time', async () => {
  await worker('slots', FOUR_HEAVY_SLOTS);
  const sinceMs = Date.now();
  const ids = await four();
  let most = 0;
  const watching = setInterval(() => void heavyLeases().then((now) => (most = Math.max(most, now)), () => undefined), 200); // prettier-ignore
  await Promise.all(ids.map((id) => stack.result(id)));
  clearInterval(watching);
  expect(most).toBe(1);
  expect(describeOverlap(await heavyIntervals(stack, sinceMs))).toEqual([]);
}, 300_000);

test('with both off, steps that take more than there is end in a kill within the pool’s group; all else runs on', async () => {
  await worker('both', LEDGER_OFF, FOUR_HEAVY_SLOTS);
  const outside = spawn(process.execPath, ['-e', `globalThis.kept = Buffer.alloc(${256 * MiB}, 1); setInterval(() => 0, 1000)`]); // prettier-ignore
  try {
    const group = poolPath(stack.pool);
    const before = (await readOomKills(group))?.length;
    const greedy = (table: string): PipelineSpec => ({
      name: table,
      steps: [
        query('orders', 'select orderkey from tpch.tiny.orders'),
        {
          ...{ step: 'greedy', verb: 'datafusion.sql', from: { orders: 'orders' }, memory: '3.2 GiB' },
          sql: `select cardinality(array_agg(concat(repeat('x', 1000), number))) as texts
                from (select unnest(range(0, 1000000)) as number) as numbers where number < (select max(orderkey) from orders) * 100`,
        },
        load(stack, 'greedy', table),
      ],
    });
    const ids = await Promise.all(['a', 'b', 'c', 'd'].map((table) => stack.startJob(greedy(`greedy_${table}`))));
    await Promise.allSettled(ids.map((id) => stack.result(id)));

    const told = (await Promise.all(ids.map((id) => stack.failures(id)))).flat();
    expect(told).toContain('OutOfMemoryCeiling');
    if (before !== undefined) {
      const kills = (await readOomKills(group))!.slice(before);
      expect(kills.some((line) => line.includes(`oom_memcg=${group},`))).toBe(true);
    }
    expect(outside.exitCode).toBeNull();
    expect(stack.workers).toHaveLength(1);
    const tree = await openCgroupTree();
    if (tree.version !== 'none') expect((await tree.read(group))!.limitBytes).toBe((await stack.status()).limitBytes);
    await stack.result(await stack.startJob(smallJob(stack, 'after')));
  } finally {
    outside.kill('SIGKILL');
  }
}, 300_000);

test('a light step that leaks is ended at what it was lent; the heavy container beside it is not touched', async () => {
  await worker('leak');
  const marker = join(stack.directory, 'leak now');
  const leak: PipelineSpec = {
    name: 'leak',
    steps: [
      query('orders', 'select orderkey, orderpriority from tpch.tiny.orders'),
      { step: 'leak', verb: 'transform', from: 'orders', run: 'leak', args: { marker }, memory: '1 GiB' },
      load(stack, 'leak', 'leak'),
    ],
  };
  const light = await stack.startJob(leak);
  const transform = await eventually(async () => stackTransforms(stack)[0], { what: 'the transform' });
  const heavy = await stack.startJob(slowJob(stack, 'beside', 25_000));
  const container = await runningContainer(stack, 'paired');
  const tree = await openCgroupTree();
  if (tree.version !== 'none') {
    const pool = poolPath(stack.pool);
    const { pid } = stack.workers[0]!;
    expect(await tree.groupOf(transform.process.pid)).toMatch(new RegExp(`^${pool}/.*-leak-transform-`));
    expect(await tree.groupOf(pid)).toMatch(new RegExp(`^${pool}/worker-${pid}-`));
  }
  writeFileSync(marker, '');
  await expect(stack.result(light)).rejects.toMatchObject({ cause: { message: expect.stringMatching(/^leak: .*memory/) } }); // prettier-ignore
  expect(await stack.failures(light)).toContain('OutOfMemoryOwn');
  await stack.result(heavy);
  expect((await heavyIntervals(stack, 0)).filter(({ name }) => name === container)).toHaveLength(1);
  expect((await stack.summaries(heavy)).filter((summary) => summary.startsWith('paired'))).toHaveLength(1);
}, 300_000);

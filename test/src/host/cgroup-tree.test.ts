import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { openCgroupTree, type CgroupTree } from '../../../src/host/cgroup-tree.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'spillway-cgroup-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** Files of a tree as they were read on a real host. */
function record(files: Record<string, string>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
}
const text = (path: string): string => readFileSync(join(root, path), 'utf8');
// A kernel's files go with their directory, recorded ones do not.
const removeDirectory = (path: string): Promise<void> => rm(path, { recursive: true });

async function open(): Promise<CgroupTree> {
  const tree = await openCgroupTree({ root, removeDirectory });
  if (tree.version === 'none') throw new Error(tree.because);
  return tree;
}

const V1_HOST = {
  'memory/memory.usage_in_bytes': '1000\n',
  'memory/cgroup.procs': '1\n',
  'cpuset/cgroup.procs': '1\n',
  'unified/cgroup.procs': '1\n',
};
const V2_HOST = {
  'cgroup.controllers': 'cpuset cpu io memory hugetlb pids rdma misc\n',
  'cgroup.subtree_control': 'cpu memory\n',
};
const STEP = 'spillway-dev/step-1';

describe.each([
  ['version 1', V1_HOST, 'memory', 'memory.limit_in_bytes'],
  ['version 2', V2_HOST, '.', 'memory.max'],
])('under systemd, whose slice is there, on %s', (_, host, hierarchy, limit) => {
  test('pools stand in the slice, and are named without it', async () => {
    record({ ...host, [`${hierarchy}/spillway.slice/cgroup.controllers`]: 'cpuset cpu memory pids\n' });
    if (hierarchy === '.') record({ [`${hierarchy}/spillway.slice/spillway-dev/cgroup.controllers`]: 'memory\n' });
    const tree = await open();
    const pool = await tree.makePool('dev', 2000);
    expect(pool).toBe('/spillway-dev');
    expect(tree.fromRoot(`${pool}/step-1`)).toBe('/spillway.slice/spillway-dev/step-1');
    expect(text(`${hierarchy}/spillway.slice/spillway-dev/${limit}`)).toBe('2000');
    await tree.remove(pool);
    expect(existsSync(join(root, hierarchy, 'spillway.slice', 'spillway-dev'))).toBe(false);
    expect(existsSync(join(root, hierarchy, 'spillway.slice'))).toBe(true);
  });

  test('a process is found and moved where it is, in the slice or not', async () => {
    const where = hierarchy === '.' ? '0::/user.slice\n' : '4:memory:/user.slice\n';
    record({ ...host, 'proc/7/cgroup': where, [`${hierarchy}/user.slice/cgroup.procs`]: '' });
    record({ [`${hierarchy}/spillway.slice/cgroup.controllers`]: 'memory\n' });
    const tree = await openCgroupTree({ root, removeDirectory, procRoot: join(root, 'proc') });
    if (tree.version === 'none') throw new Error(tree.because);
    await tree.moveProcess(await tree.groupOf(7), 7);
    expect(text(`${hierarchy}/user.slice/cgroup.procs`)).toBe('7');
  });
});

describe('version 1, hybrid', () => {
  beforeEach(() => record(V1_HOST));

  test('is found by its memory hierarchy', async () => {
    expect((await open()).version).toBe('v1');
    expect(existsSync(join(root, `memory/spillway-probe-${process.pid}`))).toBe(false);
  });

  test('who was killed while it tried leaves no group', async () => {
    const probes = [2 ** 22 + 1, process.ppid].map((pid) => `memory/spillway-probe-${pid}`);
    record(Object.fromEntries([...probes, 'memory/spillway-probe-x'].map((name) => [`${name}/cgroup.procs`, ''])));
    await open();
    expect([...probes, 'memory/spillway-probe-x'].map((name) => existsSync(join(root, name)))).toEqual([false, true, true]); // prettier-ignore
  });

  test('a pool and a step get their limits, swap included', async () => {
    const tree = await open();
    const pool = await tree.makePool('dev', 2000);
    expect(pool).toBe('/spillway-dev');
    expect(await tree.makeStep(pool, 'step-1', 600)).toBe(`/${STEP}`);
    expect(text('memory/spillway-dev/memory.limit_in_bytes')).toBe('2000');
    expect(text(`memory/${STEP}/memory.limit_in_bytes`)).toBe('600');
    expect(await tree.children(pool)).toEqual(['step-1']);
  });

  test('a reading sums what cannot be reclaimed and finds the kill in the group of the killed', async () => {
    record({
      [`memory/${STEP}/memory.usage_in_bytes`]: '599998464\n',
      [`memory/${STEP}/memory.max_usage_in_bytes`]: '600000000\n',
      [`memory/${STEP}/memory.limit_in_bytes`]: '600000000\n',
      [`memory/${STEP}/memory.stat`]: 'rss 0\nshmem 0\ntotal_cache 98304\ntotal_rss 4096\ntotal_shmem 8192\n',
      [`memory/${STEP}/memory.oom_control`]: 'oom_kill_disable 0\nunder_oom 0\noom_kill 0\n',
      [`memory/${STEP}/cgroup.procs`]: '',
      [`memory/${STEP}/libpod-ab/memory.oom_control`]: 'oom_kill_disable 0\nunder_oom 0\noom_kill 2\n',
      [`memory/${STEP}/libpod-ab/cgroup.procs`]: '100\n101\n',
      [`memory/${STEP}/conmon/cgroup.procs`]: '99\n',
    });
    expect(await (await open()).read(`/${STEP}`)).toEqual({
      usageBytes: 599998464,
      peakBytes: 600000000,
      limitBytes: 600000000,
      heldBytes: 12288,
      oomKills: { '/libpod-ab': 2 },
      processes: 3,
    });
  });

  test('what is held is never more than the usage, however late the statistics are', async () => {
    record({
      [`memory/${STEP}/memory.usage_in_bytes`]: '4096\n',
      [`memory/${STEP}/memory.stat`]: 'total_rss 90000\ntotal_shmem 8192\n',
    });
    expect(await (await open()).read(`/${STEP}`)).toMatchObject({ usageBytes: 4096, heldBytes: 4096 });
  });

  test('a group holds no less than those below it together, however late its own statistics are', async () => {
    record({
      [`memory/${STEP}/memory.usage_in_bytes`]: '1000\n',
      [`memory/${STEP}/memory.stat`]: 'total_rss 100\ntotal_shmem 0\n',
      [`memory/${STEP}/libpod-ab/memory.stat`]: 'total_rss 50\ntotal_shmem 0\n',
      [`memory/${STEP}/libpod-ab/inner/memory.stat`]: 'total_rss 200\ntotal_shmem 100\n',
      [`memory/${STEP}/libpod-cd/memory.stat`]: 'total_rss 60\ntotal_shmem 20\n',
    });
    expect(await (await open()).read(`/${STEP}`)).toMatchObject({ heldBytes: 380 });
  });

  test('a process is moved between groups, which are read from what the kernel says of it', async () => {
    record({
      'proc/77/cgroup': '9:name=systemd:/a\n4:cpu,memory:/user.slice/b\n0::/c\n',
      'memory/user.slice/b/cgroup.procs': '',
    });
    const tree = await openCgroupTree({ root, removeDirectory, procRoot: join(root, 'proc') });
    if (tree.version === 'none') throw new Error(tree.because);
    const before = await tree.groupOf(77);
    expect(before).toBe('/user.slice/b');
    await tree.moveProcess(before, 77);
    expect(text('memory/user.slice/b/cgroup.procs')).toBe('77');
  });

  test('a group is removed from every hierarchy, with all below it', async () => {
    record({
      [`memory/${STEP}/conmon/cgroup.procs`]: '',
      [`cpuset/${STEP}/conmon/cgroup.procs`]: '',
      [`unified/${STEP}/cgroup.procs`]: '',
    });
    const tree = await open();
    await tree.remove(`/${STEP}`);
    for (const hierarchy of ['memory', 'cpuset', 'unified']) {
      expect(existsSync(join(root, hierarchy, STEP))).toBe(false);
      expect(existsSync(join(root, hierarchy, 'spillway-dev'))).toBe(true);
    }
    await tree.remove(`/${STEP}`); // gone already: fine
  });
});

describe('version 2', () => {
  beforeEach(() => record(V2_HOST));

  test('is found by its controllers, and those we need are passed on', async () => {
    expect((await open()).version).toBe('v2');
    expect(text('cgroup.subtree_control')).toBe('+cpuset +pids');
  });

  test('a pool and a step get their limits and no swap', async () => {
    for (const group of ['spillway-dev', STEP]) record({ [`${group}/cgroup.controllers`]: 'cpuset cpu memory pids\n' });
    const tree = await open();
    const pool = await tree.makePool('dev', 2000);
    rmSync(join(root, STEP), { recursive: true });
    // The kernel fills a new group with its files; here somebody has to.
    await expect(tree.makeStep(pool, 'step-1', 600)).rejects.toThrow('has no memory controller');
    expect(text('spillway-dev/memory.max')).toBe('2000');
    expect(text('spillway-dev/memory.swap.max')).toBe('0');
    expect(text('spillway-dev/cgroup.subtree_control')).toBe('+memory +cpu +cpuset +pids');
  });

  test('a group holds no less than those below it together', async () => {
    record({
      [`${STEP}/memory.current`]: '1000\n',
      [`${STEP}/memory.stat`]: 'anon 300\nshmem 50\n',
      [`${STEP}/libpod-ab/memory.stat`]: 'anon 400\nshmem 50\n',
    });
    expect(await (await open()).read(`/${STEP}`)).toMatchObject({ heldBytes: 450 });
  });

  test('a reading takes the kills of the whole subtree, which outlive the container', async () => {
    record({
      [`${STEP}/memory.current`]: '500\n',
      [`${STEP}/memory.peak`]: '900\n',
      [`${STEP}/memory.max`]: 'max\n',
      [`${STEP}/memory.stat`]: 'anon 300\nfile 100\nshmem 50\n',
      [`${STEP}/memory.events`]: 'low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n',
      [`${STEP}/cgroup.procs`]: '',
    });
    expect(await (await open()).read(`/${STEP}`)).toEqual({
      usageBytes: 500,
      peakBytes: 900,
      heldBytes: 350,
      oomKills: { '/': 1 },
      processes: 0,
    });
  });
});

describe('without groups', () => {
  test('a host without memory groups says so', async () => {
    expect(await openCgroupTree({ root })).toEqual({ version: 'none', because: `no memory groups below ${root}` });
  });

  test('a tree that cannot be written says why', async () => {
    record({ 'memory/cgroup.procs': '' });
    const failing = (): Promise<void> => Promise.reject(new Error('Read-only file system'));
    expect(await openCgroupTree({ root, removeDirectory: failing })).toMatchObject({
      version: 'none',
      because: expect.stringContaining('Read-only file system'),
    });
  });

  test('a group that is gone reads as nothing, and only groups of ours are removed', async () => {
    record(V1_HOST);
    const tree = await open();
    expect(await tree.read('/spillway-dev')).toBeUndefined();
    expect(await tree.ageMs('/spillway-dev')).toBe(0);
    for (const path of ['/', 'relative', '/a/../..'])
      await expect(tree.remove(path)).rejects.toThrow('not a group of ours');
  });

  test('a group that stays busy is an error that names it', async () => {
    record({ ...V1_HOST, 'memory/spillway-dev/cgroup.procs': '' });
    let probed = false;
    const tree = await openCgroupTree({
      root,
      removeDirectory: (path) => {
        if (!path.includes('probe')) return Promise.reject(Object.assign(new Error('busy'), { code: 'EBUSY' }));
        probed = true;
        return removeDirectory(path);
      },
    });
    expect(probed).toBe(true);
    if (tree.version === 'none') throw new Error(tree.because);
    await expect(tree.remove('/spillway-dev', 50)).rejects.toMatchObject({ code: 'ContainerFailed' });
  });
});

import { describe, expect, test } from '@jest/globals';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { hostname, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { chooseCpuset, diskFreeBytes, isTmpfs, parseCpuList, readMachine } from '../../../src/host/machine.ts';

/** A host whose processors have these cores, of which we may use `allowed`. */
function recorded(cores: Record<number, string>, allowed: string): { proc: string; sys: string } {
  const root = mkdtempSync(join(tmpdir(), 'spillway-machine-'));
  mkdirSync(join(root, 'proc/self'), { recursive: true });
  writeFileSync(join(root, 'proc/self/status'), `Name:\tnode\nCpus_allowed_list:\t${allowed}\nMems_allowed_list:\t0\n`);
  for (const [cpu, core] of Object.entries(cores)) {
    const folder = join(root, `sys/devices/system/cpu/cpu${cpu}/topology`);
    mkdirSync(folder, { recursive: true });
    const [socket, id] = core.split('/');
    writeFileSync(join(folder, 'physical_package_id'), `${socket}\n`);
    writeFileSync(join(folder, 'core_id'), `${id}\n`);
  }
  return { proc: join(root, 'proc'), sys: join(root, 'sys') };
}

const TWO_THREADS = { 0: '0/0', 1: '0/1', 2: '0/0', 3: '0/1' };

describe('cores are counted once, whatever their threads', () => {
  test.each<[string, Record<number, string>, string, number, number[]]>([
    ['two cores of two threads', TWO_THREADS, '0-3', 2, [0, 1, 2, 3]],
    ['two sockets with the same core numbers', { 0: '0/0', 1: '1/0' }, '0-1', 2, [0, 1]],
    ['only what this process may use counts', TWO_THREADS, '1-2', 2, [1, 2]],
    ['no topology: each processor is a core', {}, '0-2', 3, [0, 1, 2]],
  ])('%s', (_title, cores, allowed, physicalCores, cpus) => {
    const roots = recorded(cores, allowed);
    expect(readMachine(roots)).toMatchObject({ physicalCores, cpus, host: hostname() });
    rmSync(join(roots.proc, '..'), { recursive: true });
  });
});

test('a cpuset takes whole cores before second threads, and never more than there are', () => {
  const machine = { cpus: [0, 2, 1, 3] };
  expect([0, 1, 2, 3, 9].map((count) => chooseCpuset(machine, count))).toEqual(['0', '0', '0,2', '0,1,2', '0,1,2,3']);
  expect(machine.cpus).toEqual([0, 2, 1, 3]);
});

test.each([
  ['0-3,8\n', [0, 1, 2, 3, 8]],
  ['5', [5]],
  ['', []],
])('the kernel list %j is read', (text, cpus) => expect(parseCpuList(text)).toEqual(cpus));

test('this machine has memory, and never more than its RAM', () => {
  const { ramBytes } = readMachine();
  expect(ramBytes).toBeGreaterThan(64 * 1024 * 1024);
  expect(ramBytes).toBeLessThanOrEqual(totalmem());
});

test('free disk of a path that does not exist yet is that of where it would be', async () => {
  const { bavail, bsize } = await statfs(tmpdir());
  const free = await diskFreeBytes(join(tmpdir(), 'not', 'there', 'yet'));
  expect(Math.abs(free - bavail * bsize)).toBeLessThan(10 * 1024 ** 3);
  expect(free).toBeGreaterThan(0);
});

test('files in shared memory are told from files on disk', async () => {
  expect(await isTmpfs('/dev/shm')).toBe(true);
  expect(await isTmpfs('/proc')).toBe(false);
});

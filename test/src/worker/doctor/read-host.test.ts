import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { otherUsers, readControllers } from '../../../../src/worker/doctor/read-host.ts';
import { readScratch } from '../../../../src/worker/doctor/read-scratch.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-doctor-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** A hierarchy as the kernel shows it. */
function tree(name: string, files: Record<string, string>): string {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(folder, name, path, '..'), { recursive: true });
    writeFileSync(join(folder, name, path), text);
  }
  return join(folder, name);
}

test.each<[string, Record<string, string>, { memory: boolean; cpuset: boolean }]>([
  ['v2', { 'cgroup.controllers': 'cpuset cpu io memory pids\n' }, { memory: true, cpuset: true }],
  ['v2-without-cpuset', { 'cgroup.controllers': 'cpu memory pids\n' }, { memory: true, cpuset: false }],
  ['v1', { 'memory/tasks': '1\n', 'cpuset/tasks': '1\n' }, { memory: true, cpuset: true }],
  ['v1-without-memory', { 'cpu/tasks': '1\n' }, { memory: false, cpuset: false }],
])('controllers of a tree: %s', async (name, files, expected) =>
  expect(await readControllers(tree(name, files))).toEqual(expected),
);

test('people are accounts with a shell; services, nobody and oneself are none', () => {
  const passwd = [
    'root:x:0:0:root:/root:/bin/bash',
    'daemon:x:1:1::/:/usr/sbin/nologin',
    'ann:x:1000:1000::/home/ann:/bin/bash',
    'bob:x:1001:1001::/home/bob:/usr/sbin/nologin',
    'me:x:1002:1002::/home/me:/bin/zsh',
    'nobody:x:65534:65534::/:/bin/sh',
  ].join('\n');
  expect(otherUsers(passwd, 'me')).toEqual(['ann']);
});

test('scratch is read as it lies on the disk, and left as it was', async () => {
  mkdirSync(join(folder, 'own'), { mode: 0o700 });
  mkdirSync(join(folder, 'open'));
  chmodSync(join(folder, 'open'), 0o777);
  symlinkSync(join(folder, 'own'), join(folder, 'link'));
  expect(await readScratch(join(folder, 'own'))).toMatchObject({ there: true, own: true, isLink: false });
  expect(await readScratch(join(folder, 'open'))).toMatchObject({ own: false });
  expect(await readScratch(join(folder, 'link'))).toMatchObject({ isLink: true });
  expect(await readScratch(join(folder, 'none'))).toEqual({ there: false, path: join(folder, 'none') });
  expect(readdirSync(join(folder, 'own'))).toEqual([]);
});

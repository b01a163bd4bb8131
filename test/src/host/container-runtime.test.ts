import { expect, test } from '@jest/globals';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { candidateFlags, takesGroups } from '../../../src/host/container-runtime.ts';

const LIMITS = `Limit                     Soft Limit           Hard Limit           Units
Max processes             96365                96365                processes
Max open files            1024                 8192                 files
Max locked memory         unlimited            unlimited            bytes     `;

test('flags are tried from none to most, and never ask for more than this process has', () => {
  const ulimits = ['--ulimit', 'nofile=8192:8192', '--ulimit', 'nproc=4096:4096'];
  expect(candidateFlags('podman', LIMITS)).toEqual([
    [],
    ulimits,
    ['--runtime', 'runc'],
    ['--runtime', 'runc', ...ulimits],
    ['--runtime', 'crun'],
    ['--runtime', 'crun', ...ulimits],
  ]);
  expect(candidateFlags('docker', LIMITS)).toEqual([[], ulimits]);
});

test('unlimited or unknown limits leave our own caps', () => {
  expect(candidateFlags('docker', '')[1]).toEqual(['--ulimit', 'nofile=20000:20000', '--ulimit', 'nproc=4096:4096']);
});

test.each([
  ['cgroupfs', true],
  ['systemd', false],
])('a docker whose daemon has the %s driver takes groups of ours: %s', async (driver, takes) => {
  const bin = mkdtempSync(join(tmpdir(), 'spillway-docker-'));
  const path = process.env['PATH'];
  try {
    // Only its answer matters, and a daemon of either kind cannot be had everywhere.
    writeFileSync(join(bin, 'docker'), `#!/bin/sh\n[ "$*" = 'info --format {{.CgroupDriver}}' ] && echo ${driver}\n`);
    chmodSync(join(bin, 'docker'), 0o755);
    process.env['PATH'] = `${bin}:${path}`;
    expect(await takesGroups('docker')).toBe(takes);
    expect(await takesGroups('podman')).toBe(true);
  } finally {
    process.env['PATH'] = path;
    rmSync(bin, { recursive: true });
  }
});

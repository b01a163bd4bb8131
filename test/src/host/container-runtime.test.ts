import { expect, test } from '@jest/globals';
import { candidateFlags } from '../../../src/host/container-runtime.ts';

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

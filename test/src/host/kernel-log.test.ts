import { expect, test } from '@jest/globals';
import { findOomKills, judgeKernelLog } from '../../../src/host/kernel-log.ts';

const GROUP = '/spillway-dev/spillway-r-s-0123456789-t1';
const line = (limited: string | undefined, victim: string): string =>
  `[ 2251.77] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=libpod-eec4,mems_allowed=0,` +
  `${limited === undefined ? 'global_oom' : `oom_memcg=${limited}`},task_memcg=${victim},task=python3,pid=22387,uid=65534`;

test.each([
  ['the step group passed its own limit', [line(GROUP, `${GROUP}/libpod-1`)], 'own'],
  ['the container in it passed its own limit', [line(`${GROUP}/libpod-1`, `${GROUP}/libpod-1`)], 'own'],
  ['the pool passed its limit', [line('/spillway-dev', `${GROUP}/libpod-1`)], 'ceiling'],
  ['the whole host ran out', [line(undefined, `${GROUP}/libpod-1`)], 'ceiling'],
  [
    'the victim was of another step',
    [line('/spillway-dev', '/spillway-dev/spillway-r-s-0123456789-t11/libpod-1')],
    'none',
  ],
  ['nothing was killed', ['[ 1.0] EXT4-fs (vda): mounted filesystem'], 'none'],
  ['the last kill counts', [line(GROUP, `${GROUP}/a`), line('/spillway-dev', `${GROUP}/a`)], 'ceiling'],
] as const)('%s', (_title, lines, verdict) =>
  expect(judgeKernelLog(GROUP, [], findOomKills(lines.join('\n'), GROUP))).toBe(verdict),
);

test('kills of an earlier run of the same group do not count', () => {
  const old = line(GROUP, `${GROUP}/libpod-1`);
  expect(judgeKernelLog(GROUP, [old], [old])).toBe('none');
  expect(judgeKernelLog(GROUP, [old], [old, line('/spillway-dev', `${GROUP}/libpod-2`)])).toBe('ceiling');
});

test('without the log nothing is said', () => {
  expect(judgeKernelLog(GROUP, undefined, [])).toBe('unreadable');
  expect(judgeKernelLog(GROUP, [], undefined)).toBe('unreadable');
});

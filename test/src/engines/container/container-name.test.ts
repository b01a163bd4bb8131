import { expect, test } from '@jest/globals';
import {
  attemptPrefix,
  containerLabels,
  containerName,
  isAttemptName,
} from '../../../../src/engines/container/container-name.ts';

const base = { pool: 'dev', run: '0190f3c2-aaaa-bbbb-cccc-123456789012', step: 'daily revenue', token: 7 };

test('a name is readable, and the same for the same attempt', () => {
  expect(containerName(base)).toMatch(/^spillway-0190f3c2-aaa-daily-revenue-[0-9a-f]{10}-t7$/);
  expect(containerName({ ...base })).toBe(containerName(base));
  expect(containerName(base).startsWith(attemptPrefix(base))).toBe(true);
});

test.each([
  ['another run', { ...base, run: '0190f3c2-aaaa-bbbb-cccc-123456789013' }],
  ['another step that cleans to the same text', { ...base, step: 'daily_revenue' }],
  ['run and step divided elsewhere', { ...base, run: `${base.run}d`, step: 'aily revenue' }],
  ['another token', { ...base, token: 8 }],
])('%s has another name', (_title, other) => expect(containerName(other)).not.toBe(containerName(base)));

test.each(['x'.repeat(500), '', '../../etc', '-rf', 'ü/é:ß', 'a\nb'])(
  'the step %j makes a name that every runtime takes',
  (step) => {
    const name = containerName({ ...base, step });
    expect(name).toMatch(/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/);
    expect(name.length).toBeLessThanOrEqual(80);
    expect(isAttemptName(name)).toBe(true);
  },
);

test('names of others are not taken for ours', () => {
  for (const name of ['conmon', 'libpod-1', 'spillway-worker', 'worker', 'spillway-r-s-t1'])
    expect(isAttemptName(name)).toBe(false);
});

const lent = { ...base, memoryBytes: 1000 };
test('labels say whose it is; the lease only where there is one', () => {
  expect(containerLabels({ ...lent, leaseId: 'r/s#0' })).toEqual({
    spillway: '1',
    'spillway.pool': 'dev',
    'spillway.run': base.run,
    'spillway.step': 'daily revenue',
    'spillway.token': '7',
    'spillway.bytes': '1000',
    'spillway.lease': 'r/s#0',
  });
  expect(Object.keys(containerLabels(lent))).not.toContain('spillway.lease');
});

import { expect, test } from '@jest/globals';
import type { HandoffPart, HandoffRef } from '../../../../src/contracts/handoff.ts';
import { planInputs } from '../../../../src/engines/datafusion/job.ts';

const ref = (...parts: [HandoffPart['kind'], string][]): HandoffRef => ({
  ...{ mode: 'arrow', because: '', rows: 0, bytes: 0, host: 'h', fingerprint: 'f' },
  schema: [{ name: 'a', type: 'Int64', nullable: true }],
  parts: parts.map(([kind, uri]) => ({ kind, uri, rows: 1, bytes: 1 })),
});

test('each directory is seen once, whatever tables lie in it, and only listed files are named', () => {
  const plan = planInputs({
    lines: ref(
      ['parquet', 'file:///s/r1/a.parquet'],
      ['arrow', 'file:///s/r1/b.arrow'],
      ['arrow', 'file:///dev/shm/x/c.arrow'],
    ),
    days: ref(['parquet', 'file:///s/r1/d%20e.parquet']),
  });
  expect(plan.mounts).toEqual([
    { source: '/s/r1', target: '/in/0' },
    { source: '/dev/shm/x', target: '/in/1' },
  ]);
  expect(plan.tables.map(({ name, parts }) => [name, parts.map(({ path }) => path)])).toEqual([
    ['lines', ['/in/0/a.parquet', '/in/0/b.arrow', '/in/1/c.arrow']],
    ['days', ['/in/0/d e.parquet']],
  ]);
});

test('a table without parts keeps its columns', () => {
  expect(planInputs({ empty: ref() })).toEqual({
    mounts: [],
    tables: [{ name: 'empty', parts: [], columns: [{ name: 'a', type: 'Int64', nullable: true }] }],
  });
});

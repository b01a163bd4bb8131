import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  applicationName,
  indexName,
  parseTableName,
  quoteIdentifier,
  stagingIndex,
  stagingTable,
} from '../../../../src/engines/postgres/identifiers.ts';

test.each([
  ['mart.daily', { schema: 'mart', table: 'daily' }],
  ['Mart.Daily', { schema: 'mart', table: 'daily' }],
  ['"Mart"."a.b"', { schema: 'Mart', table: 'a.b' }],
  ['mart."say ""hi"""', { schema: 'mart', table: 'say "hi"' }],
])('%s is read as a table', (text, name) => {
  expect(parseTableName(text)).toEqual(name);
});

test.each(['daily', 'a.b.c', '', 'a.', 'a b.c', 'spillway.t', `a.${'x'.repeat(64)}`, `a.${'ü'.repeat(32)}`])(
  '%j is no table to load into',
  (text) => {
    expect(() => parseTableName(text)).toThrow(expect.objectContaining({ code: 'InvalidInput' }));
  },
);

test('a quoted name cannot end its quotes', () => {
  expect(quoteIdentifier('a"; drop table b; --')).toBe('"a""; drop table b; --"');
  expect(() => quoteIdentifier('')).toThrow(/cannot be a name/);
  expect(() => quoteIdentifier('a\0b')).toThrow(/cannot be a name/);
});

describe('names of attempts', () => {
  const attempt = fc.record({
    run: fc.string({ minLength: 1, maxLength: 60 }),
    step: fc.string({ minLength: 1, maxLength: 60 }),
    token: fc.maxSafeInteger().map(Math.abs),
  });
  test('fit the server and are told apart', () => {
    fc.assert(
      fc.property(attempt, attempt, (a, b) => {
        for (const name of [stagingTable(a), stagingIndex(a, 9), applicationName(a)])
          expect(Buffer.byteLength(name)).toBeLessThanOrEqual(63);
        const same = a.run === b.run && a.step === b.step && a.token === b.token;
        expect(stagingTable(a) === stagingTable(b)).toBe(same);
      }),
    );
  });
  test('say whose they are', () => {
    const name = { run: '01997f3a-1c2d-7000-8000-000000000001', step: 'publish', token: 3 };
    expect(stagingTable(name)).toMatch(/^stg_01997f3a_publish_[0-9a-f]{10}_3$/);
    expect(applicationName(name)).toBe('spillway/01997f3a-1c2d-7000-8000-000000000001/publish/3');
  });
});

test.each<[string, string, string[], string, string[], string]>([
  ['as the server would name it', 't', ['a', 'b'], 'idx', [], 't_a_b_idx'],
  ['with a number when that is taken', 't', [], 'pkey', ['t_pkey', 't_pkey1'], 't_pkey2'],
])('an index is named %s', (_title, table, columns, suffix, taken, name) => {
  expect(indexName(table, columns, suffix, new Set(taken))).toBe(name);
});

test('a long index name is cut to fit and stays its own', () => {
  const long = indexName('t'.repeat(60), ['ü'.repeat(30)], 'idx', new Set());
  expect(Buffer.byteLength(long)).toBeLessThanOrEqual(63);
  expect(indexName('t'.repeat(60), ['ü'.repeat(30)], 'idx', new Set([long]))).not.toBe(long);
});

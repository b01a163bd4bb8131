import { expect, test } from '@jest/globals';
import { connectFailure, loadFailure } from '../../../../src/engines/postgres/failures.ts';
import { stagingIndex } from '../../../../src/engines/postgres/identifiers.ts';
import { SpillwayError } from '../../../../src/contracts/errors.ts';

const server = (code: string, message: string, more: object = {}): Error =>
  Object.assign(new Error(message), { code, ...more });
const INDEX = stagingIndex({ run: 'r', step: 's', token: 17 }, 0);
const context = { table: 'mart.t', phase: 'copying', published: 'no' } as const;

test.each<[string, unknown, string, RegExp]>([
  [
    'a terminated backend is tried again',
    server('57P01', 'terminating connection due to administrator command'),
    'LoadInterrupted',
    /^PostgreSQL ended the session while copying for mart\.t \(terminating.*nothing was published/,
  ],
  [
    'a lost connection is tried again',
    new Error('read ECONNRESET'),
    'LoadInterrupted',
    /^The connection to PostgreSQL was lost while copying .*ECONNRESET.*nothing was published/,
  ],
  [
    'so is one that broke while it was written to: five characters, and no code of the server',
    Object.assign(new Error('write EPIPE'), { code: 'EPIPE', errno: -32, syscall: 'write' }),
    'LoadInterrupted',
    /^The connection to PostgreSQL was lost while copying .*EPIPE.*nothing was published/,
  ],
  ['a full disk is tried again', server('53100', 'could not extend file'), 'LoadInterrupted', /could not extend file/],
  [
    'a duplicate key is not',
    server('23505', 'duplicate key', { constraint: 't_pkey', detail: 'Key (id)=(5) already exists.' }),
    'LoadRefused',
    /Key \(id\)=\(5\) already exists \(constraint t_pkey\)/,
  ],
  [
    'the name of an index that a load made up is left out',
    server('23505', `could not create unique index "${INDEX}"`, {
      constraint: INDEX,
      detail: 'Key (country)=(DE) is duplicated.',
    }),
    'LoadRefused',
    /: could not create unique index; Key \(country\)=\(DE\) is duplicated; nothing was published\.$/,
  ],
  [
    'a bad value names its row and column',
    server('22001', 'value too long', { where: 'COPY stg_x, line 7, column name: "abc"' }),
    'LoadRefused',
    /row 7, column "name": value too long/,
  ],
  [
    'a column without its value is named',
    server('22003', 'out of range', { where: 'COPY stg_x, line 7, column price' }),
    'LoadRefused',
    /row 7, column "price": out of range/,
  ],
  [
    'two sessions that made one schema try again',
    server('23505', 'duplicate key', { constraint: 'pg_namespace_nspname_index' }),
    'LoadInterrupted',
    /nspname/,
  ],
  ['a missing right is not', server('42501', 'permission denied'), 'LoadRefused', /permission denied/],
  ['an error of ours stays what it is', new SpillwayError('HandoffLost', 'gone'), 'HandoffLost', /^gone$/],
])('%s', (_title, error, code, message) => {
  expect(loadFailure(error, context)).toMatchObject({ code, message: expect.stringMatching(message) });
});

test('after COMMIT was sent nobody claims that nothing was published', () => {
  const { message } = loadFailure(new Error('read ECONNRESET'), { ...context, published: 'unknown' });
  expect(message).toMatch(/could not be read; the next attempt reads the load ledger first/);
});

test('a refused connection is told without its stack of addresses', () => {
  const error = new AggregateError([
    new Error('connect ECONNREFUSED ::1:5432'),
    new Error('connect ECONNREFUSED 127.0.0.1:5432'),
  ]);
  expect(connectFailure(error)).toMatchObject({
    code: 'TargetUnreachable',
    message: expect.stringMatching(/^PostgreSQL cannot be reached: connect ECONNREFUSED ::1:5432\./),
  });
});

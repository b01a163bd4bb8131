import { expect, test } from '@jest/globals';
import type { StrategyQuestion } from '../../../../src/engines/postgres/strategy.ts';
import { chooseStrategy } from '../../../../src/engines/postgres/strategy.ts';

const quiet = { walLevel: 'replica', version: 150000, publishesAll: [] };

test.each<[string, Partial<StrategyQuestion>, string, RegExp]>([
  [
    'auto freezes, and says what it knows of the size',
    { expectedRows: 10, expectedBytes: 2 ** 20 },
    'freeze',
    /10 rows, 1 MiB once and frozen/,
  ],
  ['auto freezes when nothing is known', {}, 'freeze', /the rows once and frozen.*wal_level replica/],
  [
    'a publication of all tables would send staging to its subscribers',
    { server: { ...quiet, walLevel: 'logical', publishesAll: ['cdc'] } },
    'unlogged',
    /publication cdc sends all tables/,
  ],
  [
    'such a publication does nothing below wal_level logical',
    { server: { ...quiet, publishesAll: ['cdc'] } },
    'freeze',
    /frozen/,
  ],
  ['several connections cannot share a transaction', { connections: 4 }, 'parallel', /4 connections were asked for/],
  [
    'several connections into staging that no subscriber gets',
    { connections: 4, server: { ...quiet, walLevel: 'logical', publishesAll: ['cdc'] } },
    'unlogged',
    /publication cdc/,
  ],
  ['what is asked for is done', { asked: 'unlogged' }, 'unlogged', /was asked for/],
])('%s', (_title, question, strategy, because) => {
  const choice = chooseStrategy({
    asked: 'auto',
    expectedRows: undefined,
    expectedBytes: undefined,
    server: quiet,
    ...question,
  });
  expect(choice).toEqual({ strategy, because: expect.stringMatching(because) });
});

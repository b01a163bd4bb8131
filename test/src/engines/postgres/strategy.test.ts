import { expect, test } from '@jest/globals';
import type { StrategyQuestion } from '../../../../src/engines/postgres/strategy.ts';
import { chooseConnections, chooseStrategy } from '../../../../src/engines/postgres/strategy.ts';
import { GiB, MiB } from '../../../../src/policy/sizes.ts';

const quiet = { walLevel: 'replica', version: 150000, publishesAll: [], freeConnections: 90 };

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

test.each<[string, Parameters<typeof chooseConnections>[0], number, RegExp]>([
  ['two where nothing is known of its cores', { freeConnections: 90 }, 2, /nothing is known of the cores/],
  ['two on two cores', { cores: 2, leaseBytes: GiB, freeConnections: 90 }, 2, /has 2 cores/],
  ['one for every two cores', { cores: 12, leaseBytes: GiB, freeConnections: 90 }, 6, /has 12 cores/],
  ['eight at most', { cores: 48, leaseBytes: GiB, freeConnections: 90 }, 8, /more wait for each other/],
  ['as many as the memory of the step holds', { cores: 48, leaseBytes: 128 * MiB, freeConnections: 90 }, 4, /the step has 128 MiB/],
  ['half of what the server has left', { cores: 48, leaseBytes: GiB, freeConnections: 7 }, 3, /has 7 connections left/],
  ['two all the same where it has hardly any left: it then gets what there is', { cores: 48, leaseBytes: GiB, freeConnections: 0 }, 2, /has 0 connections left/],
])('connections of a parallel load: %s', (_title, facts, connections, because) =>
  expect(chooseConnections(facts)).toEqual({ connections, because: expect.stringMatching(because) })); // prettier-ignore

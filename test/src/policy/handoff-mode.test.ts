import { describe, expect, test } from '@jest/globals';
import type { HandoffMode } from '../../../src/contracts/handoff.ts';
import { DEFAULT_THRESHOLDS, chooseHandoff } from '../../../src/policy/handoff-mode.ts';
import type { HandoffFacts } from '../../../src/policy/handoff-mode.ts';
import { GiB } from '../../../src/policy/sizes.ts';

const facts: HandoffFacts = {
  lendableBytes: 500 * GiB,
  inMemoryBytes: 0,
  freeBytes: 500 * GiB,
  shmFreeBytes: 500 * GiB,
  otherHeavy: false,
  checkpoint: false,
  restart: false,
  sameProcessReader: false,
  fusable: false,
  writer: 'datafusion',
};

describe('the mode by size, of a writer that does arrow and parquet', () => {
  test.each<[string, Partial<HandoffFacts>, HandoffMode, string]>([
    [
      'same engine before and after, read by nobody else: the plan itself',
      { fusable: true, estimatedBytes: 450 * GiB },
      'fused',
      'same engine',
    ],
    ['fusable wins over a checkpoint of an unknown size', { fusable: true, restart: true }, 'fused', 'same engine'],
    ['a checkpoint goes to parquet, however small', { checkpoint: true, estimatedBytes: 1 }, 'parquet', 'checkpoint'],
    ['restart of an unknown size goes to parquet', { restart: true }, 'parquet', 'size is unknown and restart'],
    [
      'restart of a known small size goes by its size',
      { restart: true, estimatedBytes: GiB },
      'shm',
      'reader is in another process',
    ],
    ['more than 80 % goes to parquet', { estimatedBytes: 401 * GiB }, 'parquet', '80.2 % of 500 GiB, more than 80 %'],
    ['exactly 80 % goes to arrow files', { estimatedBytes: 400 * GiB }, 'arrow', '80 % of 500 GiB, more than 50 %'],
    [
      'more than 40 % beside other heavy work goes to parquet',
      { estimatedBytes: 201 * GiB, otherHeavy: true },
      'parquet',
      "another run's heavy step",
    ],
    [
      'exactly 40 % beside other heavy work does not',
      { estimatedBytes: 200 * GiB, otherHeavy: true },
      'shm',
      '40 % of 500 GiB',
    ],
    ['more than 40 % alone does not', { estimatedBytes: 201 * GiB }, 'shm', '40.2 % of 500 GiB'],
    ['more than 50 % goes to arrow files', { estimatedBytes: 251 * GiB }, 'arrow', 'more than 50 %'],
    [
      'exactly 50 % stays in memory',
      { estimatedBytes: 250 * GiB, sameProcessReader: true },
      'shm',
      'shm stands in for memory',
    ],
    [
      'in-memory intermediates that are there already count',
      { estimatedBytes: 100 * GiB, inMemoryBytes: 151 * GiB },
      'arrow',
      'with 151 GiB already in memory is 50.2 %',
    ],
    ['and can take it past 80 %', { estimatedBytes: 100 * GiB, inMemoryBytes: 310 * GiB }, 'parquet', '82 %'],
    [
      'a small one near its reader would be handed over by pointer',
      { estimatedBytes: GiB, sameProcessReader: true },
      'shm',
      'no carrier for memory yet',
    ],
    ['a small one with a reader elsewhere goes to shm', { estimatedBytes: GiB }, 'shm', 'reader is in another process'],
    [
      'which must have room for it',
      { estimatedBytes: 100 * GiB, shmFreeBytes: 99 * GiB },
      'arrow',
      "arrow stands in for shm: 99 GiB are free on the host's tmpfs",
    ],
    [
      'never more in memory than is free',
      { estimatedBytes: 100 * GiB, freeBytes: 99 * GiB, sameProcessReader: true },
      'arrow',
      '100 GiB is more than the 99 GiB that are free',
    ],
    ['an unknown size starts on disk', {}, 'arrow', 'its size is unknown'],
    ['an estimate that is no number is an unknown size', { estimatedBytes: NaN }, 'arrow', 'its size is unknown'],
    [
      'a pool that lends nothing keeps nothing in memory',
      { estimatedBytes: 1, lendableBytes: 0, freeBytes: 0 },
      'parquet',
      'more than 80 %',
    ],
    ['nothing at all fits anywhere', { estimatedBytes: 0, lendableBytes: 0, freeBytes: 0 }, 'shm', '0 % of 0 B'],
  ])('%s', (_title, given, mode, because) => {
    const choice = chooseHandoff({ ...facts, ...given });
    expect(choice.mode).toBe(mode);
    expect(choice.because).toContain(because);
  });
});

describe('a carrier that cannot do it stands in with its nearest, and says so', () => {
  test.each<[string, Partial<HandoffFacts>, HandoffMode, string]>([
    [
      'Trino writes parquet where arrow was decided',
      { writer: 'trino', estimatedBytes: 300 * GiB },
      'parquet',
      'parquet stands in for arrow: Trino writes parquet only',
    ],
    [
      'Trino writes parquet where memory was decided',
      { writer: 'trino', estimatedBytes: GiB, sameProcessReader: true },
      'parquet',
      'no carrier for memory yet, and Trino writes parquet only',
    ],
    [
      'Trino needs no stand-in for parquet',
      { writer: 'trino', estimatedBytes: 450 * GiB },
      'parquet',
      'more than 80 %',
    ],
    [
      'a reader that reads parquet only decides for parquet',
      { estimatedBytes: 300 * GiB, readers: ['postgres', 'trino'] },
      'parquet',
      'Trino reads parquet only',
    ],
    [
      'readers that read arrow change nothing',
      { estimatedBytes: 300 * GiB, readers: ['postgres', 'datafusion'] },
      'arrow',
      'more than 50 %',
    ],
    [
      'a transform needs no stand-in for parquet',
      { writer: 'transform', estimatedBytes: 450 * GiB },
      'parquet',
      'more than 80 %',
    ],
    [
      'nor where a checkpoint was asked for',
      { writer: 'transform', estimatedBytes: GiB, checkpoint: true },
      'parquet',
      'a checkpoint was asked for',
    ],
    ['what is fused needs no carrier', { writer: 'trino', fusable: true }, 'fused', 'same engine'],
  ])('%s', (_title, given, mode, because) => {
    const choice = chooseHandoff({ ...facts, ...given });
    expect(choice.mode).toBe(mode);
    expect(choice.because).toContain(because);
  });

  test('without a stand-in nothing is said of one', () => {
    expect(chooseHandoff({ ...facts, estimatedBytes: 450 * GiB }).because).not.toContain('stands in');
  });
});

describe('where rows go to Parquet while they are written', () => {
  test.each<[string, Partial<HandoffFacts>, number | undefined]>([
    ['is where the table has the border', {}, 400 * GiB],
    ['counts what is in memory already', { inMemoryBytes: 100 * GiB }, 300 * GiB],
    ['is never below nothing', { inMemoryBytes: 450 * GiB }, 0],
    ['is sooner beside other heavy work', { otherHeavy: true }, 200 * GiB],
    ['is the same for rows that begin in memory', { estimatedBytes: GiB }, 400 * GiB],
    ['is nowhere where they begin there', { estimatedBytes: 450 * GiB }, undefined],
    ['is the same for a transform', { writer: 'transform' }, 400 * GiB],
    ['is nowhere where Arrow files are copied as they are', { readers: ['postgres', 'write.arrow'] }, undefined],
    ['is nowhere for what is fused', { fusable: true }, undefined],
  ])('%s', (_title, given, bytes) => expect(chooseHandoff({ ...facts, ...given }).parquetPastBytes).toBe(bytes));

  test('moves with its threshold', () =>
    expect(chooseHandoff(facts, { ...DEFAULT_THRESHOLDS, parquetAbove: 0.6 }).parquetPastBytes).toBe(300 * GiB));
});

describe('thresholds', () => {
  test('move the borders', () => {
    const thresholds = { ...DEFAULT_THRESHOLDS, arrowAbove: 0.4, parquetAbove: 0.6 };
    expect(chooseHandoff({ ...facts, estimatedBytes: 210 * GiB }, thresholds).because).toContain('more than 40 %');
    expect(chooseHandoff({ ...facts, estimatedBytes: 310 * GiB }, thresholds).mode).toBe('parquet');
  });
});

test.each<[string, Partial<HandoffFacts>, HandoffMode]>([
  ['parquet, when its writer can write it', { readers: ['postgres', 'write.parquet'] }, 'parquet'],
  ['parquet, whoever makes it', { writer: 'transform', readers: ['write.parquet'] }, 'parquet'],
  ['as any other, when arrow is what is written', { readers: ['write.arrow'] }, 'shm'],
])('what is copied into a folder is handed over as %s', (_title, given, mode) =>
  expect(chooseHandoff({ ...facts, estimatedBytes: GiB, ...given }).mode).toBe(mode),
);

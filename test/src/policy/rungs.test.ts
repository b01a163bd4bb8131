import { describe, expect, test } from '@jest/globals';
import type { RungSizes } from '../../../src/policy/rungs.ts';
import { ladderFrom, leastOf, rungs, SMALLEST_RUNG_BYTES } from '../../../src/policy/rungs.ts';
import { GiB, MiB } from '../../../src/policy/sizes.ts';

const EPYC: RungSizes = { kind: 'bytes', S: 32 * GiB, M: 128 * GiB, L: 256 * GiB };
const SHARES: RungSizes = { kind: 'share', S: 1 / 16, M: 1 / 4, L: 1 / 2 };
const MB = 1_000_000;

describe('rungs', () => {
  test.each<[string, RungSizes, number, [string, number][]]>([
    ['are absolute on the reference machine', EPYC, 491 * GiB, [['S', 32 * GiB], ['M', 128 * GiB], ['L', 256 * GiB], ['whole', 491 * GiB]]],
    ['are shares of what can be lent elsewhere', SHARES, 16 * GiB, [['S', 1 * GiB], ['M', 4 * GiB], ['L', 8 * GiB], ['whole', 16 * GiB]]],
    ['are never under 600 MB', SHARES, 4 * GiB, [['S', 600 * MB], ['M', 1 * GiB], ['L', 2 * GiB], ['whole', 4 * GiB]]],
    ['collapse into the last of those that are equal', SHARES, 1200 * MB, [['L', 600 * MB], ['whole', 1200 * MB]]],
    ['are capped by what can be lent', EPYC, 200 * GiB, [['S', 32 * GiB], ['M', 128 * GiB], ['whole', 200 * GiB]]],
    ['are one when less than the smallest can be lent', SHARES, 500 * MiB, [['whole', 500 * MiB]]],
    ['are one rung of nothing when nothing can be lent', SHARES, -1, [['whole', 0]]],
    ['never step down, whatever the profile says', { kind: 'bytes', S: 4 * GiB, M: 2 * GiB, L: 8 * GiB }, 16 * GiB, [['S', 4 * GiB], ['L', 8 * GiB], ['whole', 16 * GiB]]],
  ])('%s', (_title, sizes, lendable, expected) => {
    expect(rungs(sizes, lendable).map(({ name, bytes }) => [name, bytes])).toEqual(expected);
  }); // prettier-ignore

  test('the smallest is 600 decimal megabytes', () => expect(SMALLEST_RUNG_BYTES).toBe(600_000_000));

  test('are whole bytes that only grow, for any pool', () => {
    for (let lendable = 0; lendable < 40 * GiB; lendable += 333_333_333) {
      const ladder = rungs(SHARES, lendable);
      const bytes = ladder.map((rung) => rung.bytes);
      expect(bytes.every(Number.isInteger)).toBe(true);
      expect([...bytes].sort((a, b) => a - b)).toEqual(bytes);
      expect(new Set(bytes).size).toBe(bytes.length);
      expect(ladder.at(-1)).toEqual({ name: 'whole', bytes: lendable });
    }
  });
});

describe('leastOf', () => {
  const ladder = rungs(SHARES, 16 * GiB);

  test('a rung of a size is that size or nothing', () => {
    expect([0, 1, 2].map((index) => leastOf(ladder, index))).toEqual([undefined, undefined, undefined]);
  });

  test('of the whole it is more than what ran out before it', () => expect(leastOf(ladder, 3)).toBe(8 * GiB + 1));

  test('of the whole to start with it is the smallest rung, or all that there is', () => {
    expect(leastOf(ladder.slice(3), 0)).toBe(SMALLEST_RUNG_BYTES);
    expect(leastOf(rungs(SHARES, 500 * MiB), 0)).toBe(500 * MiB);
  });
});

describe('ladderFrom', () => {
  const ladder = rungs(SHARES, 16 * GiB);
  const short = rungs(SHARES, 1200 * MB);
  test.each<[string, typeof ladder, string | number, string[]]>([
    ['starts at a name', ladder, 'M', ['M', 'L', 'whole']],
    ['starts at the whole', ladder, 'whole', ['whole']],
    ['starts at the first rung of at least so many bytes', ladder, 4 * GiB + 1, ['L', 'whole']],
    ['starts at an exact size', ladder, 4 * GiB, ['M', 'L', 'whole']],
    ['starts at what a collapsed rung became', short, 'S', ['L', 'whole']],
    ['gives the top to whoever asks for more', ladder, 99 * GiB, ['whole']],
    ['is empty only when the ladder is', [], 'S', []],
  ])('%s', (_title, from, start, expected) => {
    expect(ladderFrom(from, start).map(({ name }) => name)).toEqual(expected);
  });
});

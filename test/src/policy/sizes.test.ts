import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { formatBoth, formatBytes, GiB, KiB, MiB, parseBytes, parseDurationMs, TiB } from '../../../src/policy/sizes.ts';

describe('a size', () => {
  test.each<[string | number, number]>([
    ['512GB', 512 * GiB],
    ['1.5 GiB', 1.5 * GiB],
    ['600m', 600 * MiB],
    [' 2 k ', 2 * KiB],
    ['3TB', 3 * TiB],
    ['4096', 4096],
    ['4096 B', 4096],
    ['0', 0],
    [4096, 4096],
    [0, 0],
  ])('%p is %p bytes', (text, bytes) => expect(parseBytes(text)).toBe(bytes));

  test.each<[string | number]>([
    ['1.5'], ['1.5 B'], ['-1'], ['GB'], [''], ['12 parsecs'], ['1e9'], ['1,5 GB'], ['10 iB'], ['99999999 TB'],
    [1.5], [-1], [Number.NaN], [Infinity], [2 ** 53],
  ])('%p is none', (text) => expect(parseBytes(text)).toBeUndefined()); // prettier-ignore

  test.each<[number, string]>([
    [0, '0 B'],
    [1023, '1023 B'],
    [KiB, '1 KiB'],
    [6.5 * GiB, '6.5 GiB'],
    [6.04 * GiB, '6 GiB'],
    [1536 * GiB, '1.5 TiB'],
    [GiB - 1, '1 GiB'],
    [0.99 * GiB, '1013.8 MiB'],
    [-2 * MiB, '-2 MiB'],
  ])('%p reads as %p', (bytes, text) => expect(formatBytes(bytes)).toBe(text));

  test('what is printed is read again, to the printed digit', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 50 }), (bytes) => {
        const again = parseBytes(formatBytes(bytes))!;
        expect(Math.abs(again - bytes)).toBeLessThanOrEqual(bytes * 0.051);
        expect(formatBytes(again)).toBe(formatBytes(bytes));
      }),
    );
  });

  test.each<[string, number, number, [string, string]]>([
    ['as people read them', 2 * GiB, 3 * GiB, ['2 GiB', '3 GiB']],
    ['in bytes where they would read alike', GiB + 1, GiB, ['1073741825 B', '1073741824 B']],
    ['alike where they are', GiB, GiB, ['1 GiB', '1 GiB']],
  ])('two sizes that are compared are printed %s', (_title, a, b, texts) => expect(formatBoth(a, b)).toEqual(texts));
});

describe('a duration', () => {
  test.each<[string | number, number]>([
    ['2 hours', 7_200_000],
    ['90s', 90_000],
    ['1.5 Minutes', 90_000],
    ['250 ms', 250],
    ['1 day', 86_400_000],
    [1_000, 1_000],
  ])('%p is %p ms', (text, ms) => expect(parseDurationMs(text)).toBe(ms));

  test.each<[string | number]>([
    ['90'],
    ['0s'],
    ['0.1 ms'],
    ['-1s'],
    ['2 fortnights'],
    ['3 constructor'],
    [''],
    [0],
    [-1],
    [1.5],
  ])('%p is none', (text) => expect(parseDurationMs(text)).toBeUndefined());
});

import { describe, expect, test } from '@jest/globals';
import { percentile, spreadOf } from '../../bench/statistics.ts';

describe('statistics of a bench', () => {
  test.each<[string, number[], number, number]>([
    ['the middle one of an odd number', [3, 1, 2], 0.5, 2],
    ['between the two middle ones of an even number', [4, 1, 3, 2], 0.5, 2.5],
    ['the only one, whatever the share', [7], 0.95, 7],
    ['between neighbours by their distance', [0, 10], 0.95, 9.5],
    ['the smallest at 0', [5, 2, 9], 0, 2],
    ['the largest at 1', [5, 2, 9], 1, 9],
  ])('a percentile is %s', (_title, values, share, expected) =>
    expect(percentile(values, share)).toBeCloseTo(expected),
  );

  test('the spread is median, smallest and largest, and leaves the measurements as they are', () => {
    const values = [3, 9, 1];
    expect(spreadOf(values)).toEqual({ median: 3, min: 1, max: 9 });
    expect(values).toEqual([3, 9, 1]);
  });

  test.each([
    [[] as number[], 0.5],
    [[1], 1.5],
    [[1], NaN],
  ])('refuses a percentile of %p at %p', (values, share) =>
    expect(() => percentile(values, share)).toThrow(RangeError),
  );
});

import { describe, expect, test } from '@jest/globals';
import { type Goal, figureOf, figureTable } from '../../bench/figures.ts';

describe('a figure', () => {
  test('holds medians, ranges and the ratio of the medians', () => {
    expect(figureOf({ name: 'wall', unit: 's', ours: [9, 11, 10], against: 'script', theirs: [8, 10, 12], goal: { of: 'ratio', atMost: 1.1 } })).toEqual({
      name: 'wall', unit: 's', ours: 10, oursRange: [9, 11], against: 'script', theirs: 10, theirsRange: [8, 12], ratio: 1, goal: '<= 1.1 x theirs', holds: true,
    }); // prettier-ignore
  });

  test('says null, never nothing, where there is nothing to compare with', () => {
    expect(figureOf({ name: 'begin', unit: 'ms', ours: [1] })).toEqual({
      name: 'begin', unit: 'ms', ours: 1, oursRange: [1, 1], against: null, theirs: null, theirsRange: null, ratio: null, goal: null, holds: null,
    }); // prettier-ignore
  });

  test.each<[string, Goal, boolean]>([
    ['a goal of ours is met at its limit', { of: 'ours', atMost: 25 }, true],
    ['a goal of ours is missed above it', { of: 'ours', atMost: 24.9999 }, false],
    ['a goal of the ratio is met at its limit', { of: 'ratio', atMost: 1.25 }, true],
    ['a goal of the ratio is missed above it', { of: 'ratio', atMost: 1.2499 }, false],
  ])('%s', (_title, goal, holds) =>
    expect(figureOf({ name: 'x', unit: 'ms', ours: [25], against: 'other', theirs: [20], goal }).holds).toBe(holds),
  );

  test('a goal is judged as measured, not as rounded', () => {
    expect(figureOf({ name: 'x', unit: 'ms', ours: [25.0001], goal: { of: 'ours', atMost: 25 } })).toMatchObject({
      ours: 25,
      holds: false,
    });
  });

  test('a goal of a ratio needs another side', () => {
    expect(() => figureOf({ name: 'x', unit: 'ms', ours: [1], goal: { of: 'ratio', atMost: 1 } })).toThrow(
      /x: its goal is a ratio/,
    );
  });

  test('a missed goal catches the eye in the table', () => {
    const table = figureTable([figureOf({ name: 'x', unit: 'ms', ours: [2], goal: { of: 'ours', atMost: 1 } })]);
    expect(table.split('\n')[1]).toMatch(/^x\s+2\s+2\.\.2\s+ms\s+<= 1 ms\s+NO$/);
  });
});

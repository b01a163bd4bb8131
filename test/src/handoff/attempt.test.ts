import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { attemptName, parseAttemptName, safeName } from '../../../src/handoff/attempt.ts';

/** Half of a pair among them; the library's own arbitrary of them takes a second to build. */
const anyCodePoint = fc.nat(0x10ffff).map((codePoint) => String.fromCodePoint(codePoint));

describe('safe names', () => {
  test.each(['lines', 'daily_revenue', 'a-1', '0d3f5a1e-7c1b-4b7e-9d2f-5d8a6f0f6f1a'])('%s stays as it is', (name) => {
    expect(safeName(name)).toBe(name);
  });

  test.each(['..', '../../etc', 'a/b', 'A', 'a b', '', '-rf', 'ä', 'a.b', 'x'.repeat(300)])(
    '%p becomes one plain path segment',
    (name) => {
      expect(safeName(name)).toMatch(/^[a-z0-9_][a-z0-9_-]{0,79}$/);
    },
  );

  test('any text gives a plain segment, once and twice the same', () => {
    fc.assert(
      fc.property(fc.string({ unit: anyCodePoint }), (text) => {
        const name = safeName(text);
        expect(name).toMatch(/^[a-z0-9_][a-z0-9_-]{0,79}$/);
        expect(safeName(name)).toBe(name);
      }),
    );
  });

  test('different texts stay different', () => {
    const texts = ['a b', 'a_b', 'a/b', 'A b', 'a.b', '.a b', 'x'.repeat(300), 'x'.repeat(301)];
    expect(new Set(texts.map(safeName)).size).toBe(texts.length);
  });
});

describe('names of attempts', () => {
  test.each([
    ['lines', 3],
    ['a-1', 2],
    ['Daily Revenue', 0],
  ])('%s token %d is found again', (step, token) => {
    expect(parseAttemptName(attemptName({ step, token }))).toEqual({ step: safeName(step), token });
  });
  test.each(['lines', 'lines-', '-1', 'a/b-1', 'a-1.json'])('%p is none', (name) =>
    expect(parseAttemptName(name)).toBeUndefined(),
  );
  test.each([-1, 1.5, NaN])('token %p is refused', (token) =>
    expect(() => attemptName({ step: 'a', token })).toThrow(RangeError),
  );
});

import { expect, test } from '@jest/globals';
import { nearestName } from '../../../src/policy/nearest-name.ts';

const known = ['from', 'into', 'sql', 'params', 'startToClose'];

test.each<[string, string, string | undefined]>([
  ['a letter too many', 'sqll', 'sql'],
  ['a letter too few', 'parms', 'params'],
  ['two letters exchanged', 'form', 'from'],
  ['another case', 'SQL', 'sql'],
  ['a long name may be further off', 'start_to_close', 'startToClose'],
  ['a name known as it is', 'into', 'into'],
  ['nothing alike', 'warehouse', undefined],
  ['one letter is near nothing', 'x', undefined],
  ['two other letters are near nothing', 'ab', undefined],
  ['an empty name', '', undefined],
])('a mistyped name finds the one it meant: %s', (_title, typed, near) => {
  expect(nearestName(typed, known)).toBe(near);
});

test('of equally near names the first is meant, and without names none', () => {
  expect(nearestName('stepa', ['step1', 'step2'])).toBe('step1');
  expect(nearestName('stepa', [])).toBeUndefined();
});

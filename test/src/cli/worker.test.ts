import { expect, test } from '@jest/globals';
import { firstLineOf } from '../../../src/cli/commands/worker.ts';

test.each([
  ['one line', 'rows: no such table', 'rows: no such table'],
  ['the first of several', 'Cannot read it\n    at parse (a.ts:1:2)', 'Cannot read it'],
  ['problems, with each of them', 'orders: 2 problems:\n- a is wrong. Mend it.\n- b is, too.', 'orders: 2 problems: a is wrong. Mend it. b is, too.'],
])('the log has %s', (_title, message, line) => {
  expect(firstLineOf(message)).toBe(line);
}); // prettier-ignore

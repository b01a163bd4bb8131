import { expect, test } from '@jest/globals';
import { table } from '../../../src/cli/output.ts';

test('numbers stand to the right, also beside one that nobody knows; texts, and columns of which nothing is known, to the left', () => {
  const rows = [
    ['raw', '–', '–'],
    ['clean', 400, '–'],
  ];
  expect(table(['step', 'rows', 'scratch'], rows)).toBe(
    ['step   rows  scratch', 'raw       –  –', 'clean   400  –'].join('\n'),
  );
});

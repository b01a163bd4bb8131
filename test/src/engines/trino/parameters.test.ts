import { describe, expect, test } from '@jest/globals';
import type { Parameter } from '../../../../src/contracts/pipeline.ts';
import {
  bindParameters,
  quoteIdentifier,
  renderLiteral,
  renderString,
} from '../../../../src/engines/trino/parameters.ts';

describe('literals', () => {
  test.each<[string, Parameter, string]>([
    ['text', 'abc', "'abc'"],
    ['text with quotes', "O'Hara'; drop table x --", "'O''Hara''; drop table x --'"],
    ['text with a line break stays on one line', "a\n'b\\", "U&'a\\000a''b\\\\'"],
    ['a whole number', 5, '5'],
    ['a negative number cannot become a comment', -5, '(-5)'],
    ['a number past 2^31', 3_000_000_000, "BIGINT '3000000000'"],
    ['the smallest integer', -(2 ** 31), '(-2147483648)'],
    ['a fraction', 0.05, "DOUBLE '0.05'"],
    ['a number past 2^53', 1e20, "DOUBLE '100000000000000000000'"],
    ['minus nought', -0, "DOUBLE '-0.0'"],
    ['truth', true, 'true'],
    ['nothing', null, 'NULL'],
  ])('%s', (_title, value, literal) => expect(renderLiteral(value)).toBe(literal));

  test.each([NaN, Infinity])('%p is refused', (value) =>
    expect(() => renderLiteral(value)).toThrow('Give finite numbers'),
  );
  test('names keep their quotes', () => expect(quoteIdentifier('a"b')).toBe('"a""b"'));
  test('text is text', () => expect(renderString('plain')).toBe("'plain'"));
});

describe('binding', () => {
  test.each<[string, string, Parameter[], string]>([
    ['values stand in order', 'select ?, ?', [1, 'a'], "select  1 ,  'a' "],
    ['a ? in a string is none', "select '?', ?", [1], "select '?',  1 "],
    ['nor in a quoted name', 'select "?", ?', [1], 'select "?",  1 '],
    ['nor in a comment', 'select 1 -- ?\n, /* ? */ ?', [2], 'select 1 -- ?\n, /* ? */  2 '],
    ['quotes in quotes do not end a string', "select 'it''s ?', ?", [1], "select 'it''s ?',  1 "],
    ['a value that holds a ? is not looked at again', 'select ?, ?', ['?', 2], "select  '?' ,  2 "],
    ['a ; at the end goes', 'select 1;', [], 'select 1 '],
    ['also in front of a comment', 'select 1; -- done;', [], 'select 1  -- done;'],
    ['a ; in a string stays', "select ';'", [], "select ';'"],
    ['a row pattern keeps its ? when there are no values', 'pattern (a? b)', [], 'pattern (a? b)'],
  ])('%s', (_title, sql, params, bound) => expect(bindParameters(sql, params).sql).toBe(bound));

  test('too few values are refused with both numbers', () => {
    expect(() => bindParameters('select ?, ?', [1])).toThrow('it has 2 and `params` has 1');
  });

  test.each<[string, { line: number; column: number }, { line: number; column: number }]>([
    ['before the first value', { line: 1, column: 8 }, { line: 1, column: 8 }],
    ['behind one value', { line: 1, column: 25 }, { line: 1, column: 9 }],
    ['within a value', { line: 1, column: 20 }, { line: 1, column: 8 }],
    ['on a line without values', { line: 3, column: 4 }, { line: 3, column: 4 }],
    ['behind two values of one line', { line: 2, column: 11 }, { line: 2, column: 6 }],
  ])('a position %s leads back to what was written', (_title, sent, written) => {
    const bound = bindParameters('select ?, x\n?, ? y\nfrom', ['1998-01-01 xy', 1, 22]);
    expect(bound.original(sent)).toEqual(written);
  });
});

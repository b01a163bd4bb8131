import { describe, expect, test } from '@jest/globals';
import { parseLossless } from '../../../../src/engines/trino/lossless-json.ts';

describe('JSON without rounding', () => {
  test.each<[string, string, unknown]>([
    ['an integer past 2^53 comes as its digits', '[9007199254740993]', ['9007199254740993']],
    ['a negative one too', '[-9007199254740993,1]', ['-9007199254740993', 1]],
    ['the largest exact integer stays a number', '[9007199254740991]', [9007199254740991]],
    ['sixteen digits below 2^53 stay a number', '[1234567890123456]', [1234567890123456]],
    ['digits inside a string are left alone', '["a,12345678901234567,b"]', ['a,12345678901234567,b']],
    ['so are those behind an escaped quote', '["a\\",12345678901234567,\\\\"]', ['a",12345678901234567,\\']],
    ['a string that ends in a backslash does not run on', '["\\\\",12345678901234567]', ['\\', '12345678901234567']],
    ['a string of nothing but digits stays a string', '["12345678901234567"]', ['12345678901234567']],
    ['a long fraction stays a number', '[0.12345678901234567]', [0.12345678901234567]],
    ['a long integer with an exponent stays a number', '[12345678901234567e2]', [12345678901234567e2]],
    [
      'deep inside arrays and objects',
      '{"k":[[12345678901234567]],"12345678901234567":1}',
      { k: [['12345678901234567']], '12345678901234567': 1 },
    ],
    ['at the very end', '12345678901234567', '12345678901234567'],
    ['nothing to quote', '{"a":[1,null,true]}', { a: [1, null, true] }],
  ])('%s', (_title, text, expected) => expect(parseLossless(text)).toEqual(expected));

  test('text that is no JSON is refused', () => expect(() => parseLossless('[12345678901234567')).toThrow(SyntaxError));
});

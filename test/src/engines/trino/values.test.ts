import { expect, test } from '@jest/globals';
import type { ReplyColumn, TypeSignature } from '../../../../src/engines/trino/protocol.ts';
import { rowDecoder } from '../../../../src/engines/trino/values.ts';

const type = (rawType: string, ...inner: TypeSignature[]): TypeSignature => ({
  rawType,
  arguments: inner.map((value) => ({ kind: 'TYPE', value })),
});
const named = (...fields: [string, TypeSignature][]): TypeSignature => ({
  rawType: 'row',
  arguments: fields.map(([name, typeSignature]) => ({
    kind: 'NAMED_TYPE',
    value: { fieldName: { name }, typeSignature },
  })),
});
const column = (typeSignature: TypeSignature): ReplyColumn => ({
  name: 'c',
  type: typeSignature.rawType,
  typeSignature,
});

test.each<[string, TypeSignature, unknown, unknown]>([
  ['bigint', type('bigint'), '9007199254740993', 9007199254740993n],
  ['small bigint', type('bigint'), 7, 7n],
  ['NULL of bigint', type('bigint'), null, null],
  ['array of bigint', type('array', type('bigint')), [1, null, '9007199254740993'], [1n, null, 9007199254740993n]],
  ['map to bigint', type('map', type('varchar'), type('bigint')), { a: 1 }, { a: 1n }],
  ['row with bigint', named(['a', type('bigint')], ['b', type('varchar')]), [1, '2'], [1n, '2']],
  ['array of rows', type('array', named(['a', type('bigint')])), [[1], null], [[1n], null]],
])('%s comes exact', (_title, signature, raw, expected) => {
  expect(rowDecoder([column(signature)])!([[raw]])).toEqual([[expected]]);
});

test('rows without bigints need no decoder', () => {
  expect(rowDecoder([column(type('varchar')), column(type('array', type('integer')))])).toBeUndefined();
});

import { expect, test } from '@jest/globals';
import * as arrow from 'apache-arrow';
import type { DataType } from 'apache-arrow';
import { jsonWriter } from '../../../../src/engines/postgres/kernels/json-text.ts';

const field = (name: string, type: DataType) => new arrow.Field(name, type, true);
/** A column of raw values, as a file would hold them. */
const raw = (type: DataType, data: ArrayBufferView, length = 1) => arrow.makeData({ type, length, data } as never);
const built = (type: DataType, ...values: unknown[]) =>
  arrow.vectorFromArray(values as never[], type as never).data[0]!;
const texts = (data: arrow.Data): string[] =>
  Array.from({ length: data.length }, (_, row) => jsonWriter(data.type)!(data, row));

test.each<[string, arrow.Data, string]>([
  ['an integer past 2^53', raw(new arrow.Int64(), BigInt64Array.of(9007199254740993n)), '9007199254740993'],
  ['an unsigned one', raw(new arrow.Uint64(), BigUint64Array.of(2n ** 64n - 1n)), '18446744073709551615'],
  ['a decimal', raw(new arrow.Decimal(2, 20), Uint32Array.of(0xfffffffb, 0xffffffff, 0xffffffff, 0xffffffff)), '-0.05'],
  ['a decimal without places', raw(new arrow.Decimal(0, 20), Uint32Array.of(120, 0, 0, 0)), '120'],
  ['a decimal of tens', raw(new arrow.Decimal(-2, 20), Uint32Array.of(3, 0, 0, 0)), '300'],
  ['a double', raw(new arrow.Float64(), Float64Array.of(0.1)), '0.1'],
  ['a double that is no number', raw(new arrow.Float64(), Float64Array.of(NaN)), '"NaN"'],
  ['infinity', raw(new arrow.Float64(), Float64Array.of(-Infinity)), '"-Infinity"'],
  ['a float', raw(new arrow.Float32(), Float32Array.of(0.1)), '0.1'],
  ['a float of nine digits', raw(new arrow.Float32(), Float32Array.of(16777217.5)), '16777218'],
  ['a half', raw(new arrow.Float16(), Uint16Array.of(0x3555)), '0.333251953125'],
  ['the smallest half', raw(new arrow.Float16(), Uint16Array.of(0x0001)), '5.960464477539063e-8'],
  ['an infinite half', raw(new arrow.Float16(), Uint16Array.of(0xfc00)), '"-Infinity"'],
  ['a half that is no number', raw(new arrow.Float16(), Uint16Array.of(0x7e00)), '"NaN"'],
  ['text', built(new arrow.Utf8(), 'a "b"\n\u00fc'), '"a \\"b\\"\\n\u00fc"'],
  ['a view', built(new arrow.Utf8View(), 'longer than twelve bytes'), '"longer than twelve bytes"'],
  ['bytes', built(new arrow.Binary(), Uint8Array.of(1, 255)), '"\\\\x01ff"'],
  ['bytes of one length', raw(new arrow.FixedSizeBinary(2), Uint8Array.of(1, 255)), '"\\\\x01ff"'],
  ['a date', raw(new arrow.DateDay(), Int32Array.of(-1)), '"1969-12-31"'],
  ['a date before our era', raw(new arrow.DateDay(), Int32Array.of(-735_160)), '"0044-03-15 BC"'],
  ['a date in ms', raw(new arrow.DateMillisecond(), BigInt64Array.of(-1n)), '"1969-12-31"'],
  ['a time', raw(new arrow.TimeMicrosecond(), BigInt64Array.of(86_399_500_000n)), '"23:59:59.5"'],
  ['a timestamp', raw(new arrow.TimestampSecond(), BigInt64Array.of(0n)), '"1970-01-01T00:00:00"'],
  ['a zoned one before 1970', raw(new arrow.TimestampMicrosecond('Europe/Paris'), BigInt64Array.of(-1n)), '"1969-12-31T23:59:59.999999+00:00"'], // prettier-ignore
  ['one in ns', raw(new arrow.TimestampNanosecond(), BigInt64Array.of(1n)), '"1970-01-01T00:00:00.000000001"'],
  ['a duration', raw(new arrow.DurationMillisecond(), BigInt64Array.of(-1500n)), '"PT-1.5S"'],
  ['months', raw(new arrow.IntervalYearMonth(), Int32Array.of(-13)), '"P-13M"'],
  ['days and ms', raw(new arrow.IntervalDayTime(), Int32Array.of(2, -1)), '"P2DT-0.001S"'],
  ['months, days and ns', raw(new arrow.IntervalMonthDayNano(), Int32Array.of(1, 2, 5, 0)), '"P1M2DT0.000000005S"'],
  ['days alone', raw(new arrow.IntervalMonthDayNano(), Int32Array.of(0, 2, 0, 0)), '"P0M2D"'],
  ['an entry of a dictionary', built(new arrow.Dictionary(new arrow.Utf8(), new arrow.Int8()), 'x'), '"x"'],
  ['a list', built(new arrow.List(field('i', new arrow.Bool())), [true, null]), '[true,null]'],
  ['a list of one length', built(new arrow.FixedSizeList(2, field('i', new arrow.Int32())), [1, 2]), '[1,2]'],
  ['a struct', built(new arrow.Struct([field('a"', new arrow.Int32()), field('b', new arrow.Utf8())]), { 'a"': 1, b: null }), '{"a\\"":1,"b":null}'], // prettier-ignore
])('%s becomes JSON', (_title, data, text) => {
  expect(texts(data)).toEqual([text]);
});

test('a map becomes an object, whatever its keys are', () => {
  const entries = new arrow.Struct([field('key', new arrow.Int32()), field('value', new arrow.Int32())]);
  const type = new arrow.Map_(new arrow.Field('entries', entries, false) as never);
  const child = arrow.makeData({ type: entries, length: 2, children: [built(new arrow.Int32(), 1, 2), built(new arrow.Int32(), 3, null)] } as never); // prettier-ignore
  const data = arrow.makeData({ type, length: 1, valueOffsets: Int32Array.of(0, 2), child } as never);
  expect(texts(data as arrow.Data)).toEqual(['{"1":3,"2":null}']);
});

test.each([
  ['dense', arrow.DenseUnion, Int32Array.of(0, 0, 1)],
  ['sparse', arrow.SparseUnion, undefined],
])('a %s union gives the value of its kind', (_title, Type, valueOffsets) => {
  const type = new Type([5, 7], [field('n', new arrow.Int32()), field('t', new arrow.Utf8())]);
  const children = valueOffsets
    ? [built(new arrow.Int32(), 1, null), built(new arrow.Utf8(), 'x')]
    : [built(new arrow.Int32(), 1, 0, null), built(new arrow.Utf8(), '', 'x', '')];
  const data = arrow.makeData({ type, length: 3, typeIds: Int8Array.of(5, 7, 5), valueOffsets, children } as never);
  expect(texts(data as arrow.Data)).toEqual(['1', '"x"', 'null']);
});

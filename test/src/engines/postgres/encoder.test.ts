import { expect, test } from '@jest/globals';
import * as arrow from 'apache-arrow';
import fc from 'fast-check';
import type { SourceColumn } from '../../../../src/engines/postgres/arrow-types.ts';
import { deriveType } from '../../../../src/engines/postgres/arrow-types.ts';
import { makeChunk, seal } from '../../../../src/engines/postgres/chunk.ts';
import { CopyEncoder } from '../../../../src/engines/postgres/encoder.ts';
import type { ColumnBatch } from '../../../../src/engines/postgres/ipc-reader.ts';
import { chooseKernel } from '../../../../src/engines/postgres/kernels/choose.ts';
import type { TargetColumn } from '../../../../src/engines/postgres/types.ts';
import { numericShape, numericTypmod, Oid } from '../../../../src/engines/postgres/types.ts';

const batch = (table: arrow.Table): ColumnBatch[] =>
  table.batches.map(({ numRows, data }) => ({ rows: numRows, columns: data.children, bytes: 0 }));
const columnsOf = (table: arrow.Table): SourceColumn[] =>
  table.schema.fields.map(({ name, type }) => ({ name, type: type as arrow.DataType, nullable: true }));
const target = (column: SourceColumn, notNull = false): TargetColumn => ({
  name: column.name,
  ...deriveType(column)!,
  isEnum: false,
  notNull,
});

/** Encodes batches through chunks of a capacity and answers the messages' contents, joined. */
function encode(table: arrow.Table, capacity: number): Buffer {
  const columns = columnsOf(table);
  const encoder = new CopyEncoder(
    columns,
    columns.map((column) => target(column)),
  );
  const out: Buffer[] = [];
  let chunk = makeChunk(capacity);
  let used = 0;
  const flush = (): void => {
    if (used === 0) return;
    seal(chunk, used);
    expect(chunk.view.getUint8(0)).toBe(0x64);
    expect(chunk.view.getInt32(1)).toBe(used - 1);
    out.push(Buffer.from(chunk.bytes.subarray(5, used)));
    used = 0;
  };
  for (const part of batch(table)) {
    encoder.start(part);
    while (encoder.more) {
      const now = encoder.fill(chunk, used);
      if (now > used) used = now;
      else if (used > 0) flush();
      else chunk = makeChunk(encoder.nextRowBytes);
    }
  }
  flush();
  const rest = encoder.header(chunk);
  if (rest > 0) out.push(Buffer.from(chunk.bytes.subarray(5, rest)));
  return Buffer.concat(out);
}

test('rows are encoded alike through chunks of any size', () => {
  const cell = fc.record({
    a: fc.option(fc.maxSafeInteger().map(BigInt)),
    b: fc.option(fc.string({ maxLength: 300 }).map((text) => text.replaceAll('\0', ''))),
    c: fc.option(fc.boolean()),
    d: fc.option(fc.integer()),
  });
  fc.assert(
    fc.property(
      fc.array(fc.array(cell, { maxLength: 30 }), { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 40, max: 900 }),
      (lists, capacity) => {
        const batches = lists.map(
          (rows) =>
            new arrow.Table({
              a: arrow.vectorFromArray(
                rows.map(({ a }) => a),
                new arrow.Int64(),
              ),
              b: arrow.vectorFromArray(
                rows.map(({ b }) => b),
                new arrow.Utf8(),
              ),
              c: arrow.vectorFromArray(
                rows.map(({ c }) => c),
                new arrow.Bool(),
              ),
              d: arrow.vectorFromArray(
                rows.map(({ d }) => d),
                new arrow.Int32(),
              ),
            }).batches[0]!,
        );
        const table = new arrow.Table(batches.filter((part) => part !== undefined && part.numRows > 0));
        if (table.numRows === 0) return;
        expect(encode(table, capacity).equals(encode(table, 1 << 20))).toBe(true);
      },
    ),
    { numRuns: 100 },
  );
});

test('a row is its field count, then length and bytes of each value', () => {
  const table = new arrow.Table({
    id: arrow.vectorFromArray([1n, null], new arrow.Int64()),
    name: arrow.vectorFromArray(['é', ''], new arrow.Utf8()),
  });
  expect(encode(table, 1 << 16).toString('hex')).toBe(
    '5047434f50590aff0d0a00' +
      '00000000' +
      '00000000' +
      '0002' +
      '00000008' +
      '0000000000000001' +
      '00000002' +
      'c3a9' +
      '0002' +
      'ffffffff' +
      '00000000',
  );
});

test('a COPY without rows is the file header alone', () => {
  const none = new arrow.Table({ id: arrow.vectorFromArray([1], new arrow.Int32()) }).slice(0, 0);
  expect(encode(new arrow.Table(none.schema), 1 << 16)).toHaveLength(19);
});

const {
  Int8,
  Int32,
  Int64,
  Uint32,
  Uint64,
  Float32,
  Float64,
  Utf8,
  Bool,
  Decimal,
  DateDay,
  TimestampMicrosecond,
  FixedSizeBinary,
  Binary,
} = arrow;
const plain = (typeOid: number, typmod = -1): TargetColumn => ({
  name: 'c',
  typeOid,
  typmod,
  typeName: 'its type',
  isEnum: false,
  notNull: false,
});

test.each<[string, arrow.DataType, TargetColumn, string | undefined, RegExp | 'fits']>([
  ['int64 into bigint', new Int64(), plain(Oid.INT8), undefined, 'fits'],
  [
    'int64 into double precision, which rounds above 2^53',
    new Int64(),
    plain(Oid.FLOAT8),
    undefined,
    /int64 cannot be loaded into its type\. Cast it/,
  ],
  ['int32 into double precision', new Int32(), plain(Oid.FLOAT8), undefined, 'fits'],
  ['int8 into text', new Int8(), plain(Oid.TEXT), undefined, /int8 cannot/],
  ['uint32 into integer, range checked', new Uint32(), plain(Oid.INT4), undefined, 'fits'],
  ['uint64 into bigint, range checked', new Uint64(), plain(Oid.INT8), undefined, 'fits'],
  ['float64 into real', new Float64(), plain(Oid.FLOAT4), undefined, /float64 cannot/],
  ['float32 into double precision', new Float32(), plain(Oid.FLOAT8), undefined, 'fits'],
  ['float64 into numeric', new Float64(), plain(Oid.NUMERIC), undefined, /float64 cannot/],
  [
    'decimal into a numeric of fewer places',
    new Decimal(4, 20, 128),
    plain(Oid.NUMERIC, numericTypmod(20, 2)),
    undefined,
    /4 decimal places and the column keeps 2/,
  ],
  [
    'decimal into a numeric of more places',
    new Decimal(2, 20, 128),
    plain(Oid.NUMERIC, numericTypmod(20, 4)),
    undefined,
    'fits',
  ],
  ['text into date', new Utf8(), plain(Oid.DATE), undefined, /utf8 cannot/],
  ['text into uuid', new Utf8(), plain(Oid.UUID), 'uuid', 'fits'],
  ['text into an enum', new Utf8(), { ...plain(99_999), isEnum: true }, undefined, 'fits'],
  ['text into a type nobody knows', new Utf8(), plain(99_999), undefined, /utf8 cannot/],
  ['bool into integer', new Bool(), plain(Oid.INT4), undefined, /bool cannot/],
  ['date into timestamp', new DateDay(), plain(Oid.TIMESTAMP), undefined, /date32 cannot/],
  [
    'zoned into zoneless time',
    new TimestampMicrosecond('UTC'),
    plain(Oid.TIMESTAMP),
    undefined,
    /timestamp\[us, UTC\] cannot .* have a time zone and the column has none/,
  ],
  [
    'zoneless into zoned time',
    new TimestampMicrosecond(),
    plain(Oid.TIMESTAMPTZ),
    undefined,
    /have no time zone and the column has one/,
  ],
  [
    'time whose zone the carrier lost',
    new TimestampMicrosecond(),
    plain(Oid.TIMESTAMPTZ),
    'timestamp(6) with time zone',
    'fits',
  ],
  ['15 bytes into uuid', new FixedSizeBinary(15), plain(Oid.UUID), undefined, /fixed_size_binary\(15\) cannot/],
  ['bytes into text', new Binary(), plain(Oid.TEXT), undefined, /binary cannot/],
])('%s', (_title, type, column, logicalType, verdict) => {
  const choice = chooseKernel({ name: 'c', type, nullable: true, ...(logicalType ? { logicalType } : {}) }, column);
  if (verdict === 'fits') expect(choice).toHaveProperty('kernel');
  else expect(choice).toEqual({ problem: expect.stringMatching(verdict) });
});

test.each<[string, arrow.Vector, TargetColumn, RegExp]>([
  [
    'int64 above integer',
    arrow.vectorFromArray([0n, 2147483648n], new Int64()),
    plain(Oid.INT4),
    /^Row 2, column "c" does not fit its type: 2147483648 is outside/,
  ],
  ['int64 below smallint', arrow.vectorFromArray([-32769n], new Int64()), plain(Oid.INT2), /-32769 is outside/],
  [
    'uint64 that looks like -1',
    arrow.vectorFromArray([2n ** 64n - 1n], new Uint64()),
    plain(Oid.INT4),
    /18446744073709551615 is too large/,
  ],
  [
    'uint64 above bigint',
    arrow.vectorFromArray([2n ** 63n], new Uint64()),
    plain(Oid.INT8),
    /above 9223372036854775807/,
  ],
  ['uint32 above integer', arrow.vectorFromArray([4294967295], new Uint32()), plain(Oid.INT4), /4294967295 is above/],
  [
    'a text that is no uuid',
    arrow.vectorFromArray(['0f8fad5b-d9cb-469f-a165-7086772895'], new Utf8()),
    plain(Oid.UUID),
    /not a uuid/,
  ],
  [
    'an odd digit in a uuid',
    arrow.vectorFromArray(['0f8fad5b-d9cb-469f-a165-70867728950x'], new Utf8()),
    plain(Oid.UUID),
    /not a uuid/,
  ],
  ['a day far off', dayVector(-2147483648), plain(Oid.DATE), /outside the type date/],
  ['ns that would be lost', nanos(1n), plain(Oid.TIMESTAMP), /nanoseconds would be lost/],
  ['a µs that would wrap', micros(-(2n ** 63n)), plain(Oid.TIMESTAMP), /before 4713 BC/],
])('%s is refused, naming row and column', (_title, vector, column, message) => {
  const data = vector.data[0]! as arrow.Data;
  const encoder = new CopyEncoder([{ name: 'c', type: data.type, nullable: true }], [column], {
    nanoseconds: 'refuse',
  });
  expect(() => {
    encoder.start({ rows: data.length, columns: [data], bytes: 0 });
    encoder.fill(makeChunk(), 0);
  }).toThrow(message);
});

function dayVector(day: number): arrow.Vector {
  return new arrow.Vector([arrow.makeData({ type: new DateDay(), length: 1, data: Int32Array.of(day) })]);
}
function nanos(value: bigint): arrow.Vector {
  return new arrow.Vector([
    arrow.makeData({ type: new arrow.TimestampNanosecond(), length: 1, data: BigInt64Array.of(value) }),
  ]);
}
function micros(value: bigint): arrow.Vector {
  return new arrow.Vector([
    arrow.makeData({ type: new TimestampMicrosecond(), length: 1, data: BigInt64Array.of(value) }),
  ]);
}

test('all columns that do not fit are named at once, before any byte', () => {
  const column = { nullable: true };
  expect(
    () =>
      new CopyEncoder(
        [
          { name: 'a', type: new Bool(), ...column },
          { name: 'b', type: new Utf8(), ...column },
        ],
        [
          { ...plain(Oid.INT4), name: 'a' },
          { ...plain(Oid.DATE), name: 'b' },
        ],
      ),
  ).toThrow(/column "a": bool .*column "b": utf8 /);
});

test('a numeric modifier is read as the server writes it', () => {
  expect(numericShape(numericTypmod(38, 10))).toEqual({ precision: 38, scale: 10 });
  expect(numericShape(numericTypmod(5, -2))).toEqual({ precision: 5, scale: -2 });
  expect(numericShape(-1)).toBeUndefined();
});

import { expect, test } from '@jest/globals';
import * as arrow from 'apache-arrow';
import type { DataType } from 'apache-arrow';
import { DateDay, Decimal, Field, Int32, Int64, Timestamp, TimeUnit, Uint64, Utf8 } from 'apache-arrow';
import { deriveType } from '../../../../src/engines/postgres/arrow-types.ts';
import type { TableQuestion } from '../../../../src/engines/postgres/schema.ts';
import { copySql, createTableSql, planTable } from '../../../../src/engines/postgres/schema.ts';

const list = (item: DataType): DataType => new arrow.List(new Field('item', item, true));
const pair = new arrow.Struct([new Field('key', new Utf8(), false), new Field('value', new Int32(), true)]);

const column = (name: string, type: DataType, logicalType?: string) => ({
  name,
  type,
  nullable: true,
  ...(logicalType ? { logicalType } : {}),
});
const plan = (more: Partial<TableQuestion>) =>
  planTable({
    table: 'mart.t',
    source: [column('id', new Int64()), column('Name', new Utf8())],
    existing: undefined,
    key: [],
    indexes: [],
    ...more,
  });

test.each<[DataType, string | undefined, string]>([
  [new Int32(), undefined, 'integer'],
  [new Uint64(), undefined, 'numeric(20,0)'],
  [new Decimal(2, 38, 128), undefined, 'numeric(38,2)'],
  [new DateDay(), undefined, 'date'],
  [new Utf8(), 'uuid', 'uuid'],
  [new Utf8(), 'json', 'jsonb'],
  [new Utf8(), 'interval day to second', 'text'],
  [new Timestamp(TimeUnit.MILLISECOND, 'UTC'), undefined, 'timestamp with time zone'],
  [new Timestamp(TimeUnit.MILLISECOND), 'timestamp(3) with time zone', 'timestamp with time zone'],
  [new Timestamp(TimeUnit.MILLISECOND), undefined, 'timestamp without time zone'],
  [new arrow.Float16(), undefined, 'real'],
  [new arrow.Utf8View(), undefined, 'text'],
  [new arrow.BinaryView(), undefined, 'bytea'],
  [new arrow.DurationNanosecond(), undefined, 'interval'],
  [new arrow.IntervalMonthDayNano(), undefined, 'interval'],
  [list(new Int64()), undefined, 'bigint[]'],
  [list(new Decimal(2, 10, 128)), undefined, 'numeric(10,2)[]'],
  [new arrow.LargeList(new Field('item', new Utf8(), true)), undefined, 'text[]'],
  [new arrow.FixedSizeList(3, new Field('item', new arrow.Float64(), true)), undefined, 'double precision[]'],
  [list(list(new Int32())), undefined, 'jsonb'],
  [pair, undefined, 'jsonb'],
  [new arrow.Map_(new Field('entries', pair, false) as never), undefined, 'jsonb'],
  [new arrow.DenseUnion([0], [new Field('n', new Int32(), true)]), undefined, 'jsonb'],
])('a new column of %s (%s) is %s', (type, logicalType, typeName) => {
  expect(deriveType(column('c', type, logicalType))).toMatchObject({ typeName });
});

test('a new table has the columns of the rows, those of the key NOT NULL', () => {
  const table = plan({ key: ['id'] });
  expect(createTableSql('"s"."x"', table, 'logged')).toBe('create table "s"."x" ("id" bigint not null, "Name" text)');
  expect(createTableSql('"s"."x"', table, 'unlogged')).toMatch(
    /^create unlogged table .* with \(autovacuum_enabled = off\)$/,
  );
  expect(copySql('"s"."x"', table, true)).toBe('copy "s"."x" ("id", "Name") from stdin (format binary, freeze)');
});

test.each<[string, Partial<TableQuestion>, RegExp]>([
  [
    'two columns of one name',
    { source: [column('a', new Int32()), column('a', new Int32())] },
    /two columns are named "a"/,
  ],
  [
    'a type that nothing holds',
    { source: [column('a', new Decimal(-2, 5, 128))] },
    /no PostgreSQL type is known for decimal128\(5, -2\)/,
  ],
  ['a key that is no column', { key: ['ID'] }, /key names "ID", which is no column of the rows \(id, Name\)/],
  ['an index without columns', { indexes: [{ columns: [] }] }, /indexes\[0\] names no column/],
  ['a column named twice in an index', { indexes: [{ columns: ['id', 'id'] }] }, /names a column twice/],
  ['rows without columns', { source: [] }, /the rows have no columns/],
])('%s is refused', (_title, more, message) => {
  expect(() => plan(more)).toThrow(message);
});

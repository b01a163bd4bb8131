import { describe, expect, test } from '@jest/globals';
import { planColumns, unloadSession, unloadStatement } from '../../../../src/engines/trino/unload-sql.ts';
import { parseType } from '../../../../src/engines/trino/type-parser.ts';
import { carrierOf, distinct } from '../../../../src/engines/trino/types.ts';
import { MiB } from '../../../../src/policy/sizes.ts';

const carry = (text: string, precision: 6 | 9 = 6) => carrierOf(parseType(text)!, precision);

describe('types that files hold are left alone', () => {
  test.each([
    ['boolean', 'Bool'],
    ['tinyint', 'Int8'],
    ['bigint', 'Int64'],
    ['real', 'Float32'],
    ['decimal(12,2)', 'Decimal[12e+2]'],
    ['varchar(5)', 'Utf8'],
    ['varbinary', 'Binary'],
    ['date', 'Date32<DAY>'],
    ['array(map(varchar, bigint))', 'List<Map<{key:Utf8, value:Int64}>>'],
    ['row(a bigint, b array(double))', 'Struct<{a:Int64, b:List<Float64>}>'],
  ])('%s', (text, arrow) => {
    const carrier = carry(text)!;
    expect([carrier.arrow, carrier.sql('x'), carrier.changed]).toEqual([arrow, 'x', false]);
  });
});

describe('types that files cannot hold are cast', () => {
  test.each([
    ['timestamp(3)', 'CAST(x AS timestamp(6))', 'Timestamp<NANOSECOND>', false],
    ['timestamp(12)', 'CAST(x AS varchar)', 'Utf8', true],
    ['timestamp(3) with time zone', "CAST(x AT TIME ZONE 'UTC' AS timestamp(6))", 'Timestamp<NANOSECOND>', true],
    ['time(6)', 'CAST(x AS varchar)', 'Utf8', true],
    ['uuid', 'CAST(x AS varchar)', 'Utf8', true],
    ['char(5)', 'CAST(x AS varchar)', 'Utf8', true],
    ['json', 'json_format(x)', 'Utf8', true],
    ['interval day to second', 'CAST(x AS varchar)', 'Utf8', true],
    ['unknown', 'CAST(x AS varchar)', 'Utf8', true],
    ['HyperLogLog', 'CAST(x AS varbinary)', 'Binary', true],
    ['qdigest(bigint)', 'CAST(x AS varbinary)', 'Binary', true],
    ['array(uuid)', 'transform(x, e2 -> CAST(e2 AS varchar))', 'List<Utf8>', true],
    ['array(array(json))', 'transform(x, e3 -> transform(e3, e2 -> json_format(e2)))', 'List<List<Utf8>>', true],
    [
      'map(uuid, json)',
      'transform_values(transform_keys(x, (k2, v2) -> CAST(k2 AS varchar)), (k2, v2) -> json_format(v2))',
      'Map<{key:Utf8, value:Utf8}>',
      true,
    ],
    [
      'row(integer, integer)',
      'IF(x IS NULL, NULL, CAST(ROW(x[1], x[2]) AS row("field0" integer, "field1" integer)))',
      'Struct<{field0:Int32, field1:Int32}>',
      false,
    ],
    [
      'row(B c json)',
      'IF(x IS NULL, NULL, CAST(ROW(json_format(x[1])) AS row("b_c" varchar)))',
      'Struct<{b_c:Utf8}>',
      true,
    ],
  ])('%s', (text, sql, arrow, changed) => {
    const carrier = carry(text)!;
    expect([carrier.sql('x'), carrier.arrow, carrier.changed]).toEqual([sql, arrow, changed]);
  });

  test.each(['color', 'array(color)', 'map(varchar, color)', 'row(a color)', 'function(bigint,bigint)'])(
    '%s is carried by nobody',
    (text) => {
      expect(carry(text)).toBeUndefined();
    },
  );
});

test('fields of rows are told from types, names with spaces too', () => {
  const names = parseType(
    'row(interval day to second, x interval day to second, date date, B c varchar(3), timestamp(3) with time zone)',
  )!;
  expect(names.inner.map(({ name, type }) => [name, type.text])).toEqual([
    [undefined, 'interval day to second'],
    ['x', 'interval day to second'],
    ['date', 'date'],
    ['B c', 'varchar(3)'],
    [undefined, 'timestamp(3) with time zone'],
  ]);
});

test.each(['', 'row(', 'array(bigint', 'a b', 'decimal(1,)'])('%p is no type', (text) =>
  expect(parseType(text)).toBeUndefined(),
);

test('repeated names are numbered, and a real name of that form moves on', () => {
  expect(distinct(['a', 'a', 'a_2', 'a'])).toEqual(['a', 'a_2', 'a_2_2', 'a_3']);
});

describe('the plan of an unload', () => {
  test('names nameless, repeated and awkward columns', () => {
    const output = ['Foo', '_col1', 'foo', 'a,b', ' x ', '_col9'].map((name) => ({ name, type: 'integer' }));
    expect(planColumns(output).schema.map((column) => column.name)).toEqual([
      'foo',
      'column_2',
      'foo_2',
      'a_b',
      'x',
      '_col9',
    ]);
  });

  test('records the producer’s type where the carrier lost it, and only there', () => {
    const { schema } = planColumns([
      { name: 'u', type: 'uuid' },
      { name: 't', type: 'timestamp(3)' },
    ]);
    expect(schema).toEqual([
      { name: 'u', type: 'Utf8', nullable: true, logicalType: 'uuid' },
      { name: 't', type: 'Timestamp<NANOSECOND>', nullable: true },
    ]);
  });

  test('one column with nanoseconds takes all timestamps there', () => {
    const columns = planColumns([
      { name: 'a', type: 'timestamp(9)' },
      { name: 'b', type: 'timestamp(3)' },
    ]);
    expect(columns.carriers.map((carrier) => carrier.type)).toEqual(['timestamp(9)', 'timestamp(9)']);
    expect(unloadSession('lake', columns, {})['lake.timestamp_precision']).toBe('NANOSECONDS');
  });

  test('names every type that nobody carries', () => {
    const output = [
      { name: 'a', type: 'color' },
      { name: 'b', type: 'bigint' },
      { name: 'c', type: 'array(color)' },
    ];
    expect(() => planColumns(output)).toThrow('a (color), c (array(color))');
  });

  test('a statement without columns is no query', () =>
    expect(() => planColumns([])).toThrow('Write a query that gives rows'));

  test('the location is always local:///', () => {
    const columns = planColumns([{ name: 'u', type: 'uuid' }]);
    expect(unloadStatement({ table: 't', directory: 'runs/r/s-1', sql: 'select uuid()', columns })).toBe(
      "CREATE TABLE t\nWITH (format = 'PARQUET', external_location = 'local:///runs/r/s-1')\n" +
        'AS SELECT CAST("c0" AS varchar) AS "u"\nFROM\n(\nselect uuid()\n) AS spillway_rows ("c0")',
    );
  });

  test.each<[string, number | undefined, string]>([
    ['no cap', undefined, '4'],
    ['a small cap', 100 * MiB, '1'],
    ['the smallest useful lease', 350 * MiB, '1'],
    ['a middling cap', 600 * MiB, '2'],
    ['a large cap', 16_000 * MiB, '4'],
  ])('%s decides how many writers there are', (_title, cap, writers) => {
    const limits = cap === undefined ? {} : { queryMaxMemoryPerNodeBytes: cap };
    expect(unloadSession('lake', planColumns([{ name: 'a', type: 'bigint' }]), limits)['task_max_writer_count']).toBe(
      writers,
    );
  });
});

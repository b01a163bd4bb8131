// Longer than most files: one table of types reads better in one place.
import { beforeAll, describe, expect, test } from '@jest/globals';
import type { Data, DataType } from 'apache-arrow';
import * as arrow from 'apache-arrow';
import fc from 'fast-check';
import { arrowSourceOf } from '../../src/engines/postgres/arrow-source.ts';
import { sourceColumns } from '../../src/engines/postgres/arrow-types.ts';
import { CopyEncoder } from '../../src/engines/postgres/encoder.ts';
import { pump } from '../../src/engines/postgres/pump.ts';
import { Session } from '../../src/engines/postgres/session.ts';
import { inspectTarget } from '../../src/engines/postgres/target.ts';
import { batchOf, builtColumn, rawColumn, words } from './postgres-arrow.ts';
import { programsOfPostgresFromNpm } from './postgres-from-npm.ts';
import { filePostgres } from './postgres-fixture.ts';

/** One Arrow type into one PostgreSQL type: how values are made, laid out, and said in SQL (from a text column). */
interface Kind {
  pg: string;
  values: fc.Arbitrary<unknown>;
  column(values: readonly unknown[]): Data;
  logical?: string;
  text?(value: never): string;
  sql?: string;
}

const int = (min: number | bigint, max: number | bigint): fc.Arbitrary<bigint> => fc.bigInt(BigInt(min), BigInt(max));
const built = (type: DataType) => (values: readonly unknown[]) => builtColumn(type, values);
const small = (type: DataType) => (values: readonly unknown[]) =>
  builtColumn(
    type,
    values.map((value) => (value === null ? null : Number(value))),
  );
const wide = (type: DataType) => (values: readonly unknown[]) =>
  rawColumn(type, values, (value: bigint) => [BigInt.asIntN(64, value)], BigInt64Array, 1);
const decimal = (precision: number, scale: number, pg: string, digits = precision, bits = 128): Kind => ({
  pg,
  values: fc.oneof(int(-(10n ** BigInt(digits)) + 1n, 10n ** BigInt(digits) - 1n), int(-1000, 1000)),
  column: (values) =>
    rawColumn(
      new arrow.Decimal(scale, precision, bits),
      values,
      (value: bigint) => words(value, bits / 32),
      Uint32Array,
      bits / 32,
    ),
  sql: `(v::numeric * 1e-${scale}::numeric)::${pg}`,
});
const text = fc.string({ unit: 'grapheme', maxLength: 150 }).map((value) => value.replaceAll('\0', ''));
const bytes = fc.uint8Array({ maxLength: 200 });
const hex = (value: Uint8Array): string => Buffer.from(value).toString('hex');
const uuid = fc.uint8Array({ minLength: 16, maxLength: 16 });
/** Of no more than 11 bits: every half holds it. */
const halves = fc.oneof(
  int(-2047, 2047).map((value) => Number(value) / 8),
  fc.constantFrom(65504, -0, 0.5),
);
const list = (item: DataType): DataType => new arrow.List(new arrow.Field('item', item, true));
const listOf = (value: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> => fc.array(fc.option(value), { maxLength: 5 });
/** As PostgreSQL writes an array. */
const arrayText = (values: readonly (string | number | bigint | boolean | null)[]): string => {
  const escaped = (value: string | number | bigint | boolean): string =>
    `"${String(value).replaceAll(/["\\]/g, '\\$&')}"`;
  return `{${values.map((value) => (value === null ? 'NULL' : escaped(value))).join(',')}}`;
};
const person = new arrow.Struct([
  new arrow.Field('id', new arrow.Int64(), true),
  new arrow.Field('na"me', new arrow.Utf8(), true),
]);
const people = fc.record({ id: fc.option(int(-(2n ** 63n), 2n ** 63n - 1n)), 'na"me': fc.option(text) });
const asJson = (value: unknown): string =>
  JSON.stringify(value, (_, one: unknown) => (typeof one === 'bigint' ? `${one}#` : one)).replaceAll(/"(-?\d+)#"/g, '$1'); // prettier-ignore
/** In two steps: an interval of more than 2^53 µs would be rounded. */
const micros = (value: string): string =>
  `(${value}) / 3600000000 * interval '1 hour' + (${value}) % 3600000000 * interval '1 microsecond'`;
const durations = (type: DataType, of: bigint): Kind => ({
  pg: 'interval',
  values: fc.oneof(int(-(2n ** 63n) / of + 1n, 2n ** 63n / of - 1n), int(-(10n ** 9n), 10n ** 9n)),
  column: wide(type),
  sql: micros(`v::bigint * ${of}`),
});
const int32s = int(-(2n ** 31n), 2n ** 31n - 1n);
/** Intervals, as their parts in text: `3|-5`. */
const parts = (type: DataType, width: number, of: readonly fc.Arbitrary<bigint>[], sql: string): Kind => ({
  pg: 'interval',
  values: fc.tuple(...of),
  column: (values) =>
    rawColumn(
      type,
      values,
      (value: bigint[]) => value.flatMap((part, index) => words(part, of.length === 3 && index === 2 ? 2 : 1)),
      Uint32Array,
      width,
    ),
  text: (value: bigint[]) => value.join('|'),
  sql: sql.replaceAll(/\bpart(\d)/g, `split_part(v, '|', $1)::bigint`),
});
/** In two steps: an interval of more than 2^53 µs would be rounded. */
const since1970 = (pg: string, micros: string): string =>
  `${pg} '1970-01-01 00:00:00+00' + (${micros} / 86400000000) * interval '1 day' + (${micros} % 86400000000) * interval '1 microsecond'`;
const FIRST_MICROS = -210866803200000000n;
const LAST_MICROS = 9223371331200000000n - 946684800000000n - 1n;
const timestamps = (type: DataType, pg: string, micros: bigint): Kind => ({
  pg,
  values: fc.oneof(int(FIRST_MICROS / micros, LAST_MICROS / micros), int(-(10n ** 16n) / micros, 10n ** 16n / micros)),
  column: wide(type),
  sql: since1970(pg, `(v::bigint * ${micros})`),
});

const entry = new arrow.Struct([
  new arrow.Field('key', new arrow.Utf8(), false),
  new arrow.Field('value', new arrow.Int32(), true),
]);

const KINDS: Record<string, Kind> = {
  'bool → boolean': { pg: 'boolean', values: fc.boolean(), column: built(new arrow.Bool()) },
  'int8 → smallint': { pg: 'smallint', values: int(-128, 127), column: small(new arrow.Int8()) },
  'int8 → numeric': { pg: 'numeric', values: int(-128, 127), column: small(new arrow.Int8()) },
  'int16 → smallint': { pg: 'smallint', values: int(-32768, 32767), column: small(new arrow.Int16()) },
  'int16 → bigint': { pg: 'bigint', values: int(-32768, 32767), column: small(new arrow.Int16()) },
  'int32 → integer': { pg: 'integer', values: int(-2147483648, 2147483647), column: small(new arrow.Int32()) },
  'int32 → smallint': { pg: 'smallint', values: int(-32768, 32767), column: small(new arrow.Int32()) },
  'int32 → bigint': { pg: 'bigint', values: int(-2147483648, 2147483647), column: small(new arrow.Int32()) },
  'int32 → double': { pg: 'double precision', values: int(-2147483648, 2147483647), column: small(new arrow.Int32()) },
  'int64 → bigint': { pg: 'bigint', values: int(-(2n ** 63n), 2n ** 63n - 1n), column: wide(new arrow.Int64()) },
  'int64 → integer': { pg: 'integer', values: int(-2147483648, 2147483647), column: wide(new arrow.Int64()) },
  'int64 → smallint': { pg: 'smallint', values: int(-32768, 32767), column: wide(new arrow.Int64()) },
  'int64 → numeric': {
    pg: 'numeric(30,4)',
    values: int(-(2n ** 63n), 2n ** 63n - 1n),
    column: wide(new arrow.Int64()),
  },
  'uint8 → smallint': { pg: 'smallint', values: int(0, 255), column: small(new arrow.Uint8()) },
  'uint16 → integer': { pg: 'integer', values: int(0, 65535), column: small(new arrow.Uint16()) },
  'uint32 → bigint': { pg: 'bigint', values: int(0, 4294967295), column: small(new arrow.Uint32()) },
  'uint32 → integer': { pg: 'integer', values: int(0, 2147483647), column: small(new arrow.Uint32()) },
  'uint32 → numeric': { pg: 'numeric', values: int(0, 4294967295), column: small(new arrow.Uint32()) },
  'uint64 → numeric': { pg: 'numeric(20,0)', values: int(0, 2n ** 64n - 1n), column: wide(new arrow.Uint64()) },
  'uint64 → bigint': { pg: 'bigint', values: int(0, 2n ** 63n - 1n), column: wide(new arrow.Uint64()) },
  'float32 → real': { pg: 'real', values: fc.float(), column: built(new arrow.Float32()) },
  'float32 → double': { pg: 'double precision', values: fc.float(), column: built(new arrow.Float32()) },
  'float64 → double': { pg: 'double precision', values: fc.double(), column: built(new arrow.Float64()) },
  'float16 → real': { pg: 'real', values: halves, column: built(new arrow.Float16()) },
  'float16 → double': { pg: 'double precision', values: halves, column: built(new arrow.Float16()) },
  'decimal32(9,2) → numeric(9,2)': decimal(9, 2, 'numeric(9,2)', 9, 32),
  'decimal64(18,4) → numeric(18,4)': decimal(18, 4, 'numeric(18,4)', 18, 64),
  'decimal256(70,5) → numeric(70,5)': decimal(70, 5, 'numeric(70,5)', 70, 256),
  'decimal(15,2) → numeric(15,2)': decimal(15, 2, 'numeric(15,2)'),
  'decimal(9,4) → numeric(12,6)': decimal(9, 4, 'numeric(12,6)'),
  'decimal(5,0) → numeric': decimal(5, 0, 'numeric'),
  'decimal(38,2) → numeric(20,2)': decimal(38, 2, 'numeric(20,2)', 18),
  'decimal(38,10) → numeric(38,10)': decimal(38, 10, 'numeric(38,10)'),
  'decimal(38,37) → numeric': decimal(38, 37, 'numeric'),
  'utf8 → text': { pg: 'text', values: text, column: built(new arrow.Utf8()) },
  'utf8 → varchar': { pg: 'varchar(4000)', values: text, column: built(new arrow.Utf8()) },
  'large utf8 → text': { pg: 'text', values: text, column: built(new arrow.LargeUtf8()) },
  'utf8 → json': {
    pg: 'json',
    values: fc.nat().map((n) => `{"n": ${n}}`),
    column: built(new arrow.Utf8()),
    sql: 'v::json',
  },
  'utf8 → jsonb': {
    pg: 'jsonb',
    values: fc.nat().map((n) => `{"n": ${n}, "a": [1]}`),
    column: built(new arrow.Utf8()),
  },
  'utf8 → enum': { pg: 'mood', values: fc.constantFrom('sad', 'ok', 'happy'), column: built(new arrow.Utf8()) },
  'dictionary → text': {
    pg: 'text',
    values: fc.constantFrom('a', 'bb', 'ünï', ''),
    column: built(new arrow.Dictionary(new arrow.Utf8(), new arrow.Int16())),
  },
  'binary → bytea': {
    pg: 'bytea',
    values: bytes,
    column: built(new arrow.Binary()),
    text: (value: Uint8Array) => `\\x${hex(value)}`,
  },
  'large binary → bytea': {
    pg: 'bytea',
    values: bytes,
    column: built(new arrow.LargeBinary()),
    text: (value: Uint8Array) => `\\x${hex(value)}`,
  },
  'fixed(16) → uuid': {
    pg: 'uuid',
    values: uuid,
    column: (values) => rawColumn(new arrow.FixedSizeBinary(16), values, (value: Uint8Array) => value, Uint8Array, 16),
    text: hex,
  },
  'fixed(5) → bytea': {
    pg: 'bytea',
    values: fc.uint8Array({ minLength: 5, maxLength: 5 }),
    column: (values) => rawColumn(new arrow.FixedSizeBinary(5), values, (value: Uint8Array) => value, Uint8Array, 5),
    text: (value: Uint8Array) => `\\x${hex(value)}`,
  },
  'utf8 → uuid': { pg: 'uuid', values: fc.uuid(), column: built(new arrow.Utf8()), logical: 'uuid' },
  'date32 → date': {
    pg: 'date',
    values: int(-2440588, 100_000_000),
    column: (values) => rawColumn(new arrow.DateDay(), values, (value: bigint) => words(value, 1), Uint32Array, 1),
    sql: `date '1970-01-01' + v::int`,
  },
  'timestamp[s] → timestamp': timestamps(new arrow.TimestampSecond(), 'timestamp', 1_000_000n),
  'timestamp[ms] → timestamp': timestamps(new arrow.TimestampMillisecond(), 'timestamp', 1000n),
  'timestamp[us] → timestamp': timestamps(new arrow.TimestampMicrosecond(), 'timestamp', 1n),
  'timestamp[us, UTC] → timestamptz': timestamps(new arrow.TimestampMicrosecond('UTC'), 'timestamptz', 1n),
  'timestamp[ns] → timestamp': {
    pg: 'timestamp',
    values: int(-(2n ** 63n), 2n ** 63n - 1n),
    column: wide(new arrow.TimestampNanosecond()),
    sql: since1970('timestamp', `floor(v::numeric / 1000)::bigint`),
  },
  'time64[us] → time': {
    pg: 'time',
    values: int(0, 86_399_999_999),
    column: wide(new arrow.TimeMicrosecond()),
    sql: `time '00:00' + v::bigint * interval '1 microsecond'`,
  },
  'time64[ns] → time': {
    pg: 'time',
    values: int(0, 86_399_999_999_999),
    column: wide(new arrow.TimeNanosecond()),
    sql: `time '00:00' + (v::bigint / 1000) * interval '1 microsecond'`,
  },
  'time32[ms] → time': {
    pg: 'time',
    values: int(0, 86_399_999),
    column: (values) =>
      rawColumn(new arrow.TimeMillisecond(), values, (value: bigint) => words(value, 1), Uint32Array, 1),
    sql: `time '00:00' + v::bigint * 1000 * interval '1 microsecond'`,
  },
  'utf8 view → text': { pg: 'text', values: text, column: built(new arrow.Utf8View()) },
  'binary view → bytea': {
    pg: 'bytea',
    values: bytes,
    column: built(new arrow.BinaryView()),
    text: (value: Uint8Array) => `\\x${hex(value)}`,
  },
  'duration[s] → interval': durations(new arrow.DurationSecond(), 1_000_000n),
  'duration[ms] → interval': durations(new arrow.DurationMillisecond(), 1000n),
  'duration[us] → interval': durations(new arrow.DurationMicrosecond(), 1n),
  'duration[ns] → interval': {
    pg: 'interval',
    values: int(-(2n ** 63n), 2n ** 63n - 1n),
    column: wide(new arrow.DurationNanosecond()),
    sql: micros('floor(v::numeric / 1000)::bigint'),
  },
  'interval of months → interval': parts(new arrow.IntervalYearMonth(), 1, [int32s], `make_interval(months => part1::int)`), // prettier-ignore
  'interval of days and ms → interval': parts(
    new arrow.IntervalDayTime(),
    2,
    [int32s, int32s],
    `make_interval(days => part1::int) + ${micros('part2 * 1000')}`,
  ),
  'interval of months, days and ns → interval': parts(
    new arrow.IntervalMonthDayNano(),
    4,
    [int32s, int32s, int(-(2n ** 63n), 2n ** 63n - 1n)],
    `make_interval(months => part1::int, days => part2::int) + ${micros('floor(part3::numeric / 1000)::bigint')}`,
  ),
  'list<int32> → integer[]': {
    pg: 'integer[]',
    values: listOf(fc.integer()),
    column: built(list(new arrow.Int32())),
    text: arrayText,
  },
  'list<bool> → boolean[]': {
    pg: 'boolean[]',
    values: listOf(fc.boolean()),
    column: built(list(new arrow.Bool())),
    text: arrayText,
  },
  'list<utf8> → text[]': { pg: 'text[]', values: listOf(text), column: built(list(new arrow.Utf8())), text: arrayText },
  'list<utf8> → varchar[]': {
    pg: 'varchar(4000)[]',
    values: listOf(text),
    column: built(list(new arrow.Utf8())),
    text: arrayText,
  },
  'large list<int64> → bigint[]': {
    pg: 'bigint[]',
    values: listOf(int(-(2n ** 63n), 2n ** 63n - 1n)),
    column: built(new arrow.LargeList(new arrow.Field('item', new arrow.Int64(), true))),
    text: arrayText,
  },
  'list of 2 float64 → double[]': {
    pg: 'double precision[]',
    values: fc.tuple(fc.double(), fc.option(fc.double())),
    column: built(new arrow.FixedSizeList(2, new arrow.Field('item', new arrow.Float64(), true))),
    text: (value: number[]) => arrayText(value.map((one) => (Object.is(one, -0) ? '-0' : one))),
  },
  'list<list<int32>> → jsonb': {
    pg: 'jsonb',
    values: listOf(listOf(fc.integer())),
    column: built(list(list(new arrow.Int32()))),
    text: asJson,
  },
  'struct → jsonb': { pg: 'jsonb', values: people, column: built(person), text: asJson },
  'struct → json': { pg: 'json', values: people, column: built(person), text: asJson },
  'list<struct> → jsonb': { pg: 'jsonb', values: listOf(people), column: built(list(person)), text: asJson },
  'map → jsonb': {
    pg: 'jsonb',
    values: fc.dictionary(text, fc.option(fc.integer()), { maxKeys: 4 }),
    column: (values) => builtColumn(new arrow.Map_(new arrow.Field('entries', entry, false) as never), values),
    text: asJson,
  },
  'null → text': {
    pg: 'text',
    values: fc.constant(null),
    column: (values) => arrow.makeData({ type: new arrow.Null(), length: values.length }) as Data,
  },
};

const ON = [
  ['the PostgreSQL of this host', undefined],
  ['PostgreSQL 18', 'npm'],
] as const;

describe.each(ON)('%s', (_title, from) => {
  const postgres = filePostgres({}, from === 'npm' ? programsOfPostgresFromNpm : undefined);
  beforeAll(async () => {
    await postgres.client.query(`set timezone = 'UTC'`);
    await postgres.client.query(`create type mood as enum ('sad', 'ok', 'happy')`);
  });

  /** Encodes batches into a table and answers the rows that the server counted. */
  async function copyInto(
    table: string,
    batches: arrow.RecordBatch[],
    logical: Record<string, string>,
  ): Promise<number> {
    const session = await Session.open({ connect: postgres.server.connect }, 'test');
    try {
      const target = await inspectTarget(session, { schema: 'public', table }, [], []);
      const source = arrowSourceOf(batches[0]!.schema, batches);
      const encoder = new CopyEncoder(sourceColumns(source.schema.fields, logical), target!.columns);
      const copy = await session.copy(`copy public.${table} from stdin (format binary)`);
      const { counted } = await pump(source.batches(), encoder, copy, {
        signal: new AbortController().signal,
        onProgress: () => undefined,
      });
      return counted;
    } finally {
      await session.close();
    }
  }

  const names = Object.keys(KINDS);
  function literal(kind: Kind, value: unknown): string | null {
    if (value === null) return null;
    if (kind.text) return kind.text(value as never);
    return Object.is(value, -0) ? '-0' : `${value as string}`;
  }

  test("what is encoded reads back, byte for byte in the server's own binary COPY, as the same values written in SQL", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.shuffledSubarray(names, { minLength: 1, maxLength: 12 }),
        fc.nat(40),
        fc.integer({ min: 0, max: 60 }),
        fc.constantFrom(0, 0.2, 1),
        fc.infiniteStream(fc.nat(999)),
        fc.gen(),
        async (chosen, offset, count, nulls, dice, gen) => {
          const rows = offset + count;
          const lists = chosen.map((name) =>
            Array.from({ length: rows }, () =>
              dice.next().value / 1000 < nulls ? null : gen(() => KINDS[name]!.values),
            ),
          );
          const whole = batchOf(
            Object.fromEntries(chosen.map((name, index) => [`c${index}`, KINDS[name]!.column(lists[index]!)])),
          );
          const logical = Object.fromEntries(
            chosen.flatMap((name, index) => (KINDS[name]!.logical ? [[`c${index}`, KINDS[name]!.logical]] : [])),
          );
          await postgres.client.query(`drop table if exists got, want`);
          const columns = chosen.map((name, index) => `c${index} ${KINDS[name]!.pg}`).join(', ');
          await postgres.client.query(`create table got (${columns}); create table want (${columns})`);
          // Two batches, both of them slices.
          const middle = offset + Math.floor(count / 2);
          const batches = [whole.slice(offset, middle), whole.slice(middle, rows)];
          expect(await copyInto('got', batches, logical)).toBe(count);
          const source = chosen.map((_, index) => `$${index + 1}::text[]`).join(', ');
          const select = chosen.map((name, index) =>
            (KINDS[name]!.sql ?? `v::${KINDS[name]!.pg}`).replaceAll(/\bv\b/g, `u.v${index}`),
          );
          await postgres.client.query(
            `insert into want select ${select.join(', ')} from unnest(${source}) with ordinality as u(${chosen.map((_, index) => `v${index}`).join(', ')}, n) order by n`,
            chosen.map((name, index) => lists[index]!.slice(offset).map((value) => literal(KINDS[name]!, value))),
          );
          for (const table of ['got', 'want'])
            await postgres.client.query(`copy ${table} to program 'cat > ${table}.bin' (format binary)`);
          const same = await postgres.client.query<{ same: boolean }>(
            `select pg_read_binary_file('got.bin') = pg_read_binary_file('want.bin') as same`,
          );
          if (!same.rows[0]!.same) {
            const got = await postgres.client.query(`select * from got`);
            const want = await postgres.client.query(`select * from want`);
            expect({ chosen, rows: got.rows }).toEqual({ chosen, rows: want.rows });
          }
          expect(same.rows[0]!.same).toBe(true);
        },
      ),
      { numRuns: 120, interruptAfterTimeLimit: 60_000 },
    );
  }, 120_000);
});

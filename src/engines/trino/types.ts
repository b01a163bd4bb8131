import { quoteIdentifier } from './parameters.ts';
import type { TrinoType } from './type-parser.ts';

/** How a type travels in Parquet files that Trino writes. */
export interface Carrier {
  /** Trino type of the column in the file. */
  type: string;
  /** Arrow type that readers of the file meet, as `DataType#toString` prints it. */
  arrow: string;
  /** SQL that turns a value into its carried form; the expression itself where nothing changes. */
  sql(expression: string): string;
  /** Whether the carried form is another type than the producer's: readers restore it from `logicalType`. */
  changed: boolean;
}

/** Digits behind the second of every timestamp in one file; the lake writes one precision at a time. */
export type TimestampPrecision = 6 | 9;

const same = (type: string, arrow: string): Carrier => ({
  type,
  arrow,
  sql: (expression) => expression,
  changed: false,
});
const cast = (type: string, arrow: string, changed = true): Carrier => ({
  type,
  arrow,
  sql: (expression) => `CAST(${expression} AS ${type})`,
  changed,
});

const AS_TEXT = cast('varchar', 'Utf8');
const AS_BYTES = cast('varbinary', 'Binary');

type Rule = (type: TrinoType, precision: TimestampPrecision) => Carrier | undefined;

/**
 * What the Hive connector and Parquet can hold, and the cast for what they cannot. Read from a server that said
 * NOT_SUPPORTED to each cast one. A type that is not here is carried by nobody.
 */
const RULES: Readonly<Record<string, Rule>> = {
  boolean: () => same('boolean', 'Bool'),
  tinyint: () => same('tinyint', 'Int8'),
  smallint: () => same('smallint', 'Int16'),
  integer: () => same('integer', 'Int32'),
  bigint: () => same('bigint', 'Int64'),
  real: () => same('real', 'Float32'),
  double: () => same('double', 'Float64'),
  decimal: ({ numbers: [precision = 38, scale = 0] }) => {
    return same(`decimal(${precision},${scale})`, `Decimal[${precision}e${scale < 0 ? '' : '+'}${scale}]`);
  },
  varchar: () => same('varchar', 'Utf8'),
  varbinary: () => same('varbinary', 'Binary'),
  date: () => same('date', 'Date32<DAY>'),
  // Read back without its padding, so it is padded here and stays so.
  char: () => AS_TEXT,
  timestamp: (type, precision) => {
    // Picoseconds do not fit INT96; text keeps every digit.
    if (fraction(type) > 9) return AS_TEXT;
    // The lake takes exactly the precision it is set to. Widening loses nothing, so the type counts as kept.
    return cast(`timestamp(${precision})`, 'Timestamp<NANOSECOND>', false);
  },
  // The instant is kept, in UTC; the zone each value was written in is not.
  'timestamp with time zone': (type, precision) => {
    if (fraction(type) > 9) return AS_TEXT;
    return {
      ...cast(`timestamp(${precision})`, 'Timestamp<NANOSECOND>'),
      sql: (expression) => `CAST(${expression} AT TIME ZONE 'UTC' AS timestamp(${precision}))`,
    };
  },
  time: () => AS_TEXT,
  'time with time zone': () => AS_TEXT,
  uuid: () => AS_TEXT,
  ipaddress: () => AS_TEXT,
  'interval day to second': () => AS_TEXT,
  'interval year to month': () => AS_TEXT,
  unknown: () => AS_TEXT,
  // A cast would fail on objects and arrays.
  json: () => ({ ...AS_TEXT, sql: (expression) => `json_format(${expression})` }),
  geometry: () => ({ ...AS_TEXT, sql: (expression) => `ST_AsText(${expression})` }),
  hyperloglog: () => AS_BYTES,
  p4hyperloglog: () => AS_BYTES,
  setdigest: () => AS_BYTES,
  tdigest: () => AS_BYTES,
  qdigest: () => AS_BYTES,
  array: carryArray,
  map: carryMap,
  row: carryRow,
};

/** Says how a type travels; undefined when no file can carry it. */
export function carrierOf(type: TrinoType, precision: TimestampPrecision): Carrier | undefined {
  return RULES[type.base]?.(type, precision);
}

/** The precision that all timestamps of these columns need in the file. */
export function timestampPrecision(types: readonly TrinoType[]): TimestampPrecision {
  const needsNanos = (type: TrinoType): boolean =>
    (type.base.startsWith('timestamp') && fraction(type) > 6 && fraction(type) <= 9) ||
    type.inner.some((inner) => needsNanos(inner.type));
  return types.some(needsNanos) ? 9 : 6;
}

const fraction = (type: TrinoType): number => type.numbers[0] ?? 3;

// Lambda variables are named by how deep they stand, so that an inner one never hides an outer one.
const depth = (type: TrinoType): number => 1 + Math.max(0, ...type.inner.map((inner) => depth(inner.type)));

function carryArray(type: TrinoType, precision: TimestampPrecision): Carrier | undefined {
  const element = type.inner[0] && carrierOf(type.inner[0].type, precision);
  if (!element) return undefined;
  const item = `e${depth(type)}`;
  return {
    type: `array(${element.type})`,
    arrow: `List<${element.arrow}>`,
    sql: (expression) => (isSame(element) ? expression : `transform(${expression}, ${item} -> ${element.sql(item)})`),
    changed: element.changed,
  };
}

function carryMap(type: TrinoType, precision: TimestampPrecision): Carrier | undefined {
  const key = type.inner[0] && carrierOf(type.inner[0].type, precision);
  const value = type.inner[1] && carrierOf(type.inner[1].type, precision);
  if (!key || !value) return undefined;
  const [k, v] = [`k${depth(type)}`, `v${depth(type)}`];
  return {
    type: `map(${key.type}, ${value.type})`,
    arrow: `Map<{key:${key.arrow}, value:${value.arrow}}>`,
    sql: (expression) => {
      const keyed = isSame(key) ? expression : `transform_keys(${expression}, (${k}, ${v}) -> ${key.sql(k)})`;
      return isSame(value) ? keyed : `transform_values(${keyed}, (${k}, ${v}) -> ${value.sql(v)})`;
    },
    changed: key.changed || value.changed,
  };
}

function carryRow(type: TrinoType, precision: TimestampPrecision): Carrier | undefined {
  const carriers = type.inner.map((field) => carrierOf(field.type, precision));
  if (!carriers.every((carrier) => carrier !== undefined)) return undefined;
  const names = fieldNames(type.inner.map((field) => field.name));
  const kept = type.inner.every((field, index) => field.name === names[index]) && carriers.every(isSame);
  const fields = carriers.map((carrier, index) => `${quoteIdentifier(names[index]!)} ${carrier.type}`).join(', ');
  const values = (expression: string): string =>
    carriers.map((carrier, index) => carrier.sql(`${expression}[${index + 1}]`)).join(', ');
  return {
    type: `row(${fields})`,
    arrow: `Struct<{${carriers.map((carrier, index) => `${names[index]}:${carrier.arrow}`).join(', ')}}>`,
    sql: (expression) => {
      if (kept) return expression;
      return `IF(${expression} IS NULL, NULL, CAST(ROW(${values(expression)}) AS row(${fields})))`;
    },
    changed: carriers.some((carrier) => carrier.changed),
  };
}

const isSame = (carrier: Carrier): boolean => carrier.sql('x') === 'x';

/**
 * Names for the fields of a row: Hive wants one each, and a task that meets a space or a comma in one dies with
 * REMOTE_TASK_ERROR, so they are made of letters, digits and `_`.
 */
function fieldNames(names: readonly (string | undefined)[]): string[] {
  const plain = names.map((name, index) => name?.toLowerCase().replace(/[^a-z0-9_]/g, '_') ?? `field${index}`);
  return distinct(plain);
}

/** The same names, later ones that repeat an earlier one numbered: `a`, `a_2`. A column really called `a_2` behind them becomes `a_2_2`. */
export function distinct(names: readonly string[]): string[] {
  const taken = new Set<string>();
  return names.map((name) => {
    let free = name;
    for (let count = 2; taken.has(free); count += 1) free = `${name}_${count}`;
    taken.add(free);
    return free;
  });
}

// Longer than most files: one writer for each Arrow type reads better in one place.
import type { Data, Dictionary, FixedSizeList, Struct, Union } from 'apache-arrow';
import { DataType, DateUnit, IntervalUnit, Precision, TimeUnit, UnionMode } from 'apache-arrow';
import { halfValue } from './half-float.ts';
import { isValid } from './kernel.ts';
import { viewedBytes } from './views.ts';

/** Writes the value of one row as JSON. */
export type JsonWriter = (data: Data, row: number) => string;

const DAY_MS = 86_400_000;
/** Digits behind the second. */
const DIGITS = { [TimeUnit.SECOND]: 0, [TimeUnit.MILLISECOND]: 3, [TimeUnit.MICROSECOND]: 6, [TimeUnit.NANOSECOND]: 9 };

const quoted = (text: string): string => `"${text}"`;
const two = (value: number): string => String(value).padStart(2, '0');
const valueAt = (data: Data, row: number): number | bigint => (data.values as ArrayLike<number | bigint>)[row]!;

/** A writer that gives `null` for null. */
const nullable =
  (write: JsonWriter): JsonWriter =>
  (data, row) =>
    isValid(data, row) ? write(data, row) : 'null';

/**
 * A writer for nested values, as `to_jsonb` writes them: numbers with all their digits, NaN and infinities as strings, times in ISO 8601, bytes as `\x…`;
 * besides durations and intervals, which are ISO 8601 as well, and nanoseconds, which stay. Undefined for a type that nobody can write.
 */
export function jsonWriter(type: DataType): JsonWriter | undefined {
  const write = writerOf(type);
  // Which values of a union are null is known by its children.
  return write && (DataType.isUnion(type) || DataType.isNull(type) ? write : nullable(write));
}

function writerOf(type: DataType): JsonWriter | undefined {
  if (DataType.isNull(type)) return () => 'null';
  if (DataType.isBool(type)) return (data, row) => String(bitAt(data, row));
  if (DataType.isInt(type)) return (data, row) => String(valueAt(data, row));
  if (DataType.isFloat(type)) return floatWriter(type.precision);
  if (DataType.isDecimal(type)) return (data, row) => decimalText(data, row, type.scale, type.bitWidth / 32);
  if (DataType.isDate(type)) return dateWriter(type.unit);
  if (DataType.isTime(type)) return (data, row) => quoted(timeText(BigInt(valueAt(data, row)), DIGITS[type.unit]));
  if (DataType.isTimestamp(type)) {
    const zone = type.timezone ? '+00:00' : '';
    return (data, row) => quoted(timestampText(BigInt(valueAt(data, row)), DIGITS[type.unit], zone));
  }
  if (DataType.isDuration(type)) return (data, row) => quoted(durationText(BigInt(valueAt(data, row)), DIGITS[type.unit])); // prettier-ignore
  if (DataType.isInterval(type)) return intervalWriter(type.unit);
  if (DataType.isDictionary(type)) return dictionaryWriter(type);
  if (DataType.isStruct(type)) return structWriter(type);
  if (DataType.isMap(type)) return mapWriter(type.children[0]!.type as Struct);
  if (DataType.isUnion(type)) return unionWriter(type);
  if (DataType.isList(type) || DataType.isLargeList(type) || DataType.isFixedSizeList(type)) return listWriter(type.children[0]!.type as DataType); // prettier-ignore
  return bytesWriter(type);
}

const bitAt = (data: Data, row: number): boolean => {
  const bit = data.offset + row;
  return (((data.values as Uint8Array)[bit >> 3]! >> (bit & 7)) & 1) === 1;
};

function floatWriter(precision: Precision): JsonWriter {
  const shown = (value: number): string => (Number.isFinite(value) ? String(value) : quoted(String(value)));
  if (precision === Precision.DOUBLE) return (data, row) => shown(valueAt(data, row) as number);
  if (precision === Precision.SINGLE) return (data, row) => shown(shortest(valueAt(data, row) as number));
  return (data, row) => shown(halfValue(valueAt(data, row) as number));
}

/** The number with the fewest digits that is the same float32: 0.1, not 0.10000000149011612. */
function shortest(value: number): number {
  for (let digits = 6; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return value;
}

function decimalText(data: Data, row: number, scale: number, words: number): string {
  const values = data.values as Uint32Array;
  let value = 0n;
  for (let word = words - 1; word >= 0; word--) value = (value << 32n) | BigInt(values[row * words + word]!);
  value = BigInt.asIntN(32 * words, value);
  if (scale <= 0) return String(value * 10n ** BigInt(-scale));
  const digits = String(value < 0n ? -value : value).padStart(scale + 1, '0');
  return `${value < 0n ? '-' : ''}${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
}

/** Floor of a division, whose rest is never negative. */
function divided(value: bigint, by: bigint): [bigint, bigint] {
  const rest = ((value % by) + by) % by;
  return [(value - rest) / by, rest];
}

/** Digits behind the point, without those that are 0 at the end; nothing where all are. */
function fractionText(fraction: bigint, digits: number): string {
  const text = digits === 0 ? '' : String(fraction).padStart(digits, '0').replace(/0+$/, '');
  return text === '' ? '' : `.${text}`;
}

/** Date of a day since 1970, and what PostgreSQL writes behind those before year 1. */
function dateText(day: number): { date: string; era: string } {
  const at = new Date(day * DAY_MS);
  if (Number.isNaN(at.getTime())) throw new RangeError(`day ${day} since 1970 is outside of what a date can be`);
  const year = at.getUTCFullYear();
  const date = `${String(year > 0 ? year : 1 - year).padStart(4, '0')}-${two(at.getUTCMonth() + 1)}-${two(at.getUTCDate())}`;
  return { date, era: year > 0 ? '' : ' BC' };
}

function dateWriter(unit: DateUnit): JsonWriter {
  return (data, row) => {
    const value = Number(valueAt(data, row));
    const { date, era } = dateText(unit === DateUnit.DAY ? value : Math.floor(value / DAY_MS));
    return quoted(date + era);
  };
}

function timeText(value: bigint, digits: number): string {
  const [seconds, fraction] = divided(value, 10n ** BigInt(digits));
  const whole = Number(seconds);
  return `${two(Math.floor(whole / 3600))}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}${fractionText(fraction, digits)}`;
}

function timestampText(value: bigint, digits: number, zone: string): string {
  const [day, ofDay] = divided(value, 86_400n * 10n ** BigInt(digits));
  const { date, era } = dateText(Number(day));
  return `${date}T${timeText(ofDay, digits)}${zone}${era}`;
}

function durationText(value: bigint, digits: number): string {
  const magnitude = value < 0n ? -value : value;
  const [seconds, fraction] = divided(magnitude, 10n ** BigInt(digits));
  return `PT${value < 0n ? '-' : ''}${seconds}${fractionText(fraction, digits)}S`;
}

function intervalWriter(unit: IntervalUnit): JsonWriter {
  return (data, row) => {
    const words = data.values as Int32Array;
    if (unit === IntervalUnit.YEAR_MONTH) return quoted(`P${words[row]!}M`);
    if (unit === IntervalUnit.DAY_TIME) return quoted(`P${words[2 * row]!}D${timeOf(BigInt(words[2 * row + 1]!), 3)}`);
    const [months, days, low, high] = words.subarray(4 * row, 4 * row + 4) as unknown as [number, number, number, number]; // prettier-ignore
    return quoted(`P${months}M${days}D${timeOf((BigInt(high) << 32n) | BigInt(low >>> 0), 9)}`);
  };
}

/** The part behind the days; nothing where it is 0. */
const timeOf = (value: bigint, digits: number): string => (value === 0n ? '' : durationText(value, digits).slice(1));

function dictionaryWriter(type: Dictionary): JsonWriter | undefined {
  const write = jsonWriter(type.dictionary as DataType);
  return (
    write &&
    ((data, row) => {
      const index = Number(valueAt(data, row));
      let [part, at] = [0, index];
      const parts = data.dictionary!.data as readonly Data[];
      while (at >= parts[part]!.length) at -= parts[part++]!.length;
      return write(parts[part]!, at);
    })
  );
}

function structWriter(type: Struct): JsonWriter | undefined {
  const fields = type.children.map(({ name, type: of }) => ({ name: JSON.stringify(name), write: jsonWriter(of as DataType) })); // prettier-ignore
  if (fields.some(({ write }) => write === undefined)) return undefined;
  return (data, row) =>
    `{${fields.map(({ name, write }, index) => `${name}:${write!(data.children[index]!, row)}`).join(',')}}`;
}

function mapWriter(entry: Struct): JsonWriter | undefined {
  const [key, value] = entry.children.map(({ type }) => jsonWriter(type as DataType));
  if (!key || !value) return undefined;
  // Names of a JSON object are strings, whatever the keys are.
  const name = (text: string): string => (text.startsWith('"') ? text : JSON.stringify(text));
  return (data, row) => {
    const offsets = data.valueOffsets as Int32Array;
    const [keys, values] = data.children[0]!.children as [Data, Data];
    const entries: string[] = [];
    for (let at = offsets[row]!; at < offsets[row + 1]!; at++) entries.push(`${name(key(keys, at))}:${value(values, at)}`); // prettier-ignore
    return `{${entries.join(',')}}`;
  };
}

function listWriter(element: DataType): JsonWriter | undefined {
  const write = jsonWriter(element);
  if (!write) return undefined;
  return (data, row) => {
    const offsets = data.valueOffsets as ArrayLike<number | bigint> | undefined;
    const size = (data.type as FixedSizeList).listSize;
    const [from, to] = offsets ? [Number(offsets[row]!), Number(offsets[row + 1]!)] : [row * size, (row + 1) * size];
    const items: string[] = [];
    for (let at = from; at < to; at++) items.push(write(data.children[0]!, at));
    return `[${items.join(',')}]`;
  };
}

function unionWriter(type: Union): JsonWriter | undefined {
  const writers = type.children.map((field) => jsonWriter(field.type as DataType));
  if (writers.some((write) => write === undefined)) return undefined;
  return (data, row) => {
    const child = type.typeIdToChildIndex[(data.typeIds as Int8Array)[row]!]!;
    const at = type.mode === UnionMode.Dense ? Number((data.valueOffsets as Int32Array)[row]!) : row;
    return writers[child]!(data.children[child]!, at);
  };
}

function bytesWriter(type: DataType): JsonWriter | undefined {
  const find = DataType.isFixedSizeBinary(type)
    ? (data: Data, row: number) =>
        (data.values as Uint8Array).subarray(row * type.byteWidth, (row + 1) * type.byteWidth)
    : DataType.isUtf8View(type) || DataType.isBinaryView(type)
      ? viewedBytes
      : DataType.isUtf8(type) || DataType.isLargeUtf8(type) || DataType.isBinary(type) || DataType.isLargeBinary(type)
        ? offsetBytes
        : undefined;
  if (!find) return undefined;
  const isText = DataType.isUtf8(type) || DataType.isLargeUtf8(type) || DataType.isUtf8View(type);
  const text = (bytes: Uint8Array, as: 'utf8' | 'hex'): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString(as); // prettier-ignore
  return isText
    ? (data, row) => JSON.stringify(text(find(data, row), 'utf8'))
    : (data, row) => JSON.stringify(`\\x${text(find(data, row), 'hex')}`);
}

function offsetBytes(data: Data, row: number): Uint8Array {
  const offsets = data.valueOffsets as ArrayLike<number | bigint>;
  return (data.values as Uint8Array).subarray(Number(offsets[row]!), Number(offsets[row + 1]!));
}

// Longer than most files: one table of type pairs reads better in one place.
import type { Decimal, Float, Int, Time, Timestamp } from 'apache-arrow';
import { DataType, DateUnit, Precision, TimeUnit } from 'apache-arrow';
import type { SourceColumn } from '../arrow-types.ts';
import { arrowTypeName, elementType, isBytes, isList, isText, isView, isZoned } from '../arrow-types.ts';
import type { TargetColumn } from '../types.ts';
import { ELEMENT_OF, numericShape, Oid } from '../types.ts';
import { Arrays } from './arrays.ts';
import { Days, Micros, MillisToDays, Nanos, ScaledTime, ScaledTimestamp } from './datetime.ts';
import { FixedBytes, UuidText } from './fixed-bytes.ts';
import { HalfFloats } from './half-float.ts';
import {
  Bools,
  NumbersToFloat8,
  UnsignedNarrow,
  Words1,
  Words1ToInt2,
  Words1ToInt8,
  Words2,
  Words2Narrow,
} from './integer.ts';
import { Durations, Intervals } from './interval.ts';
import { jsonWriter } from './json-text.ts';
import type { Kernel } from './kernel.ts';
import { MAX_FIXED_WIDTH } from './kernel.ts';
import { NestedJson } from './nested.ts';
import { Nulls } from './nulls.ts';
import { Numeric } from './numeric.ts';
import { DictionaryBytes, VariableBytes } from './variable.ts';
import { ViewBytes } from './views.ts';

/** How values are converted where there is a choice. */
export interface EncodeOptions {
  /** Timestamps and intervals finer than a microsecond: rounded down, or an error naming the row. @defaultValue 'floor' */
  nanoseconds?: 'floor' | 'refuse';
}

/** A kernel, or why there is none and what mends it. */
export type KernelChoice = { kernel: Kernel } | { problem: string };

const TEXT_LIKE: ReadonlySet<number> = new Set<number>([Oid.TEXT, Oid.VARCHAR, Oid.BPCHAR, Oid.JSON]);

function integerKernel(type: Int, target: TargetColumn): Kernel | undefined {
  const unsigned = !type.isSigned;
  const wide = type.bitWidth === 64;
  // Widened to 32 bits, 8 and 16 bit values keep their sign or their lack of one.
  const unsigned32 = unsigned && type.bitWidth === 32;
  switch (target.typeOid) {
    case Oid.INT2:
      if (wide) return unsigned ? new UnsignedNarrow(2) : new Words2Narrow(2);
      return new Words1ToInt2(unsigned32);
    case Oid.INT4:
      if (wide) return unsigned ? new UnsignedNarrow(4) : new Words2Narrow(4);
      return new Words1(unsigned32);
    case Oid.INT8:
      return wide ? new Words2(unsigned) : new Words1ToInt8(unsigned32);
    case Oid.FLOAT8:
      return wide ? undefined : new NumbersToFloat8();
    case Oid.NUMERIC: {
      return new Numeric(
        { words: wide ? 2 : 1, unsigned: wide ? unsigned : unsigned32 },
        0,
        numericShape(target.typmod),
      );
    }
    default:
      return undefined;
  }
}

function floatKernel(type: Float, target: TargetColumn): Kernel | undefined {
  if (type.precision === Precision.DOUBLE) return target.typeOid === Oid.FLOAT8 ? new Words2() : undefined;
  if (type.precision === Precision.HALF) {
    if (target.typeOid === Oid.FLOAT4) return new HalfFloats(4);
    return target.typeOid === Oid.FLOAT8 ? new HalfFloats(8) : undefined;
  }
  if (target.typeOid === Oid.FLOAT4) return new Words1();
  return target.typeOid === Oid.FLOAT8 ? new NumbersToFloat8() : undefined;
}

function timestampKernel(type: Timestamp, options: EncodeOptions): Kernel {
  if (type.unit === TimeUnit.MICROSECOND) return new Micros();
  if (type.unit === TimeUnit.NANOSECOND) return new Nanos(options.nanoseconds === 'refuse');
  return new ScaledTimestamp(type.unit === TimeUnit.MILLISECOND ? 1000 : 1_000_000);
}

function timeKernel(type: Time): Kernel {
  if (type.unit === TimeUnit.MICROSECOND) return new Words2();
  const micros = { [TimeUnit.SECOND]: 1_000_000, [TimeUnit.MILLISECOND]: 1000, [TimeUnit.NANOSECOND]: 0.001 };
  return new ScaledTime(type.bitWidth === 64 ? 64 : 32, micros[type.unit]);
}

function bytesKernel(type: DataType, target: TargetColumn): Kernel | undefined {
  const dictionary = DataType.isDictionary(type);
  const values = dictionary ? (type.dictionary as DataType) : type;
  // Entries of a dictionary are read where they lie.
  if (dictionary && isView(values)) return undefined;
  const Bytes = dictionary ? DictionaryBytes : isView(values) ? ViewBytes : VariableBytes;
  const make = (text: boolean, jsonb = false): Kernel => new Bytes({ text, jsonb });
  if (isText(values)) {
    if (TEXT_LIKE.has(target.typeOid) || target.isEnum) return make(true);
    if (target.typeOid === Oid.JSONB) return make(true, true);
    return target.typeOid === Oid.UUID && DataType.isUtf8(type) ? new UuidText() : undefined;
  }
  return isBytes(values) && target.typeOid === Oid.BYTEA ? make(false) : undefined;
}

function decimalChoice(type: Decimal, target: TargetColumn): Kernel | string | undefined {
  if (target.typeOid !== Oid.NUMERIC) return undefined;
  if (type.scale < 0) return 'its scale is negative';
  const shape = numericShape(target.typmod);
  if (shape && type.scale > shape.scale) {
    return `it has ${type.scale} decimal places and the column keeps ${shape.scale}, so values would be rounded`;
  }
  return new Numeric({ words: (type.bitWidth / 32) as 1 | 2 | 4 | 8, unsigned: false }, type.scale, shape);
}

function arrayChoice(type: DataType, target: TargetColumn, options: EncodeOptions): Kernel | string | undefined {
  const typeOid = ELEMENT_OF.get(target.typeOid);
  if (typeOid === undefined) return 'its elements are of a type that arrays are not written of';
  const element = { ...target, typeOid, typeName: target.typeName.replace(/\[\]$/, ''), notNull: false };
  const picked = pick({ name: target.name, nullable: true, type: elementType(type) }, element, options);
  return typeof picked === 'object' ? new Arrays(picked, typeOid) : picked;
}

function nestedChoice(type: DataType, target: TargetColumn): Kernel | undefined {
  const text = target.typeOid === Oid.JSON || target.typeOid === Oid.TEXT;
  if (!text && target.typeOid !== Oid.JSONB) return undefined;
  const writer = jsonWriter(type);
  return writer && new NestedJson(writer, !text);
}

function pick(column: SourceColumn, target: TargetColumn, options: EncodeOptions): Kernel | string | undefined {
  const { type } = column;
  const { typeOid } = target;
  if (DataType.isNull(type)) return new Nulls();
  if (DataType.isBool(type)) return typeOid === Oid.BOOL ? new Bools() : undefined;
  if (DataType.isInt(type)) return integerKernel(type, target);
  if (DataType.isFloat(type)) return floatKernel(type, target);
  if (DataType.isDecimal(type)) return decimalChoice(type, target);
  if (DataType.isDate(type)) {
    if (typeOid !== Oid.DATE) return undefined;
    return type.unit === DateUnit.DAY ? new Days() : new MillisToDays();
  }
  if (DataType.isTimestamp(type)) {
    const zoned = isZoned(column);
    if (typeOid === (zoned ? Oid.TIMESTAMPTZ : Oid.TIMESTAMP)) return timestampKernel(type, options);
    return typeOid === Oid.TIMESTAMP || typeOid === Oid.TIMESTAMPTZ
      ? `the values ${zoned ? 'have a time zone and the column has none' : 'have no time zone and the column has one'}`
      : undefined;
  }
  if (DataType.isDuration(type)) return typeOid === Oid.INTERVAL ? new Durations(type.unit, options.nanoseconds === 'refuse') : undefined; // prettier-ignore
  if (DataType.isInterval(type)) return typeOid === Oid.INTERVAL ? new Intervals(type.unit, options.nanoseconds === 'refuse') : undefined; // prettier-ignore
  if (isList(type) && (ELEMENT_OF.has(typeOid) || target.typeName.endsWith('[]')))
    return arrayChoice(type, target, options);
  if (isList(type) || DataType.isStruct(type) || DataType.isMap(type) || DataType.isUnion(type)) return nestedChoice(type, target); // prettier-ignore
  if (DataType.isTime(type)) return typeOid === Oid.TIME ? timeKernel(type) : undefined;
  if (DataType.isFixedSizeBinary(type)) {
    const { byteWidth } = type;
    if (typeOid === Oid.UUID) return byteWidth === 16 ? new FixedBytes(16) : undefined;
    if (typeOid === Oid.BYTEA)
      return byteWidth <= MAX_FIXED_WIDTH ? new FixedBytes(byteWidth) : `it is wider than ${MAX_FIXED_WIDTH} bytes`;
    return undefined;
  }
  return bytesKernel(type, target);
}

/** The kernel that writes an Arrow column for the type of its target column; never one that could lose something unseen. */
export function chooseKernel(column: SourceColumn, target: TargetColumn, options: EncodeOptions = {}): KernelChoice {
  const picked = pick(column, target, options);
  if (picked !== undefined && typeof picked !== 'string') return { kernel: picked };
  const from = arrowTypeName(column.type) + (column.logicalType ? ` (${column.logicalType})` : '');
  const because = picked === undefined ? '' : `: ${picked}`;
  return {
    problem: `column "${target.name}": ${from} cannot be loaded into ${target.typeName}${because}. Cast it in the query that makes the rows, or change the column's type.`,
  };
}

import type { Field, FixedSizeBinary, Int } from 'apache-arrow';
import { DataType, DateUnit, Precision, TimeUnit } from 'apache-arrow';
import { arrayOf, numericTypmod, Oid } from './types.ts';

/** A column of the rows to load. `logicalType` is the producer's own type where the carrier lost it. */
export interface SourceColumn {
  readonly name: string;
  readonly type: DataType;
  readonly nullable: boolean;
  readonly logicalType?: string;
}

const UNITS = {
  [TimeUnit.SECOND]: 's',
  [TimeUnit.MILLISECOND]: 'ms',
  [TimeUnit.MICROSECOND]: 'us',
  [TimeUnit.NANOSECOND]: 'ns',
};

/** Name of an Arrow type as its documentation writes it, for messages. */
export function arrowTypeName(type: DataType): string {
  if (DataType.isInt(type)) return `${type.isSigned ? '' : 'u'}int${type.bitWidth}`;
  if (DataType.isFloat(type)) return `float${[16, 32, 64][type.precision]}`;
  if (DataType.isDecimal(type)) {
    const { bitWidth, precision, scale } = type;
    return `decimal${bitWidth}(${precision}, ${scale})`;
  }
  if (DataType.isTimestamp(type)) {
    const { unit, timezone } = type;
    return `timestamp[${UNITS[unit]}${timezone ? `, ${timezone}` : ''}]`;
  }
  if (DataType.isTime(type)) return `time${type.bitWidth}[${UNITS[type.unit]}]`;
  if (DataType.isDate(type)) return type.unit === DateUnit.DAY ? 'date32' : 'date64';
  if (DataType.isDictionary(type)) return `dictionary<${arrowTypeName(type.dictionary as DataType)}>`;
  if (DataType.isFixedSizeBinary(type)) return `fixed_size_binary(${type.byteWidth})`;
  return (type as { toString(): string }).toString().toLowerCase();
}

/** Whether values are zoned: the carrier says so, or the producer said so before the carrier lost it. */
export function isZoned(column: SourceColumn): boolean {
  return (
    DataType.isTimestamp(column.type) &&
    (Boolean(column.type.timezone) || /^timestamp\b.*with time zone$/i.test(column.logicalType ?? ''))
  );
}

export const isText = (type: DataType): boolean =>
  DataType.isUtf8(type) || DataType.isLargeUtf8(type) || DataType.isUtf8View(type);
export const isBytes = (type: DataType): boolean =>
  DataType.isBinary(type) || DataType.isLargeBinary(type) || DataType.isBinaryView(type);
export const isView = (type: DataType): boolean => DataType.isUtf8View(type) || DataType.isBinaryView(type);
/** Lists of any length, of 64 bit offsets, or of one length. */
export const isList = (type: DataType): boolean =>
  DataType.isList(type) || DataType.isLargeList(type) || DataType.isFixedSizeList(type);
const isNested = (type: DataType): boolean =>
  isList(type) || DataType.isStruct(type) || DataType.isMap(type) || DataType.isUnion(type);
/** Type of a list's elements. */
export const elementType = (type: DataType): DataType => (type.children[0] as Field).type as DataType;

/** Type of a new column: its object id, modifier and SQL name. */
export interface DerivedType {
  typeOid: number;
  typmod: number;
  typeName: string;
}

const plain = (typeOid: number, typeName: string): DerivedType => ({ typeOid, typmod: -1, typeName });

function integerType({ isSigned, bitWidth }: Int): DerivedType {
  // An unsigned type goes to the next wider signed one.
  const bits = isSigned ? bitWidth : bitWidth * 2;
  if (bits <= 16) return plain(Oid.INT2, 'smallint');
  if (bits === 32) return plain(Oid.INT4, 'integer');
  if (bits === 64) return plain(Oid.INT8, 'bigint');
  return { typeOid: Oid.NUMERIC, typmod: numericTypmod(20, 0), typeName: 'numeric(20,0)' };
}

/** PostgreSQL type that holds every value of a column: lists of scalars are arrays, other nested values jsonb. Undefined for a type that no kernel encodes. */
export function deriveType(column: SourceColumn): DerivedType | undefined {
  const { type } = column;
  const logical = column.logicalType?.toLowerCase();
  if (DataType.isDictionary(type)) {
    // A coded string stays a string: the kernel for uuid reads plain ones only.
    return deriveType({ name: column.name, nullable: column.nullable, type: type.dictionary as DataType });
  }
  const uuidCarrier = DataType.isUtf8(type) || (type as FixedSizeBinary).byteWidth === 16;
  if (logical === 'uuid' && uuidCarrier) return plain(Oid.UUID, 'uuid');
  if ((logical === 'json' || logical === 'jsonb') && isText(type)) return plain(Oid.JSONB, 'jsonb');
  if (DataType.isBool(type)) return plain(Oid.BOOL, 'boolean');
  if (DataType.isInt(type)) return integerType(type);
  if (DataType.isFloat(type)) {
    if (type.precision === Precision.DOUBLE) return plain(Oid.FLOAT8, 'double precision');
    return plain(Oid.FLOAT4, 'real');
  }
  if (DataType.isDecimal(type)) {
    const { precision, scale } = type;
    if (scale < 0) return undefined;
    return {
      typeOid: Oid.NUMERIC,
      typmod: numericTypmod(precision, scale),
      typeName: `numeric(${precision},${scale})`,
    };
  }
  if (isText(type) || DataType.isNull(type)) return plain(Oid.TEXT, 'text');
  if (isBytes(type)) return plain(Oid.BYTEA, 'bytea');
  if (DataType.isFixedSizeBinary(type)) return plain(Oid.BYTEA, 'bytea');
  if (DataType.isDate(type)) return plain(Oid.DATE, 'date');
  if (DataType.isTime(type)) return plain(Oid.TIME, 'time without time zone');
  if (DataType.isDuration(type) || DataType.isInterval(type)) return plain(Oid.INTERVAL, 'interval');
  if (isList(type) && !isNested(elementType(type))) return arrayType(elementType(type));
  if (isNested(type)) return plain(Oid.JSONB, 'jsonb');
  if (DataType.isTimestamp(type)) {
    return isZoned(column)
      ? plain(Oid.TIMESTAMPTZ, 'timestamp with time zone')
      : plain(Oid.TIMESTAMP, 'timestamp without time zone');
  }
  return undefined;
}

function arrayType(of: DataType): DerivedType | undefined {
  const element = deriveType({ name: 'element', nullable: true, type: of });
  const typeOid = element && arrayOf(element.typeOid);
  return typeOid === undefined ? undefined : { typeOid, typmod: element!.typmod, typeName: `${element!.typeName}[]` };
}

/** Columns of a schema, with the logical types that its carrier lost. */
export function sourceColumns(
  fields: readonly Field[],
  logicalTypes: Readonly<Record<string, string>> = {},
): SourceColumn[] {
  return fields.map((field) => {
    const logicalType = logicalTypes[field.name];
    return {
      name: field.name,
      type: field.type as DataType,
      nullable: field.nullable,
      ...(logicalType === undefined ? {} : { logicalType }),
    };
  });
}

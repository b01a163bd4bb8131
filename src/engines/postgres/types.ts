/** Object ids of the built-in types that columns are encoded for; they are the same in every PostgreSQL. */
export const Oid = {
  BOOL: 16,
  BYTEA: 17,
  INT8: 20,
  INT2: 21,
  INT4: 23,
  TEXT: 25,
  JSON: 114,
  FLOAT4: 700,
  FLOAT8: 701,
  BPCHAR: 1042,
  VARCHAR: 1043,
  DATE: 1082,
  TIME: 1083,
  TIMESTAMP: 1114,
  TIMESTAMPTZ: 1184,
  INTERVAL: 1186,
  NUMERIC: 1700,
  UUID: 2950,
  JSONB: 3802,
} as const;

/** Object id of an array type → that of its elements. */
export const ELEMENT_OF: ReadonlyMap<number, number> = new Map([
  [199, Oid.JSON],
  [1000, Oid.BOOL],
  [1001, Oid.BYTEA],
  [1005, Oid.INT2],
  [1007, Oid.INT4],
  [1009, Oid.TEXT],
  [1014, Oid.BPCHAR],
  [1015, Oid.VARCHAR],
  [1016, Oid.INT8],
  [1021, Oid.FLOAT4],
  [1022, Oid.FLOAT8],
  [1115, Oid.TIMESTAMP],
  [1182, Oid.DATE],
  [1183, Oid.TIME],
  [1185, Oid.TIMESTAMPTZ],
  [1187, Oid.INTERVAL],
  [1231, Oid.NUMERIC],
  [2951, Oid.UUID],
  [3807, Oid.JSONB],
]);

/** Object id of the array type of elements. */
export const arrayOf = (elementOid: number): number | undefined =>
  [...ELEMENT_OF].find(([, element]) => element === elementOid)?.[0];

/** A column of the target as the server's catalogue has it (`pg_attribute`), domains resolved to what they stand on. */
export interface TargetColumn {
  readonly name: string;
  readonly typeOid: number;
  /** -1 where the type has no modifier. */
  readonly typmod: number;
  /** As `format_type` prints it, for the statement that creates the table and for messages. */
  readonly typeName: string;
  readonly isEnum: boolean;
  readonly notNull: boolean;
}

/** Precision and scale of a numeric column; undefined for numeric without them. */
export function numericShape(typmod: number): { precision: number; scale: number } | undefined {
  if (typmod < 4) return undefined;
  const bits = typmod - 4;
  // The scale is an 11 bit signed number since PostgreSQL 15.
  return { precision: (bits >> 16) & 0xffff, scale: ((bits & 0x7ff) ^ 1024) - 1024 };
}

/** Type modifier of numeric(precision, scale). */
export const numericTypmod = (precision: number, scale: number): number => ((precision << 16) | (scale & 0x7ff)) + 4;

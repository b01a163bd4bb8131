import type { DerivedType } from './arrow-types.ts';
import { numericShape, numericTypmod, Oid, type TargetColumn } from './types.ts';

/** Integer types → most decimal digits of their values. */
const INTEGER_DIGITS: ReadonlyMap<number, number> = new Map([
  [Oid.INT2, 5],
  [Oid.INT4, 10],
  [Oid.INT8, 19],
]);

/**
 * Type that holds what a column has and what its rows bring; undefined where the column's own does, or none is known.
 * Only steps that lose nothing: integers to longer ones or to numeric, real to double precision, varchar(n) and char(n) to text, numeric to more digits on either side.
 */
export function widerType(column: TargetColumn, rows: DerivedType): DerivedType | undefined {
  const { typeOid } = column;
  const digits = INTEGER_DIGITS.get(typeOid);
  if (digits !== undefined) {
    const theirs = INTEGER_DIGITS.get(rows.typeOid);
    if (theirs !== undefined) return theirs > digits ? rows : undefined;
    const shape = rows.typeOid === Oid.NUMERIC ? numericShape(rows.typmod) : undefined;
    return shape && shape.precision - shape.scale >= digits ? rows : undefined;
  }
  if (typeOid === Oid.FLOAT4) return rows.typeOid === Oid.FLOAT8 ? rows : undefined;
  if (typeOid === Oid.VARCHAR || typeOid === Oid.BPCHAR) return rows.typeOid === Oid.TEXT && column.typmod >= 0 ? rows : undefined; // prettier-ignore
  return typeOid === Oid.NUMERIC && rows.typeOid === Oid.NUMERIC ? widerNumeric(column.typmod, rows.typmod) : undefined;
}

/** PostgreSQL keeps at most so many digits of numeric(p, s). */
const MOST_DIGITS = 1000;

function widerNumeric(typmod: number, theirs: number): DerivedType | undefined {
  const [own, other] = [numericShape(typmod), numericShape(theirs)];
  if (!own || !other) return undefined; // numeric without digits holds all of them
  const scale = Math.max(own.scale, other.scale);
  const precision = Math.max(own.precision - own.scale, other.precision - other.scale) + scale;
  if ((scale === own.scale && precision === own.precision) || precision > MOST_DIGITS) return undefined;
  return { typeOid: Oid.NUMERIC, typmod: numericTypmod(precision, scale), typeName: `numeric(${precision},${scale})` };
}

import { expect, test } from '@jest/globals';
import { widerType } from '../../../../src/engines/postgres/evolve.ts';
import { numericTypmod, Oid } from '../../../../src/engines/postgres/types.ts';

const TYPES = {
  smallint: { typeOid: Oid.INT2, typmod: -1 },
  integer: { typeOid: Oid.INT4, typmod: -1 },
  bigint: { typeOid: Oid.INT8, typmod: -1 },
  numeric: { typeOid: Oid.NUMERIC, typmod: -1 },
  'numeric(20,0)': { typeOid: Oid.NUMERIC, typmod: numericTypmod(20, 0) },
  'numeric(10,2)': { typeOid: Oid.NUMERIC, typmod: numericTypmod(10, 2) },
  'numeric(8,4)': { typeOid: Oid.NUMERIC, typmod: numericTypmod(8, 4) },
  'numeric(12,4)': { typeOid: Oid.NUMERIC, typmod: numericTypmod(12, 4) },
  real: { typeOid: Oid.FLOAT4, typmod: -1 },
  'double precision': { typeOid: Oid.FLOAT8, typmod: -1 },
  'varchar(3)': { typeOid: Oid.VARCHAR, typmod: 7 },
  varchar: { typeOid: Oid.VARCHAR, typmod: -1 },
  text: { typeOid: Oid.TEXT, typmod: -1 },
  date: { typeOid: Oid.DATE, typmod: -1 },
} as const;
type Name = keyof typeof TYPES;
const type = (typeName: Name) => ({ typeName, ...TYPES[typeName] });

test.each<[Name, Name, string | undefined]>([
  ['smallint', 'integer', 'integer'],
  ['integer', 'bigint', 'bigint'],
  ['bigint', 'integer', undefined],
  ['integer', 'numeric(20,0)', 'numeric(20,0)'],
  ['bigint', 'numeric(10,2)', undefined],
  ['real', 'double precision', 'double precision'],
  ['double precision', 'real', undefined],
  ['varchar(3)', 'text', 'text'],
  ['varchar', 'text', undefined],
  ['text', 'text', undefined],
  ['numeric(10,2)', 'numeric(8,4)', 'numeric(12,4)'],
  ['numeric(12,4)', 'numeric(10,2)', undefined],
  ['numeric', 'numeric(10,2)', undefined],
  ['date', 'text', undefined],
  ['integer', 'double precision', undefined],
])('a column of %s that gets %s becomes %s', (column, rows, becomes) => {
  const wider = widerType({ name: 'c', isEnum: false, notNull: false, ...type(column) }, type(rows));
  expect(wider?.typeName).toBe(becomes);
});

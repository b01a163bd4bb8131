import type { QueryResultRow } from 'pg';
import { SpillwayError } from '../../contracts/errors.ts';
import type { IndexSpec } from '../../contracts/pipeline.ts';
import type { TableName } from './identifiers.ts';
import { quoteTable, showTable } from './identifiers.ts';
import type { PlannedColumn } from './table-plan.ts';
import type { Session } from './session.ts';
import { TARGET_ATTACHMENTS, TARGET_COLUMNS, TARGET_FACTS, TARGET_INDEXES } from './target-sql.ts';

/** The table that a load replaces. */
export interface ExistingTarget {
  readonly oid: string;
  readonly columns: readonly PlannedColumn[];
  /** What the new table will not have. */
  readonly warnings: readonly string[];
}

/** A table and our rights, as the catalogue has them. */
export interface FactsRow extends QueryResultRow {
  oid: string | null;
  relkind: string | null;
  may_create: boolean;
  may_replace: boolean;
  owner: string | null;
  me: string;
}

interface ColumnRow extends QueryResultRow {
  name: string;
  type_name: string;
  not_null: boolean;
  type_oid: number;
  typmod: number;
  is_enum: boolean;
  default_expression: string | null;
  generated: boolean;
  has_default: boolean;
}

/** An index as the catalogue has it. */
export interface IndexRow extends QueryResultRow {
  name: string;
  is_unique: boolean;
  is_primary: boolean;
  plain: boolean;
  columns: string[];
}

const KINDS: Record<string, string> = {
  v: 'a view',
  m: 'a materialized view',
  f: 'a foreign table',
  p: 'a partitioned table',
  S: 'a sequence',
  i: 'an index',
  c: 'a composite type',
};

const refuse = (message: string): never => {
  throw new SpillwayError('LoadRefused', message);
};

/** @throws SpillwayError `LoadRefused` when our role may not create tables in the target's schema */
export function requireCreate({ may_create, me }: FactsRow, { schema }: TableName): void {
  if (!may_create)
    refuse(`The role ${me} may not create tables in the schema ${schema}: grant create on schema ${schema} to ${me}.`);
}

/** @throws SpillwayError `LoadRefused` when the target belongs to somebody whom our role is no member of */
export function requireOwner({ may_replace, owner, me }: FactsRow, target: TableName): void {
  if (!may_replace)
    refuse(`The role ${me} may not replace ${showTable(target)}, which belongs to ${owner!}: make ${me} a member of ${owner!}.`); // prettier-ignore
}

function wanted(index: IndexRow, key: readonly string[], indexes: readonly IndexSpec[]): boolean {
  const same = (columns: readonly string[]): boolean => columns.join('\0') === index.columns.join('\0');
  if (!index.plain) return false;
  return index.is_primary
    ? same(key)
    : indexes.some((spec) => same(spec.columns) && (spec.unique ?? false) === index.is_unique);
}

/**
 * Looks at the target of a load; undefined when it does not exist yet.
 * @throws SpillwayError `LoadRefused` when it may not be replaced: rights are missing, it is no ordinary table, or views,
 * foreign keys, triggers and the like hang on it that a replaced table would lose
 */
export async function inspectTarget(
  session: Session,
  target: TableName,
  key: readonly string[],
  indexes: readonly IndexSpec[],
): Promise<ExistingTarget | undefined> {
  const shown = showTable(target);
  const [facts] = await session.query<FactsRow>(TARGET_FACTS, [quoteTable(target), target.schema]);
  const { oid, relkind } = facts!;
  requireCreate(facts!, target);
  if (oid === null) return undefined;
  if (relkind !== 'r')
    refuse(`${shown} is ${KINDS[relkind!] ?? 'not a table'} and cannot be replaced; load into another name.`);
  requireOwner(facts!, target);
  const attached = await session.query<{ kind: string; name: string }>(TARGET_ATTACHMENTS, [oid]);
  if (attached.length > 0) {
    const list = attached.map(({ kind, name }) => `${kind} ${name}`).join(', ');
    refuse(
      `${shown} cannot be replaced without losing what hangs on it: ${list}. Drop that first, or load into another table.`,
    );
  }
  const columns = await readColumns(session, oid);
  const warnings = (await session.query<IndexRow>(TARGET_INDEXES, [oid]))
    .filter((index) => !wanted(index, key, indexes))
    .map(({ name }) => `index ${name} of the replaced table was not asked for and is gone`);
  return { oid, columns, warnings };
}

/** A column of a table that is there. */
export interface ExistingColumn extends PlannedColumn {
  /** A row without it gets a value all the same: a default, an identity, or NULL. */
  readonly mayBeLeftOut: boolean;
  /** PostgreSQL computes it. */
  readonly generated: boolean;
}

/** Columns of a table in their order. */
export const readColumns = async (session: Session, oid: string): Promise<ExistingColumn[]> =>
  (await session.query<ColumnRow>(TARGET_COLUMNS, [oid])).map((row) => ({
    name: row.name,
    typeOid: row.type_oid,
    typmod: row.typmod,
    typeName: row.type_name,
    isEnum: row.is_enum,
    notNull: row.not_null,
    generated: row.generated,
    mayBeLeftOut: row.has_default || !row.not_null,
    ...(row.default_expression === null ? {} : { defaultExpression: row.default_expression }),
  }));

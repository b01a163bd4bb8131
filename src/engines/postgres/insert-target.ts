import type { QueryResultRow } from 'pg';
import { SpillwayError } from '../../contracts/errors.ts';
import type { LoadEvolution, LoadWrite } from '../../contracts/pipeline.ts';
import type { SourceColumn } from './arrow-types.ts';
import { deriveType } from './arrow-types.ts';
import { widerType } from './evolve.ts';
import type { TableName } from './identifiers.ts';
import { quoteIdentifier, quoteTable, showTable } from './identifiers.ts';
import type { PlannedColumn, TablePlan } from './table-plan.ts';
import { widened } from './schema.ts';
import type { Session } from './session.ts';
import { type ExistingColumn, type IndexRow, readColumns } from './target.ts';
import { INSERT_FACTS, TARGET_INDEXES } from './target-sql.ts';

/** A table that rows are added to. */
export interface InsertTarget {
  readonly columns: readonly ExistingColumn[];
  /** Columns of each unique index or key that rows can be told apart by. */
  readonly uniques: readonly (readonly string[])[];
  /** The role that it belongs to, where ours may not alter it. */
  readonly belongsTo?: string;
}

interface FactsRow extends QueryResultRow {
  oid: string | null;
  relkind: string | null;
  may_insert: boolean;
  may_update: boolean;
  may_alter: boolean;
  owner: string;
  me: string;
}
/**
 * Looks at a table that rows are to be added to; undefined when it does not exist yet. Whatever hangs on it (views, triggers, foreign keys) stays and works.
 * @throws SpillwayError `LoadRefused` when it is none that takes rows, or rights are missing
 */
export async function inspectInsertTarget(
  session: Session,
  target: TableName,
  write: LoadWrite,
): Promise<InsertTarget | undefined> {
  const shown = showTable(target);
  const [facts] = await session.query<FactsRow>(INSERT_FACTS, [quoteTable(target)]);
  const { oid, relkind, may_insert, may_update, may_alter, owner, me } = facts!;
  if (oid === null) return undefined;
  if (relkind !== 'r' && relkind !== 'p')
    refuse(`${shown} is no table that rows can be added to; load into another name.`);
  const lacks = [...(may_insert ? [] : ['insert']), ...(write === 'merge' && !may_update ? ['select', 'update'] : [])];
  if (lacks.length > 0)
    refuse(
      `The role ${me} may not ${lacks.join(' and ')} in ${shown}: grant ${lacks.join(', ')} on ${shown} to ${me}.`,
    );
  const columns = await readColumns(session, oid);
  const uniques = (await session.query<IndexRow>(TARGET_INDEXES, [oid]))
    .filter(({ is_unique, plain }) => is_unique && plain)
    .map((index) => index.columns);
  return { columns, uniques, ...(may_alter ? {} : { belongsTo: owner }) };
}

/**
 * Plans which columns of the table get the rows' columns, in the rows' order, and what is altered in it before.
 * @throws SpillwayError `LoadRefused` that lists every problem
 */
export function planInsert(
  table: string,
  source: readonly SourceColumn[],
  target: InsertTarget,
  key: readonly string[],
  write: LoadWrite,
  evolve: readonly LoadEvolution[] = [],
): TablePlan {
  const problems: string[] = [];
  const warnings: string[] = [];
  const alterations: string[] = [];
  const names = source.map(({ name }) => name);
  const known = target.columns.map(({ name }) => name).join(', ');
  const columns = source.flatMap((column): PlannedColumn[] => {
    const found = target.columns.find(({ name }) => name === column.name);
    const derived = deriveType(column);
    const notNull = key.includes(column.name);
    if (found && !found.generated) {
      const wider = derived && evolve.includes('widen') ? widerType(found, derived) : undefined;
      if (wider) {
        warnings.push(widened(found, wider));
        alterations.push(`alter column ${quoteIdentifier(column.name)} type ${wider.typeName}`);
      }
      return [{ ...found, ...wider, notNull: found.notNull || notNull }];
    }
    if (!found && derived && evolve.includes('add')) {
      warnings.push(`column "${column.name}" ${derived.typeName} was added`);
      alterations.push(`add column ${quoteIdentifier(column.name)} ${derived.typeName}`);
      return [{ name: column.name, ...derived, isEnum: false, notNull }];
    }
    const type = derived?.typeName ?? 'text';
    problems.push(
      found
        ? `column "${column.name}" is computed by PostgreSQL; leave it out in the query.`
        : `column "${column.name}" is not in the table (${known}). Leave it out in the query, let the load add it (evolve: ['add']), or add it: alter table ${table} add column ${quoteIdentifier(column.name)} ${type}.`,
    );
    return [];
  });
  for (const name of new Set(names.filter((one, index) => names.indexOf(one) !== index)))
    problems.push(`two columns are named "${name}"; give one an alias in the query.`);
  for (const { name, mayBeLeftOut, generated } of target.columns) {
    if (!mayBeLeftOut && !generated && !names.includes(name))
      problems.push(`column "${name}" of the table must have a value, has no default, and is not in the rows. Add it to the query.`); // prettier-ignore
  }
  if (alterations.length > 0 && target.belongsTo !== undefined)
    problems.push(`the table has to be altered (${alterations.join(', ')}) and belongs to ${target.belongsTo}: make the role of the connection a member of it, or alter the table there.`); // prettier-ignore
  if (key.length > 0) problems.push(...problemsOfKey(table, target, key, names, write));
  if (problems.length > 0) {
    throw new SpillwayError('LoadRefused', `The rows cannot be loaded into ${table}: ${problems.join(' ')}`, {
      details: { problems },
    });
  }
  return { columns, key, indexes: [], warnings, alterations };
}

function problemsOfKey(
  table: string,
  { columns, uniques }: InsertTarget,
  key: readonly string[],
  names: readonly string[],
  write: LoadWrite,
): string[] {
  const list = key.map(quoteIdentifier).join(', ');
  const unknown = key.filter((name) => !names.includes(name));
  if (unknown.length > 0)
    return unknown.map((name) => `key names "${name}", which is no column of the rows (${names.join(', ')}).`);
  const problems: string[] = [];
  const same = (index: readonly string[]): boolean => [...index].sort().join('\0') === [...key].sort().join('\0');
  if (!uniques.some(same))
    problems.push(`the table has no unique index on its key: create unique index on ${table} (${list}).`);
  const nullable = key.filter((name) => columns.find((column) => column.name === name)?.notNull === false);
  if (write === 'merge' && nullable.length > 0)
    problems.push(`key column "${nullable.join('", "')}" may be NULL, and NULL is never the same row: alter table ${table} ${nullable.map((name) => `alter column ${quoteIdentifier(name)} set not null`).join(', ')}.`); // prettier-ignore
  return problems;
}

function refuse(message: string): never {
  throw new SpillwayError('LoadRefused', message);
}

import { SpillwayError } from '../../contracts/errors.ts';
import type { IndexSpec } from '../../contracts/pipeline.ts';
import type { SourceColumn } from './arrow-types.ts';
import type { DerivedType } from './arrow-types.ts';
import { arrowTypeName, deriveType } from './arrow-types.ts';
import { widerType } from './evolve.ts';
import { quoteIdentifier } from './identifiers.ts';
import { problemsOfIndexes } from './indexes.ts';
import type { PlannedColumn, TablePlan } from './table-plan.ts';
import type { TargetColumn } from './types.ts';

export interface TableQuestion {
  readonly table: string;
  readonly source: readonly SourceColumn[];
  /** Columns of the table that is replaced; undefined when there is none. */
  readonly existing: readonly PlannedColumn[] | undefined;
  readonly key: readonly string[];
  readonly indexes: readonly IndexSpec[];
  /** Whether columns that exist may get a type that holds more. @defaultValue false */
  readonly widen?: boolean;
}

/**
 * Plans the columns of the new table: those that exist keep their type (or get a wider one, where that is asked), default and NOT NULL, new ones get the type that
 * holds every value of theirs, columns of the key are NOT NULL.
 * @throws SpillwayError `LoadRefused` that lists every problem
 */
export function planTable({ table, source, existing, key, indexes, widen = false }: TableQuestion): TablePlan {
  const problems: string[] = [];
  const warnings: string[] = [];
  const names = new Set<string>();
  if (source.length === 0) problems.push('the rows have no columns.');
  const columns = source.map((column): PlannedColumn | undefined => {
    if (names.has(column.name))
      problems.push(`two columns are named "${column.name}"; give one an alias in the query.`);
    names.add(column.name);
    try {
      quoteIdentifier(column.name);
    } catch (error) {
      problems.push((error as Error).message);
      return undefined;
    }
    const notNull = key.includes(column.name);
    const kept = existing?.find(({ name }) => name === column.name);
    const derived = deriveType(column);
    if (kept) {
      const wider = widen && derived ? widerType(kept, derived) : undefined;
      if (wider) warnings.push(widened(kept, wider));
      return { ...kept, ...wider, notNull: kept.notNull || notNull };
    }
    if (!derived) {
      problems.push(
        `column "${column.name}": no PostgreSQL type is known for ${arrowTypeName(column.type)}. Cast it in the query, for example to a string or JSON text.`,
      );
      return undefined;
    }
    return { name: column.name, ...derived, isEnum: false, notNull };
  });
  for (const column of existing ?? []) {
    if (!names.has(column.name))
      warnings.push(`column "${column.name}" of the replaced table is not in the rows and is gone`);
  }
  problems.push(...problemsOfIndexes([...names], key, indexes));
  if (problems.length > 0) {
    throw new SpillwayError('LoadRefused', `The rows cannot be loaded into ${table}: ${problems.join(' ')}`, {
      details: { problems },
    });
  }
  return { columns: columns.filter((column) => column !== undefined), key, indexes, warnings, alterations: [] };
}

/** Says that a column got another type. */
export const widened = (column: TargetColumn, { typeName }: DerivedType): string =>
  `column "${column.name}" was ${column.typeName} and is ${typeName}`;

/** `logged` within one transaction, `staged` (logged too) and `unlogged` committed while they are filled. */
export type StagingKind = 'logged' | 'staged' | 'unlogged' | 'temporary';

/** Statement that makes a staging table. */
export function createTableSql(staging: string, plan: TablePlan, kind: StagingKind): string {
  const columns = plan.columns.map(({ name, typeName, notNull, defaultExpression }) =>
    [
      quoteIdentifier(name),
      typeName,
      defaultExpression === undefined ? '' : `default ${defaultExpression}`,
      notNull ? 'not null' : '',
    ]
      .filter(Boolean)
      .join(' '),
  );
  // Autovacuum would read a table that is still being filled; publishing resets this.
  const untouched = ' with (autovacuum_enabled = off)';
  const options = { logged: '', staged: untouched, unlogged: untouched, temporary: ' on commit drop' }[kind];
  return `create ${kind === 'unlogged' || kind === 'temporary' ? `${kind} ` : ''}table ${staging} (${plan.body ?? columns.join(', ')})${options}`;
}

/** Statement that fills it. */
export const copySql = (staging: string, plan: TablePlan, freeze: boolean): string =>
  `copy ${staging} (${plan.columns.map(({ name }) => quoteIdentifier(name)).join(', ')}) from stdin (format binary${freeze ? ', freeze' : ''})`;

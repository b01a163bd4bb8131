import type { QueryResultRow } from 'pg';
import { SpillwayError } from '../../contracts/errors.ts';
import type { PartitionBound } from '../../contracts/pipeline.ts';
import { quoteIdentifier, quoteTable, showTable, type TableName } from './identifiers.ts';
import type { PlannedIndex } from './load-plan.ts';
import { boundSql, problemOfBound, sameBound, type PartitionKey } from './partition.ts';
import type { Session } from './session.ts';
import { type ExistingColumn, type FactsRow, readColumns, requireCreate, requireOwner } from './target.ts';
import { PARENT_INDEXES, PARTITION_FACTS, PARTITIONS, TARGET_FACTS } from './target-sql.ts';

/** A partitioned table, one partition of which is loaded. */
export interface PartitionedTarget {
  readonly columns: readonly ExistingColumn[];
  readonly key: PartitionKey;
  readonly indexes: readonly PlannedIndex[];
  readonly owner: string;
  /** The bound as the server writes it. */
  readonly bound: string;
}

/** A partition as the catalogue has it. */
export interface PartitionRow extends QueryResultRow {
  oid: string;
  schema: string;
  name: string;
  relkind: string;
  bound: string;
}

const STRATEGIES = { l: 'list', r: 'range', h: 'hash' } as const;

function refuse(message: string): never {
  throw new SpillwayError('LoadRefused', message);
}

/**
 * Looks at the table that a partition belongs to.
 * @throws SpillwayError `LoadRefused` when it is none, cannot have such a partition, or rights are missing
 */
export async function inspectPartitioned(
  session: Session,
  target: TableName,
  bound: PartitionBound,
): Promise<PartitionedTarget> {
  const shown = showTable(target);
  const [facts] = await session.query<FactsRow>(TARGET_FACTS, [quoteTable(target), target.schema]);
  const { oid, relkind, owner } = facts!;
  if (oid === null || relkind !== 'p')
    refuse(`${shown} is no partitioned table, so that it has no partition to load. Create it with PARTITION BY, or leave partition out.`); // prettier-ignore
  requireOwner(facts!, target);
  requireCreate(facts!, target);
  const [by] = await session.query<{ strategy: keyof typeof STRATEGIES; columns: string[]; expressions: boolean; definition: string }>(PARTITION_FACTS, [oid]); // prettier-ignore
  const key: PartitionKey = {
    strategy: STRATEGIES[by!.strategy],
    columns: by!.expressions ? undefined : by!.columns,
  };
  const problem = problemOfBound(key, bound);
  if (problem !== undefined) refuse(`${shown} cannot have this partition: ${problem}.`);
  const indexes = await session.query<{ is_unique: boolean; contype: 'p' | 'u' | null; definition: string; columns: string[] }>(PARENT_INDEXES, [oid]); // prettier-ignore
  return {
    ...{ key, owner: owner!, columns: await readColumns(session, oid), bound: await canonicalBound(session, target, by!.definition, bound) }, // prettier-ignore
    indexes: indexes.map(({ is_unique, contype, definition, columns }) => ({
      ...{ columns, unique: is_unique, primary: contype === 'p', constraint: contype !== null },
      // What comes behind the names: method, columns, options, condition.
      using: definition.slice(definition.indexOf(' USING ') + 1),
    })),
  };
}

/** The server's own words for a bound, by which a partition is found: it is asked of one that is made for a moment. */
async function canonicalBound(
  session: Session,
  target: TableName,
  partitionBy: string,
  bound: PartitionBound,
): Promise<string> {
  const [parent, part] = [quoteIdentifier('spillway_bound'), quoteIdentifier('spillway_bound_1')];
  await session.run(`create temporary table ${parent} (like ${quoteTable(target)}) partition by ${partitionBy}`);
  await session.run(`create temporary table ${part} partition of ${parent} ${boundSql(bound)}`);
  const [row] = await session.query<{ bound: string }>(`select pg_get_expr(relpartbound, oid) as bound from pg_class where oid = 'pg_temp.spillway_bound_1'::regclass`); // prettier-ignore
  await session.run(`drop table pg_temp.${parent}`);
  return row!.bound;
}

/** The partition that has a bound; undefined where there is none yet. */
export async function findPartition(
  session: Session,
  target: TableName,
  bound: string,
): Promise<PartitionRow | undefined> {
  const all = await session.query<PartitionRow>(PARTITIONS, [quoteTable(target)]);
  return all.find((partition) => sameBound(partition.bound, bound));
}

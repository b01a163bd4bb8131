import { escapeLiteral } from 'pg';
import type { PartitionBound, PartitionValue } from '../../contracts/pipeline.ts';
import { quoteIdentifier } from './identifiers.ts';

/** How a table is partitioned. */
export interface PartitionKey {
  readonly strategy: 'list' | 'range' | 'hash';
  /** Undefined where an expression is among them. */
  readonly columns: readonly string[] | undefined;
}

const listOf = (value: PartitionValue | readonly PartitionValue[]): readonly PartitionValue[] =>
  Array.isArray(value) ? (value as readonly PartitionValue[]) : [value as PartitionValue];

/** The server reads each as what the column is. */
const literal = (value: PartitionValue): string => (value === null ? 'null' : escapeLiteral(String(value)));
const literals = (values: readonly PartitionValue[]): string => values.map(literal).join(', ');

/** `for values …`, as a partition is attached. */
export const boundSql = (bound: PartitionBound): string =>
  'in' in bound
    ? `for values in (${literals(bound.in)})`
    : `for values from (${literals(listOf(bound.from))}) to (${literals(listOf(bound.to))})`;

/** A condition that the rows of the partition meet and no others: with it the server need not look at them again when the partition is attached. */
export function boundCheck(key: PartitionKey, bound: PartitionBound): string {
  const columns = key.columns!.map(quoteIdentifier);
  if ('in' in bound) {
    const [column] = columns as [string];
    const values = bound.in.filter((value) => value !== null);
    const among = values.length > 0 ? `${column} in (${literals(values)})` : 'false';
    return bound.in.includes(null) ? `${column} is null or ${among}` : `${column} is not null and ${among}`;
  }
  const set = columns.map((column) => `${column} is not null`).join(' and ');
  const row = columns.length === 1 ? columns[0]! : `(${columns.join(', ')})`;
  const edge = (values: PartitionValue | readonly PartitionValue[]): string => {
    const list = literals(listOf(values));
    return columns.length === 1 ? list : `(${list})`;
  };
  return `${set} and ${row} >= ${edge(bound.from)} and ${row} < ${edge(bound.to)}`;
}

/** What keeps a bound from being one of a table, in words for a message; undefined: nothing. */
export function problemOfBound({ strategy, columns }: PartitionKey, bound: PartitionBound): string | undefined {
  if (strategy === 'hash') return 'it is partitioned by hash, and no partition has rows of its own there';
  if (columns === undefined) return 'it is partitioned by an expression, and the rows cannot be held against that before they are attached'; // prettier-ignore
  if (strategy === 'list')
    return 'in' in bound ? undefined : 'it is partitioned by list: say partition: { in: [values] }';
  if ('in' in bound) return 'it is partitioned by range: say partition: { from, to }';
  const wrong = [listOf(bound.from), listOf(bound.to)].some((values) => values.length !== columns.length);
  return wrong ? `from and to must have a value for each of its columns (${columns.join(', ')})` : undefined;
}

/** Whether two bounds, in the server's words, are one: the values of a list stand in the order in which they were written. */
export function sameBound(a: string, b: string): boolean {
  const values = (bound: string): string => (bound.match(/'(?:[^']|'')*'|[^\s,()]+/g) ?? []).sort().join();
  return a === b || (a.startsWith('FOR VALUES IN') && values(a) === values(b));
}

/** The part of a name that tells partitions apart. */
export const boundName = (bound: PartitionBound): string =>
  ('in' in bound ? bound.in : listOf(bound.from))
    .map((value) => String(value).toLowerCase())
    .join('_')
    .replaceAll(/[^a-z0-9]+/g, '_');

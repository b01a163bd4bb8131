import type { DatafusionSqlStep, FilesStep, SinkResult } from '../contracts/pipeline.ts';
import type { Dataset } from './dataset.ts';
import { failure } from './failures.ts';
import { datafusion, files, write } from './verbs.ts';

/** How large a step is, and what becomes of it when it fails. */
type Sizing = Omit<DatafusionSqlStep, 'step' | 'verb' | 'from' | 'sql' | 'isolate'>;

/** A column to sort by. */
export interface SortKey {
  column: string;
  /** @defaultValue false */
  descending?: boolean;
  /** Where rows without a value stand. @defaultValue `last`, and `first` where it is descending */
  nulls?: 'first' | 'last';
}

/** Value of a partition; null is the partition of rows without one. */
export type PartitionValue = string | number | boolean | null;

const quoted = (column: string): string => `"${column.replaceAll('"', '""')}"`;

/**
 * Rows of a dataset in order, sorted by DataFusion: what does not fit into its lease is spilled to its scratch. Who reads the rows next gets them in this
 * order: a load, a transform, `write.arrow` and `write.parquet`.
 * @throws `InvalidInput` without a column to sort by
 */
export function sortExternal(
  step: string,
  { from, by, ...sizing }: Sizing & { from: Dataset; by: readonly (string | SortKey)[] },
): Dataset {
  if (!Array.isArray(by) || by.length === 0) {
    throw failure('InvalidInput', `sortExternal('${step}').by must be a list of at least one column, got ${JSON.stringify(by) ?? 'undefined'}. Write by: ['day', { column: 'revenue', descending: true }].`); // prettier-ignore
  }
  const order = by.map((key: string | SortKey) => {
    const { column, descending = false, nulls } = typeof key === 'string' ? { column: key } : key;
    return `${quoted(column)}${descending ? ' desc' : ''}${nulls === undefined ? '' : ` nulls ${nulls}`}`;
  });
  // Isolated: as a part of another statement its order would be nobody's.
  return datafusion.sql(step, { ...sizing, from: { rows: from }, sql: `select * from rows order by ${order.join(', ')}`, isolate: true }); // prettier-ignore
}

/**
 * Writes the rows of many files into few: one for each core that DataFusion works with, at most. They stream, so that a small lease does for any
 * number of bytes. Starts at once; resolves when the folder is there as a whole.
 */
export function mergeFiles(
  step: string,
  {
    into,
    directory,
    path,
    format,
    csv,
    ...sizing
  }: Sizing & Pick<FilesStep, 'directory' | 'path' | 'format' | 'csv'> & { into: { directory?: string; path: string } },
): Promise<SinkResult> {
  // prettier-ignore
  const source = { path, ...(directory === undefined ? {} : { directory }), ...(format === undefined ? {} : { format }), ...(csv === undefined ? {} : { csv }) };
  const found = files(`${step}-files`, source);
  const rows = datafusion.sql(`${step}-rows`, { ...sizing, from: { rows: found }, sql: 'select * from rows' });
  return write.parquet(step, { ...into, from: rows });
}

/**
 * Calls `body` with the rows of each value of a column, in one turn, so that what they read is computed once; each filter is a step of its own, named
 * `<step>-<value>`. Resolves with what the bodies gave back, in the order of the values.
 * @throws `InvalidInput` for a value that is no text, finite number, boolean or null, or that is there twice
 */
export function perPartition<Value extends PartitionValue, Result>(
  step: string,
  { from, by, values, ...sizing }: Sizing & { from: Dataset; by: string; values: readonly Value[] },
  body: (rows: Dataset, value: Value, name: string) => Promise<Result>,
): Promise<Result[]> {
  const names = new Set<string>();
  const bodies = values.map((value) => {
    const name = `${step}-${String(value).replaceAll(/[^A-Za-z0-9_]+/g, '-')}`;
    if (names.has(name)) throw failure('InvalidInput', `perPartition('${step}').values must give each step a name of its own, got ${JSON.stringify(value)} as another ${name}. Name each value once.`); // prettier-ignore
    names.add(name);
    const sql = `select * from rows where ${quoted(by)} ${comparison(step, value)}`;
    return { value, name, rows: datafusion.sql(name, { ...sizing, from: { rows: from }, sql }) };
  });
  return Promise.all(bodies.map(({ rows, value, name }) => body(rows, value, name)));
}

function comparison(step: string, value: PartitionValue): string {
  if (value === null) return 'is null';
  if (typeof value === 'string') return `= '${value.replaceAll("'", "''")}'`;
  if (typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value))) return `= ${value}`;
  throw failure('InvalidInput', `perPartition('${step}').values must be texts, finite numbers, booleans or null, got ${JSON.stringify(value) ?? 'undefined'}. Write dates as texts, such as '2026-11-29'.`); // prettier-ignore
}

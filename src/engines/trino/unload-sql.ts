import { SpillwayError } from '../../contracts/errors.ts';
import type { HandoffColumn } from '../../contracts/handoff.ts';
import { MiB } from '../../policy/sizes.ts';
import type { OutputColumn } from './trino-port.ts';
import { quoteIdentifier, renderString } from './parameters.ts';
import { parseType } from './type-parser.ts';
import { carrierOf, distinct, timestampPrecision } from './types.ts';
import type { Carrier, TimestampPrecision } from './types.ts';

/** How the columns of a query go into files. */
export interface UnloadColumns {
  schema: HandoffColumn[];
  carriers: Carrier[];
  timestampPrecision: TimestampPrecision;
}

/**
 * Names each column once and finds a carrier for its type.
 * Raises SqlError for a statement without columns, and for types that no file can carry, all of them at once.
 */
export function planColumns(output: readonly OutputColumn[]): UnloadColumns {
  if (output.length === 0) {
    throw new SpillwayError(
      'SqlError',
      'Write a query that gives rows (SELECT, VALUES, TABLE or WITH): the statement has no columns.',
    );
  }
  const types = output.map((column) => parseType(column.type));
  const precision = timestampPrecision(types.filter((type) => type !== undefined));
  const names = distinct(output.map((column, index) => columnName(column.name, index)));
  const carriers = types.map((type) => type && carrierOf(type, precision));
  const hopeless = output.filter((_column, index) => !carriers[index]);
  if (hopeless.length > 0) {
    const which = hopeless.map((column) => `${column.name} (${column.type})`).join(', ');
    throw new SpillwayError(
      'SqlError',
      `Cast to a type that files can carry, for example varchar: ${which}. No handoff file holds ${hopeless.length === 1 ? 'this type' : 'these types'}.`,
      { details: { columns: hopeless } },
    );
  }
  const whole = carriers as Carrier[];
  return {
    timestampPrecision: precision,
    carriers: whole,
    schema: whole.map((carrier, index) => ({
      name: names[index]!,
      type: carrier.arrow,
      nullable: true,
      ...(carrier.changed ? { logicalType: output[index]!.type } : {}),
    })),
  };
}

/**
 * Name of a column in the file. Lower case, since identifiers of Trino have none and Hive folds them; without commas and
 * outer spaces, which Hive refuses. Nameless ones (`_col2`) are called `column_3`.
 */
function columnName(name: string, index: number): string {
  const plain = name.toLowerCase().replaceAll(',', '_').trim();
  return plain === '' || plain === `_col${index}` ? `column_${index + 1}` : plain;
}

/** Lines of {@link unloadStatement} in front of the query. */
export const LINES_BEFORE_QUERY = 5;

/** CREATE TABLE AS that writes a query's rows as Parquet into a directory of the lake. */
export function unloadStatement(of: { table: string; directory: string; sql: string; columns: UnloadColumns }): string {
  const inner = of.columns.schema.map((_column, index) => quoteIdentifier(`c${index}`));
  const selected = of.columns.schema.map((column, index) => {
    return `${of.columns.carriers[index]!.sql(inner[index]!)} AS ${quoteIdentifier(column.name)}`;
  });
  return [
    `CREATE TABLE ${of.table}`,
    // Only ever `local:///`: a `file:///` location is accepted too, and silently read as no rows.
    `WITH (format = 'PARQUET', external_location = ${renderString(`local:///${of.directory}`)})`,
    `AS SELECT ${selected.join(', ')}`,
    'FROM',
    '(',
    of.sql,
    `) AS spillway_rows (${inner.join(', ')})`,
  ].join('\n');
}

const MOST_WRITERS = 4;
// One writer holds about its row group, encoded, and the pages in front of it.
const BYTES_PER_WRITER = 128 * MiB;

/** What an unload may use. */
export interface UnloadLimits {
  /** Hard cap of the query's memory on one node, in bytes; Trino stops it cleanly there. Absent: the server's own. */
  queryMaxMemoryPerNodeBytes?: number;
  /** Lets operators spill; before Trino 480 results of aggregations may then be wrong, so by consent only. @defaultValue the server's own */
  spill?: boolean;
}

/** Session of an unload: its caps, Snappy, one precision of timestamps, and files with row groups of 100 to 150 MB uncompressed. */
export function unloadSession(
  lakeCatalog: string,
  columns: UnloadColumns,
  limits: UnloadLimits,
): Record<string, string> {
  const cap = limits.queryMaxMemoryPerNodeBytes;
  return {
    ...(cap === undefined ? {} : { query_max_memory_per_node: `${Math.floor(cap)}B` }),
    ...(limits.spill === undefined ? {} : { spill_enabled: String(limits.spill) }),
    // One writer until there is something to write; then more, so that small results are one file.
    task_min_writer_count: '1',
    task_max_writer_count: String(writerCount(cap)),
    [`${lakeCatalog}.compression_codec`]: 'SNAPPY',
    [`${lakeCatalog}.timestamp_precision`]: columns.timestampPrecision === 9 ? 'NANOSECONDS' : 'MICROSECONDS',
    // Counted encoded: 64 MB become 110 to 150 MB of values.
    [`${lakeCatalog}.parquet_writer_block_size`]: '64MB',
  };
}

/** A power of two, as Trino insists, that leaves the query most of its cap. */
function writerCount(capBytes: number | undefined): number {
  const share = capBytes === undefined ? MOST_WRITERS : capBytes / 2 / BYTES_PER_WRITER;
  return 2 ** Math.max(0, Math.floor(Math.log2(Math.min(MOST_WRITERS, Math.max(1, share)))));
}

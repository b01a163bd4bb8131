import { createHash } from 'node:crypto';
import { SpillwayError } from '../../contracts/errors.ts';

/** PostgreSQL cuts longer names off without an error, and two of them may then be one. */
export const MAX_IDENTIFIER_BYTES = 63;

/**
 * Quotes a name for SQL.
 * @throws SpillwayError `InvalidInput` when it is empty, holds a zero byte or is longer than 63 bytes
 */
export function quoteIdentifier(name: string): string {
  const bytes = Buffer.byteLength(name);
  if (bytes === 0 || name.includes('\0')) {
    throw new SpillwayError(
      'InvalidInput',
      `${JSON.stringify(name)} cannot be a name in PostgreSQL; give the column or table another name.`,
    );
  }
  if (bytes > MAX_IDENTIFIER_BYTES) {
    throw new SpillwayError(
      'InvalidInput',
      `"${name}" has ${bytes} bytes; names in PostgreSQL have at most ${MAX_IDENTIFIER_BYTES}. Give it a shorter alias in the query.`,
    );
  }
  return `"${name.replaceAll('"', '""')}"`;
}

/** A table with its schema. */
export interface TableName {
  readonly schema: string;
  readonly table: string;
}

/** `"schema"."table"`. */
export const quoteTable = ({ schema, table }: TableName): string =>
  `${quoteIdentifier(schema)}.${quoteIdentifier(table)}`;

/** `schema.table`, for messages. */
export const showTable = ({ schema, table }: TableName): string => `${schema}.${table}`;

/**
 * Reads `schema.table`. Unquoted names are folded to lower case, as the server does; `"Mixed.Case"` is kept.
 * @throws SpillwayError `InvalidInput`
 */
export function parseTableName(into: string): TableName {
  const part = '(?:"(?:[^"]|"")+"|[^".\\s]+)';
  const match = new RegExp(`^(${part})\\.(${part})$`).exec(into.trim());
  if (!match)
    throw new SpillwayError(
      'InvalidInput',
      `into must name schema and table, such as mart.daily_revenue; got ${JSON.stringify(into)}.`,
    );
  const read = (text: string): string =>
    text.startsWith('"') ? text.slice(1, -1).replaceAll('""', '"') : text.toLowerCase();
  const name = { schema: read(match[1]!), table: read(match[2]!) };
  quoteTable(name);
  if (name.schema === LEDGER_SCHEMA) {
    throw new SpillwayError(
      'InvalidInput',
      `the schema ${LEDGER_SCHEMA} keeps the load ledger; load into another one.`,
    );
  }
  return name;
}

/** Schema of the load ledger and of staging tables. */
export const LEDGER_SCHEMA = 'spillway';

/** Who loads: everything outside is named after it. */
export interface AttemptName {
  readonly run: string;
  readonly step: string;
  readonly token: number;
}

const digest = (...parts: string[]): string => createHash('sha256').update(JSON.stringify(parts)).digest('hex');
const slug = (text: string, length: number): string =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '_')
    .slice(0, length);

/** Staging table of an attempt, in the ledger's schema; names of long runs and steps are cut and told apart by a digest. */
export function stagingTable({ run, step, token }: AttemptName): string {
  return `stg_${slug(run, 8)}_${slug(step, 20)}_${digest(run, step).slice(0, 10)}_${token}`;
}

/** Name of the constraint that a staging table's rows are held against, until it is attached; the same for an attempt that goes on with the table. */
export const stagingCheck = ({ run, step }: Omit<AttemptName, 'token'>): string =>
  `stg_${digest(run, step).slice(0, 10)}_bound`;

/** Name of a new partition; `taken` are names that exist in the schema. */
export function partitionName(table: string, suffix: string, taken: ReadonlySet<string>): string {
  const plain = `${table}_${suffix}`;
  if (Buffer.byteLength(plain) <= MAX_IDENTIFIER_BYTES && !taken.has(plain)) return plain;
  return `${slug(table, 40)}_${digest(table, suffix).slice(0, 20)}`;
}

/** Name of the nth index of a staging table until it is published. */
export const stagingIndex = ({ run, step, token }: AttemptName, index: number): string =>
  `stg_${digest(run, step).slice(0, 10)}_${token}_i${index}`;

/** Whether a name is one of {@link stagingIndex}: it says nothing to who wrote the step. */
export const isStagingIndex = (name: string): boolean => /^stg_[0-9a-f]{10}_\d+_i\d+$/.test(name);

/** `application_name` of an attempt's sessions: what a later attempt looks for before it ends a backend. */
export function applicationName({ run, step, token }: AttemptName): string {
  // The server keeps printable ASCII and 63 bytes.
  const plain = `spillway/${run}/${step}/${token}`.replace(/[^\x21-\x7e]/g, '?');
  if (plain.length <= MAX_IDENTIFIER_BYTES) return plain;
  return `spillway/${slug(run, 8)}/${slug(step, 16)}/${digest(run, step).slice(0, 10)}/${token}`;
}

/** Name of an index as the server would make it, shortened where it must be. `taken` are names that exist in the schema. */
export function indexName(
  table: string,
  columns: readonly string[],
  suffix: string,
  taken: ReadonlySet<string>,
): string {
  const wanted = [table, ...columns, suffix].join('_');
  for (let attempt = 0; ; attempt += 1) {
    const tail = attempt === 0 ? '' : String(attempt);
    let name = wanted + tail;
    if (Buffer.byteLength(name) > MAX_IDENTIFIER_BYTES) {
      let head = wanted;
      while (Buffer.byteLength(head) > MAX_IDENTIFIER_BYTES - 10 - tail.length) head = head.slice(0, -1);
      name = `${head}_${digest(wanted).slice(0, 8)}${tail}`;
    }
    if (!taken.has(name)) return name;
  }
}

import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { SpillwayError } from '../../contracts/errors.ts';
import type { HandoffColumn, HandoffPart } from '../../contracts/handoff.ts';
import type { Parameter } from '../../contracts/pipeline.ts';
import type { Attempt } from '../../handoff/attempt.ts';
import { filesUnder } from '../../handoff/bytes-under.ts';
import { readParquetFooter } from '../../handoff/parquet-footer.ts';
import type { ScratchLedger } from '../../handoff/scratch-ledger.ts';
import { attemptSource, attemptTable } from './attempt-names.ts';
import type { Trino } from './trino-port.ts';
import { queryGone } from './end-query.ts';
import { relocate, trinoDetails } from './errors.ts';
import { killLowerTokens } from './kill.ts';
import { dropLakeTable, dropLowerTables, ensureLakeSchema, lakeTable } from './lake-tables.ts';
import { bindParameters } from './parameters.ts';
import { runStatement } from './statement-reader.ts';
import type { QueryProgress } from './statement-reader.ts';
import { LINES_BEFORE_QUERY, planColumns, unloadSession, unloadStatement } from './unload-sql.ts';
import type { UnloadLimits } from './unload-sql.ts';

export interface UnloadRequest extends UnloadLimits {
  /** Names the query's source, its table and its directory. */
  attempt: Attempt;
  sql: string;
  params?: readonly Parameter[];
  /** Client tags, for the resource groups. @defaultValue ['heavy'] */
  tags?: readonly string[];
  /** Catalog whose `local:///` is the scratch root. */
  lakeCatalog: string;
  scratch: ScratchLedger;
  /** Scratch bytes lent to the attempt. @defaultValue 0: only the floor is checked */
  scratchBytes?: number;
  signal?: AbortSignal;
  onProgress?: (progress: QueryProgress) => void;
}

/** Where the rows of a query are, and what getting them there took. */
export interface Unloaded {
  parts: HandoffPart[];
  schema: HandoffColumn[];
  rows: number;
  bytes: number;
  stats: { queryId: string; peakMemoryBytes: number; spilledBytes: number; elapsedMs: number };
}

/**
 * Runs a query and leaves its rows as Snappy Parquet files in `runs/<run>/<step>-<token>/` of the scratch root, without
 * the rows passing through here. The order of rows is not kept.
 *
 * First stops earlier attempts of the step, sees them gone, and removes what they left. When it fails or is cancelled,
 * its own query, table and directory are gone before the error is raised: the error of the query, or the signal's reason.
 */
export async function unloadQuery(trino: Trino, request: UnloadRequest): Promise<Unloaded> {
  const { attempt, lakeCatalog, scratch, signal } = request;
  signal?.throwIfAborted();
  const bound = bindParameters(request.sql, request.params);
  // Look-ups of a tenth of a second each; what the statement gives does not wait for the clean-up.
  const [output] = await Promise.all([
    trino.describeOutput(request.sql, request.params),
    ensureLakeSchema(trino, lakeCatalog).then(() => stopEarlierAttempts(trino, request)),
  ]);
  const columns = planColumns(output);
  // Trino makes the directory and refuses one that is there.
  await scratch.reserveAttempt(attempt, { scratchBytes: request.scratchBytes ?? 0, makeDirectory: false });
  const table = attemptTable(attempt);
  const directory = scratch.relativeDirectory(attempt);
  const statement = unloadStatement({ table: lakeTable(lakeCatalog, table), directory, sql: bound.sql, columns });
  try {
    const end = await writeRows(trino, statement, {
      source: attemptSource(attempt),
      tags: request.tags ?? ['heavy'],
      session: unloadSession(lakeCatalog, columns, request),
      signal,
      onProgress: request.onProgress,
      ...trino.patience,
    });
    const parts = await readParts(scratch, attempt, end.rows);
    await dropLakeTable(trino, lakeCatalog, table);
    await scratch.sealAttempt(attempt);
    const { queryId, peakMemoryBytes, spilledBytes, elapsedMs } = end.stats;
    return {
      parts,
      schema: columns.schema,
      rows: end.rows,
      bytes: parts.reduce((sum, part) => sum + part.bytes, 0),
      stats: { queryId, peakMemoryBytes, spilledBytes, elapsedMs },
    };
  } catch (error) {
    await undo(trino, request, error);
    throw inUserTerms(error, bound.original);
  }
}

/** Stops the queries of lower tokens of the step, sees them gone, and removes their tables and directories. */
export async function stopEarlierAttempts(
  trino: Trino,
  { attempt, lakeCatalog, scratch }: Pick<UnloadRequest, 'attempt' | 'lakeCatalog' | 'scratch'>,
): Promise<{ queries: number }> {
  const queries = await killLowerTokens(trino, attempt);
  await dropLowerTables(trino, lakeCatalog, attempt);
  await scratch.dropLowerTokens(attempt);
  return { queries };
}

interface Written {
  rows: number;
  stats: QueryProgress;
}

async function writeRows(
  trino: Trino,
  statement: string,
  options: Parameters<typeof runStatement>[2] & object,
): Promise<Written> {
  let last: QueryProgress | undefined;
  const onProgress = (progress: QueryProgress): void => {
    last = progress;
    options.onProgress?.(progress);
  };
  try {
    const end = await runStatement(trino.endpoint, statement, { ...options, onProgress });
    if (end.updateCount === undefined)
      throw new SpillwayError('EngineFailed', `Look at query ${end.queryId}: it ended without a row count.`);
    // Its bytes may be lent to others after this: the record is final once every task has given its memory back.
    await queryGone(trino.endpoint, end.queryId, trino.patience);
    return { rows: end.updateCount, stats: end.stats };
  } catch (error) {
    const queryId = trinoDetails(error)?.queryId;
    if (queryId === undefined) throw error;
    // FAILED comes before the tasks have closed their files and given their memory back.
    const ended = await queryGone(trino.endpoint, queryId, trino.patience);
    if (last && wroteNothing(error) && ended.writtenRows === 0) return { rows: 0, stats: last };
    throw error;
  }
}

/**
 * Trino makes an external directory with its first file. With no row there is no file, and the query fails at the very end,
 * when it looks for the directory. The same words for a directory that somebody removed meanwhile are told apart by the
 * number of written rows.
 */
function wroteNothing(error: unknown): boolean {
  const details = trinoDetails(error);
  return (
    details?.errorName === 'HIVE_METASTORE_ERROR' && details.message.includes('External table location does not exist')
  );
}

async function readParts(scratch: ScratchLedger, attempt: Attempt, expectedRows: number): Promise<HandoffPart[]> {
  const directory = join(scratch.root, scratch.relativeDirectory(attempt));
  const files = (await filesUnder(directory)).filter((file) => !/^[._]/.test(basename(file.path)));
  const parts: HandoffPart[] = [];
  for (const { path, bytes } of files) {
    const { rows } = await readParquetFooter(path);
    parts.push({ kind: 'parquet', uri: pathToFileURL(path).href, rows, bytes });
  }
  const rows = parts.reduce((sum, part) => sum + part.rows, 0);
  if (rows !== expectedRows) {
    throw new SpillwayError(
      'EngineFailed',
      `Check that the lake catalog's local.location is ${scratch.root}: Trino wrote ${expectedRows} rows, the files in ${directory} hold ${rows}.`,
    );
  }
  return parts;
}

/** Removes table and directory of an attempt that did not end well. */
async function undo(trino: Trino, { attempt, lakeCatalog, scratch }: UnloadRequest, failure: unknown): Promise<void> {
  const unreachable = failure instanceof SpillwayError && failure.code === 'EngineUnreachable';
  const results = await Promise.allSettled([
    // A server that is gone keeps its catalogue; the next attempt, or the end of the run, drops the table.
    unreachable ? undefined : dropLakeTable(trino, lakeCatalog, attemptTable(attempt)),
    scratch.dropAttempt(attempt),
  ]);
  const failed = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []));
  if (failed.length === 0) return;
  throw new SpillwayError(
    'EngineFailed',
    `Remove table ${attemptTable(attempt)} of ${lakeCatalog} and ${scratch.relativeDirectory(attempt)} of the scratch root: an unload failed and so did its clean-up.`,
    { cause: new AggregateError([failure, ...failed]) },
  );
}

function inUserTerms(error: unknown, original: ReturnType<typeof bindParameters>['original']): unknown {
  const position = trinoDetails(error)?.position;
  if (!(error instanceof SpillwayError) || !position) return error;
  const line = position.line - LINES_BEFORE_QUERY;
  return relocate(error, line < 1 ? undefined : original({ line, column: position.column }));
}

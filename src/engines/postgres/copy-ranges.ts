import { SpillwayError } from '../../contracts/errors.ts';
import { MiB } from '../../policy/sizes.ts';
import type { RowRange, RowRanges } from './arrow-ranges.ts';
import { quoteTable, showTable } from './identifiers.ts';
import { recordChunk } from './ledger.ts';
import { LoadPhase } from './load-plan.ts';
import { pump } from './pump.ts';
import { copySql } from './schema.ts';
import type { Session } from './session.ts';
import { openStaging } from './staging.ts';
import type { LoadCounts, LoadJob } from './load-job.ts';

const LEAST_CHUNK_BYTES = 16 * MiB;
const LARGEST_CHUNK_BYTES = 64 * MiB;
/** With fewer, connections wait at the end for the one that has another. */
const CHUNKS = 16;

/** Arrow bytes of a chunk, what a second attempt copies again at most for each connection: large ones were 5 % faster. */
export const chunkBytesOf = (datasetBytes: number): number =>
  Math.min(LARGEST_CHUNK_BYTES, Math.max(LEAST_CHUNK_BYTES, Math.ceil(datasetBytes / CHUNKS)));

/**
 * Fills a committed staging table from ranges of files, over all sessions: each chunk is one transaction, with the row in the ledger that says it is there.
 * Chunks that an earlier attempt has written are not read again.
 */
export async function copyRanges(job: LoadJob, cut: RowRanges, sessions: readonly Session[]): Promise<LoadCounts> {
  const { plan, signal } = job;
  const total = cut.ranges.reduce((sum, { rows }) => sum + rows, 0);
  if (plan.expectedRows !== undefined && plan.expectedRows !== total) {
    throw new SpillwayError(
      'LoadInterrupted',
      `Rows do not add up for ${showTable(plan.target)}: ${plan.expectedRows} expected, ${total} in the files. Nothing was published.`,
    );
  }
  const there = await openStaging(job.session, plan, cut.identity);
  const chunksThere = new Set(there.map(({ chunk }) => chunk));
  const due = cut.ranges.map((range, chunk) => ({ range, chunk })).filter(({ chunk }) => !chunksThere.has(chunk));
  const stop = new AbortController();
  const eitherEnds = AbortSignal.any([signal, stop.signal]);
  let done = there.reduce(plus, { rows: 0, bytes: 0 });
  const moving = new Map<Session, LoadCounts>();
  const fill = async (session: Session): Promise<void> => {
    const reader = cut.open();
    try {
      for (let next = due.shift(); next && !stop.signal.aborted; next = due.shift()) {
        const { range, chunk } = next;
        const onProgress = (rows: number, bytes: number): void => {
          moving.set(session, { rows, bytes });
          const all = [...moving.values()].reduce(plus, done);
          job.report(LoadPhase.COPYING, all.rows, all.bytes);
        };
        const copied = await copyChunk(
          job,
          session,
          { range, chunk, batches: reader.read(range) },
          { signal: eitherEnds, onProgress },
        );
        moving.delete(session);
        done = plus(done, copied);
      }
    } catch (error) {
      stop.abort(error);
      throw error;
    } finally {
      await reader.close();
    }
  };
  const filled = await Promise.allSettled(sessions.map(fill));
  // The first that failed stopped the others.
  if (stop.signal.aborted) throw stop.signal.reason;
  const failed = filled.find((one) => one.status === 'rejected');
  if (failed) throw failed.reason;
  return done;
}

const plus = (a: LoadCounts, b: LoadCounts): LoadCounts => ({ rows: a.rows + b.rows, bytes: a.bytes + b.bytes });

interface Chunk {
  chunk: number;
  range: RowRange;
  batches: ReturnType<ReturnType<RowRanges['open']>['read']>;
}

async function copyChunk(
  job: LoadJob,
  session: Session,
  { chunk, range, batches }: Chunk,
  options: { signal: AbortSignal; onProgress(rows: number, bytes: number): void },
): Promise<LoadCounts> {
  const { plan, stallMs } = job;
  return session.transaction(async () => {
    const copy = await session.copy(copySql(quoteTable(plan.staging), plan.table, false));
    try {
      const { encoded, counted } = await pump(batches, job.encoder(range.firstRow), copy, {
        ...options,
        ...(stallMs === undefined ? {} : { stallMs }),
      });
      if (counted !== encoded || encoded !== range.rows)
        throw new SpillwayError('LoadInterrupted', `Rows do not add up for ${showTable(plan.target)}: ${range.rows} expected in chunk ${chunk}, ${encoded} read, ${counted} copied. Nothing was published.`); // prettier-ignore
    } catch (error) {
      await copy.abort('the load was given up', () => job.terminate());
      throw error;
    }
    const counts = { rows: range.rows, bytes: copy.bytes };
    await recordChunk(session, plan.claim, { chunk, ...counts });
    return counts;
  });
}

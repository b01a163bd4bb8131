import { SpillwayError } from '../../contracts/errors.ts';
import { attach } from './attach.ts';
import { CopyFan } from './copy-fan.ts';
import { copyRanges } from './copy-ranges.ts';
import type { CopyIn, CopySink } from './copy-in.ts';
import { makeChunk } from './chunk.ts';
import type { CopyEncoder } from './encoder.ts';
import { quoteTable, showTable } from './identifiers.ts';
import { markPublished } from './ledger.ts';
import type { LoadCounts, LoadJob } from './load-job.ts';
import { LoadPhase } from './load-plan.ts';
import { buildIndexes, buildIndexesOver } from './indexes.ts';
import { swap } from './publish.ts';
import { pump } from './pump.ts';
import { copySql } from './schema.ts';
import { makeStaging } from './staging.ts';
import type { Session } from './session.ts';

/** Copies all rows; every count must agree, since a source that stops at a row's end loads short without an error. */
export async function copyRows(
  job: LoadJob,
  into: string,
  freeze: boolean,
  sessions: readonly Session[] = [job.session],
): Promise<LoadCounts> {
  const { plan, source, signal } = job;
  const encoder = job.encoder(0);
  const copy = await startCopies(encoder, job, sessions, copySql(into, plan.table, freeze));
  try {
    const { encoded, counted } = await pump(source.batches(), encoder, copy, {
      signal,
      onProgress: (rows, bytes) => job.report(LoadPhase.COPYING, rows, bytes),
      ...(job.stallMs === undefined ? {} : { stallMs: job.stallMs }),
    });
    if (counted !== encoded || (plan.expectedRows !== undefined && plan.expectedRows !== encoded)) {
      throw new SpillwayError(
        'LoadInterrupted',
        `Rows do not add up for ${showTable(plan.target)}: ${plan.expectedRows ?? 'an unknown number of'} expected, ${encoded} read, ${counted} copied. Nothing was published.`,
      );
    }
    return { rows: counted, bytes: copy.bytes };
  } catch (error) {
    await copy.abort('the load was given up', () => job.terminate());
    throw error;
  }
}

/** As many sessions as the plan has connections; fewer where the server has no more. */
async function openSessions(job: LoadJob): Promise<Session[]> {
  const sessions = [job.session];
  while (sessions.length < job.plan.connections) {
    const session = await job.assist();
    if (!session) break;
    sessions.push(session);
  }
  // Only while loading; what makes the rows visible commits synchronously, and with itself all before it.
  for (const session of sessions) await session.run(`set synchronous_commit = off`);
  return sessions;
}

async function startCopies(
  encoder: CopyEncoder,
  job: LoadJob,
  sessions: readonly Session[],
  sql: string,
): Promise<CopySink> {
  if (sessions.length === 1) return job.session.copy(sql);
  const copies: CopyIn[] = [];
  try {
    for (const session of sessions) copies.push(await session.copy(sql));
    if (encoder.header(makeChunk()) === 0) throw new Error('the encoder has begun a COPY before');
    return new CopyFan(copies);
  } catch (error) {
    await Promise.all(copies.map((copy) => copy.abort('the load was given up', () => job.terminate())));
    throw error;
  }
}

async function publish(job: LoadJob, counts: LoadCounts): Promise<void> {
  const { session, plan, signal } = job;
  await markDone(job, counts);
  await (plan.partition ? attach(session, plan, plan.partition, signal) : swap(session, plan, signal));
  job.committing();
}

/** What every publishing transaction does first: the ledger says whether this attempt may, and remembers that it did. */
export async function markDone(job: LoadJob, counts: LoadCounts): Promise<void> {
  const { session, plan } = job;
  job.report(LoadPhase.PUBLISHING, counts.rows, counts.bytes);
  // A rename is all that a standby or a crash could lose, after the run had been told of success.
  await session.run(`set local synchronous_commit = ${session.durableCommit}`);
  await markPublished(session, plan.claim, {
    ...plan.choice,
    ...counts,
    warnings: plan.warnings,
  });
}

/** One transaction: nobody sees anything before COMMIT, and a failure leaves nothing to clean. */
export async function loadFrozen(job: LoadJob): Promise<LoadCounts> {
  const { session, plan } = job;
  const staging = quoteTable(plan.staging);
  return session.transaction(async () => {
    await makeStaging(session, plan, 'logged');
    const counts = await copyRows(job, staging, true);
    job.report(LoadPhase.INDEXING, counts.rows, counts.bytes);
    await buildIndexes(session, plan);
    job.report(LoadPhase.ANALYZING, counts.rows, counts.bytes);
    await session.run(`analyze ${staging}`);
    await publish(job, counts);
    return counts;
  });
}

/**
 * Committed staging that the ledger names, filled over several connections, durable and indexed before it is published. `unlogged`: outside of WAL and
 * publications while it is filled, and written to WAL once it is full; `parallel`: in WAL from the start.
 */
export async function loadStaged(job: LoadJob): Promise<LoadCounts> {
  const { session, plan } = job;
  const staging = quoteTable(plan.staging);
  const unlogged = plan.choice.strategy === 'unlogged';
  const sessions = await openSessions(job);
  const counts = await fillStaging(job, sessions);
  await session.run(`set synchronous_commit = ${session.durableCommit}`);

  const index = async (): Promise<void> => {
    job.report(LoadPhase.INDEXING, counts.rows, counts.bytes);
    await buildIndexesOver(sessions, plan);
  };
  if (unlogged) {
    if (plan.indexOrder === 'before-logged') await index();
    job.report(LoadPhase.LOGGING, counts.rows, counts.bytes);
    await session.transaction(() => session.run(`alter table ${staging} set logged`));
  }
  if (!unlogged || plan.indexOrder === 'after-logged') await index();
  job.report(LoadPhase.ANALYZING, counts.rows, counts.bytes);
  // Rows that became logged one by one are frozen here; others are left to autovacuum, since it took a quarter of the load.
  await session.run(`${unlogged ? 'vacuum (freeze, analyze)' : 'analyze'} ${staging}`);

  await session.transaction(async () => {
    if (unlogged) await requireAll(job, staging, counts);
    await session.run(`alter table ${staging} reset (autovacuum_enabled)`);
    await publish(job, counts);
  });
  return counts;
}

/** Chunk by chunk where the rows can be cut and the table is in WAL; a crash empties UNLOGGED ones, whatever the ledger says is in them. */
async function fillStaging(job: LoadJob, sessions: readonly Session[]): Promise<LoadCounts> {
  const { session, plan, source } = job;
  const staging = quoteTable(plan.staging);
  const unlogged = plan.choice.strategy === 'unlogged';
  const cut = unlogged ? undefined : await source.ranges?.(plan.chunkBytes);
  if (cut) return copyRanges(job, cut, sessions);
  await makeStaging(session, plan, unlogged ? 'unlogged' : 'staged');
  return copyRows(job, staging, false, sessions);
}

/** A crash of the server empties an UNLOGGED table and leaves no other sign. */
async function requireAll({ session, plan }: LoadJob, staging: string, { rows }: LoadCounts): Promise<void> {
  const [kept] = await session.query<{ rows: number }>(`select count(*)::float8 as rows from ${staging}`);
  if (kept!.rows === rows) return;
  throw new SpillwayError(
    'LoadInterrupted',
    `The staging table of ${showTable(plan.target)} holds ${kept!.rows} of ${rows} rows: the server has crashed meanwhile. Nothing was published.`,
  );
}

import { SpillwayError } from '../../contracts/errors.ts';
import type { ArrowSource } from './arrow-source.ts';
import { startCopy } from './copy-in.ts';
import type { CopyEncoder } from './encoder.ts';
import { quoteTable, showTable } from './identifiers.ts';
import { markPublished } from './ledger.ts';
import type { LoadPlan } from './load-plan.ts';
import { LoadPhase } from './load-plan.ts';
import { buildIndexes, swap } from './publish.ts';
import { pump } from './pump.ts';
import { copySql, createTableSql } from './schema.ts';
import type { Session } from './session.ts';

/** What a strategy works with. */
export interface LoadJob {
  session: Session;
  plan: LoadPlan;
  source: ArrowSource;
  encoder: CopyEncoder;
  signal: AbortSignal;
  stallMs: number | undefined;
  /** Tells the phase, and rows and bytes while copying. */
  report(phase: LoadPhase, rows: number, bytes: number): void;
  /** Ends this job's backend from another connection. */
  terminate(): Promise<unknown>;
  /** Called when COMMIT of the publishing transaction is about to be sent. */
  committing(): void;
}

export interface LoadCounts {
  rows: number;
  bytes: number;
}

/** Copies all rows; every count must agree, since a source that stops at a row's end loads short without an error. */
export async function copyRows(job: LoadJob, into: string, freeze: boolean): Promise<LoadCounts> {
  const { session, plan, source, encoder, signal } = job;
  const copy = await startCopy(session.client, copySql(into, plan.table, freeze));
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

async function publish(job: LoadJob, counts: LoadCounts): Promise<void> {
  const { session, plan, signal } = job;
  await markDone(job, counts);
  await swap(session, plan, signal);
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
    await session.run(createTableSql(staging, plan.table, 'logged'));
    const counts = await copyRows(job, staging, true);
    job.report(LoadPhase.INDEXING, counts.rows, counts.bytes);
    await buildIndexes(session, plan);
    job.report(LoadPhase.ANALYZING, counts.rows, counts.bytes);
    await session.run(`analyze ${staging}`);
    await publish(job, counts);
    return counts;
  });
}

/** UNLOGGED while it is filled: committed staging that the ledger names, durable and indexed before it is published. */
export async function loadUnlogged(job: LoadJob): Promise<LoadCounts> {
  const { session, plan } = job;
  const staging = quoteTable(plan.staging);
  // Only while loading; what makes the rows durable and visible commits synchronously.
  await session.run(`set synchronous_commit = off`);
  await session.run(createTableSql(staging, plan.table, 'unlogged'));
  const counts = await copyRows(job, staging, false);
  await session.run(`set synchronous_commit = ${session.durableCommit}`);

  const index = async (): Promise<void> => {
    job.report(LoadPhase.INDEXING, counts.rows, counts.bytes);
    await session.transaction(() => buildIndexes(session, plan));
  };
  if (plan.indexOrder === 'before-logged') await index();
  job.report(LoadPhase.LOGGING, counts.rows, counts.bytes);
  await session.transaction(() => session.run(`alter table ${staging} set logged`));
  if (plan.indexOrder === 'after-logged') await index();
  job.report(LoadPhase.ANALYZING, counts.rows, counts.bytes);
  await session.run(`vacuum (freeze, analyze) ${staging}`);

  await session.transaction(async () => {
    // A crash of the server empties an UNLOGGED table and leaves no other sign.
    const [kept] = await session.query<{ rows: number }>(`select count(*)::float8 as rows from ${staging}`);
    if (kept!.rows !== counts.rows) {
      throw new SpillwayError(
        'LoadInterrupted',
        `The staging table of ${showTable(plan.target)} holds ${kept!.rows} of ${counts.rows} rows: the server has crashed meanwhile. Nothing was published.`,
      );
    }
    await session.run(`alter table ${staging} reset (autovacuum_enabled)`);
    await publish(job, counts);
  });
  return counts;
}

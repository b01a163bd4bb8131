import { SpillwayError } from '../../contracts/errors.ts';
import { isServerError } from './failures.ts';
import { quoteIdentifier, quoteTable, showTable } from './identifiers.ts';
import type { LoadPlan } from './load-plan.ts';
import { LoadPhase } from './load-plan.ts';
import { createTableSql } from './schema.ts';
import { withTargetAlone } from './target-lock.ts';
import { copyRows, markDone } from './strategies.ts';
import type { LoadCounts, LoadJob } from './load-job.ts';

const TWICE = '21000';
const LOCK_WAIT_MS = 120_000;

/**
 * Adds rows to a table that is there, in one transaction with the ledger: nobody sees any before COMMIT, a failure leaves none, and readers are held up only
 * where the table has to be altered first. Appended rows are copied straight into the table; merged ones, and those that it is altered for, into a table of this
 * session first.
 */
export async function loadInto(job: LoadJob): Promise<LoadCounts> {
  const { session, plan } = job;
  const straight = plan.write === 'append' && plan.table.alterations.length === 0;
  return session.transaction(async () => {
    await session.run(waitForLocks(plan));
    const counts = straight ? await copyRows(job, quoteTable(plan.target), false) : await overOwnTable(job);
    job.report(LoadPhase.PUBLISHING, counts.rows, counts.bytes);
    await markDone(job, counts);
    job.committing();
    return counts;
  });
}

const waitForLocks = ({ swapWaitMs = LOCK_WAIT_MS }: LoadPlan): string => `set local lock_timeout = '${swapWaitMs}ms'`;

async function overOwnTable(job: LoadJob): Promise<LoadCounts> {
  const { session, plan } = job;
  const own = `pg_temp.${quoteIdentifier(plan.staging.table)}`;
  await session.run(createTableSql(own, plan.table, 'temporary'));
  const counts = await copyRows(job, own, false);
  job.report(LoadPhase.MERGING, counts.rows, counts.bytes);
  await alterTarget(job);
  try {
    const added = await session.run(plan.write === 'merge' ? mergeSql(own, plan) : insertSql(own, plan));
    if (added !== counts.rows)
      throw new SpillwayError('LoadInterrupted', `${added} of ${counts.rows} rows went into ${showTable(plan.target)}. Nothing was published.`); // prettier-ignore
  } catch (error) {
    if (!isServerError(error) || error.code !== TWICE) throw error;
    throw new SpillwayError(
      'LoadRefused',
      `The rows cannot be merged into ${showTable(plan.target)}: two of them have the same key (${plan.table.key.join(', ')}). Choose one of them in the query; nothing was published.`,
      { cause: error },
    );
  }
  return counts;
}

/** Adds and widens columns. From here to COMMIT the table is ours alone. */
async function alterTarget({ session, plan, signal }: LoadJob): Promise<void> {
  const { alterations } = plan.table;
  if (alterations.length === 0) return;
  const statement = `alter table ${quoteTable(plan.target)} ${alterations.join(', ')}`;
  await withTargetAlone(session, plan, signal, async () => ({ done: await session.run(statement) }));
  await session.run(waitForLocks(plan));
}

const columnList = ({ table }: LoadPlan): string => table.columns.map(({ name }) => quoteIdentifier(name)).join(', ');

/** Identities keep the values that the rows have, as with COPY. */
const insertSql = (from: string, plan: LoadPlan): string =>
  `insert into ${quoteTable(plan.target)} (${columnList(plan)}) overriding system value select ${columnList(plan)} from ${from}`;

/** Rows of the same key are updated in all columns that the rows have. */
export function mergeSql(from: string, plan: LoadPlan): string {
  const { columns, key } = plan.table;
  const others = columns.map(({ name }) => name).filter((name) => !key.includes(name));
  // A row that is all key is updated to what it is: it counts as merged, like the others.
  const set = (others.length > 0 ? others : [key[0]!]).map((name) => `${quoteIdentifier(name)} = excluded.${quoteIdentifier(name)}`); // prettier-ignore
  return `${insertSql(from, plan)} on conflict (${key.map(quoteIdentifier).join(', ')}) do update set ${set.join(', ')}`;
}

import { SpillwayError } from '../../contracts/errors.ts';
import { isServerError } from './failures.ts';
import { quoteIdentifier, quoteTable, showTable } from './identifiers.ts';
import type { LoadPlan } from './load-plan.ts';
import { LoadPhase } from './load-plan.ts';
import { createTableSql } from './schema.ts';
import { copyRows, type LoadCounts, type LoadJob, markDone } from './strategies.ts';

const TWICE = '21000';
const LOCK_WAIT_MS = 120_000;

/**
 * Adds rows to a table that is there, in one transaction with the ledger: nobody sees any before COMMIT, a failure leaves none, and readers are never held up.
 * Appended rows are copied straight into the table, merged ones into a table of this session first.
 */
export async function loadInto(job: LoadJob): Promise<LoadCounts> {
  const { session, plan } = job;
  return session.transaction(async () => {
    await session.run(`set local lock_timeout = '${plan.swapWaitMs ?? LOCK_WAIT_MS}ms'`);
    const counts = plan.write === 'merge' ? await merge(job) : await copyRows(job, quoteTable(plan.target), false);
    job.report(LoadPhase.PUBLISHING, counts.rows, counts.bytes);
    await markDone(job, counts);
    job.committing();
    return counts;
  });
}

async function merge(job: LoadJob): Promise<LoadCounts> {
  const { session, plan } = job;
  const own = `pg_temp.${quoteIdentifier(plan.staging.table)}`;
  await session.run(createTableSql(own, plan.table, 'temporary'));
  const counts = await copyRows(job, own, false);
  job.report(LoadPhase.MERGING, counts.rows, counts.bytes);
  try {
    const merged = await session.run(mergeSql(own, plan));
    if (merged !== counts.rows)
      throw new SpillwayError('LoadInterrupted', `${merged} of ${counts.rows} rows went into ${showTable(plan.target)}. Nothing was published.`); // prettier-ignore
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

/** Rows of the same key are updated in all columns that the rows have. */
export function mergeSql(from: string, { target, table: { columns, key } }: LoadPlan): string {
  const list = columns.map(({ name }) => quoteIdentifier(name)).join(', ');
  const others = columns.map(({ name }) => name).filter((name) => !key.includes(name));
  // A row that is all key is updated to what it is: it counts as merged, like the others.
  const set = (others.length > 0 ? others : [key[0]!]).map((name) => `${quoteIdentifier(name)} = excluded.${quoteIdentifier(name)}`); // prettier-ignore
  return `insert into ${quoteTable(target)} (${list}) overriding system value select ${list} from ${from} on conflict (${key.map(quoteIdentifier).join(', ')}) do update set ${set.join(', ')}`;
}

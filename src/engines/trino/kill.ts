import type { Attempt } from '../../handoff/attempt.ts';
import { stepSource, tokenOfSource } from './attempt-names.ts';
import type { RunningQuery, Trino } from './trino-port.ts';
import { queryGone } from './end-query.ts';
import { SUPERSEDED } from './error-table.ts';
import { trinoDetails } from './errors.ts';
import { renderString } from './parameters.ts';

/**
 * Queries that wait or run and whose source begins with `prefix`. A query whose POST nobody followed up is not among them:
 * it has not started and holds nothing.
 */
export async function queriesBySource(trino: Trino, prefix: string): Promise<RunningQuery[]> {
  const rows = await trino.short(
    `SELECT query_id, source, state FROM system.runtime.queries
     WHERE starts_with(source, ${renderString(prefix)}) AND state NOT IN ('FINISHED', 'FAILED')`,
  );
  return rows.map((row) => ({ queryId: String(row[0]), source: String(row[1]), state: String(row[2]) }));
}

/** Kills queries and waits until each is over on every node. Queries that ended by themselves meanwhile are as good. */
export async function killQueries(
  trino: Trino,
  queries: readonly RunningQuery[],
  message = 'spillway: killed',
): Promise<number> {
  for (const { queryId } of queries) {
    try {
      await trino.short(
        `CALL system.runtime.kill_query(query_id => ${renderString(queryId)}, message => ${renderString(message)})`,
      );
    } catch (error) {
      // NOT_FOUND and NOT_SUPPORTED ("Target query is not running") mean that it has ended; the look below makes sure.
      const name = trinoDetails(error)?.errorName;
      if (name !== 'NOT_FOUND' && name !== 'NOT_SUPPORTED') throw error;
    }
  }
  for (const { queryId } of queries) await queryGone(trino.endpoint, queryId, trino.patience);
  return queries.length;
}

/** Kills the queries of earlier attempts of a step and waits until they are over; says how many there were. */
export async function killLowerTokens(trino: Trino, attempt: Attempt): Promise<number> {
  const queries = await queriesBySource(trino, stepSource(attempt));
  const lower = queries.filter(({ source }) => (tokenOfSource(source) ?? Infinity) < attempt.token);
  return killQueries(trino, lower, `${SUPERSEDED} (token ${attempt.token})`);
}

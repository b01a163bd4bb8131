import { setTimeout as sleep } from 'node:timers/promises';
import type { Client, WorkflowExecutionInfo } from '@temporalio/client';
import { SpillwayError } from '../src/contracts/errors.ts';
import { PoolMessage, poolWorkflowId } from '../src/contracts/pool.ts';
import type { ControlActivities } from '../src/contracts/steps.ts';
import type { PoolState } from '../src/policy/pool/state.ts';

/** Visibility lags behind: the run that was just closed is waited for this long. */
const VISIBLE_WITHIN_MS = 10_000;
const LOOK_EVERY_MS = 200;

export interface LedgerDeps {
  client: Client;
  /** Run of this pool that was last seen alive from this host; undefined when none ever was. */
  lastSeenRun: (pool: string) => string | undefined;
}

/** Reads back what a pool that is no more had lent. */
export function createLedgerActivities({ client, lastSeenRun }: LedgerDeps): Pick<ControlActivities, 'recoverLedger'> {
  return {
    async recoverLedger({ pool, runId }) {
      const workflowId = poolWorkflowId(pool);
      const seen = lastSeenRun(pool);
      const until = Date.now() + VISIBLE_WITHIN_MS;
      let last = await newestBefore(client, workflowId, runId);
      // A run that continued as new has a successor, which is not visible yet; a run seen here must become visible.
      while (
        Date.now() < until &&
        (last ? last.status.name === 'CONTINUED_AS_NEW' : seen !== undefined && seen !== runId)
      ) {
        await sleep(LOOK_EVERY_MS);
        last = await newestBefore(client, workflowId, runId);
      }
      if (!last) return null;
      const { runId: lastRunId } = last;
      // A closed run answers queries by replay, as long as the server keeps its history.
      return client.workflow
        .getHandle(workflowId, lastRunId)
        .query<PoolState>(PoolMessage.LEDGER)
        .catch((cause: unknown) => {
          throw unreadable(pool, lastRunId, firstLine((cause as Error).message));
        });
    },
  };
}

const firstLine = (text: string): string => text.split('\n')[0]!.slice(0, 300).replace(/\.$/, '');

/** Without its cause: of a waiting activity's failure that takes more than 4 kB, stacks and all, the server shows nothing (`limit.mutableStateActivityFailureSize.error`). */
const unreadable = (pool: string, runId: string, because: string): SpillwayError =>
  new SpillwayError(
    'Unexpected',
    `Pool ${pool} stays shut: its last run ${runId} does not say what it had lent, ${because}. Start a worker of the release that served it last; where there is none, end the runs that use this pool, then: temporal workflow delete --workflow-id ${poolWorkflowId(pool)} --run-id ${runId}`,
  );

async function newestBefore(
  client: Client,
  workflowId: string,
  runId: string,
): Promise<WorkflowExecutionInfo | undefined> {
  let newest: WorkflowExecutionInfo | undefined;
  for await (const run of client.workflow.list({ query: `WorkflowId = '${workflowId}'` })) {
    if (run.runId !== runId && (!newest || run.startTime > newest.startTime)) newest = run;
  }
  return newest;
}

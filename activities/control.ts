import { Context } from '@temporalio/activity';
import { type Proof, runOfData } from '../src/contracts/pool.ts';
import type { ControlActivities, ReconcileRequest } from '../src/contracts/steps.ts';
import { shrinkHeapTo } from '../src/engines/trino/heap.ts';
import { demoteRows } from '../src/handoff/demote-rows.ts';
import { isAlive } from '../src/host/process-id.ts';
import type { ActivityDeps } from './deps.ts';
import { isGone } from './holders.ts';
import { createLedgerActivities } from './ledger.ts';
import { proveGone, removeAttempt, removeWholeRun } from './outside.ts';

export interface ControlDeps extends ActivityDeps {
  /** See `LedgerDeps`. */
  lastSeenRun: (pool: string) => string | undefined;
}

/** Short acts on the control queue of a host: they look after what others left. */
export function createControlActivities(deps: ControlDeps): ControlActivities {
  return {
    ...createLedgerActivities(deps),

    async findCheckpoint({ run, step, checkpoint }) {
      const token = Context.current().info.currentAttemptScheduledTimestampMs;
      return (await deps.engines.checkpoints.find({ run, step, token }, checkpoint)) ?? null;
    },

    async dropHandoffs({ pool, run, dataIds, everything, steps, checkpoints }) {
      const { scratch } = deps.engines;
      const drop = (): Promise<{ bytes: number }> => (steps ? scratch.dropSteps(run, steps) : scratch.dropRun(run));
      if (checkpoints === 'drop') await deps.engines.checkpoints.dropRun(run);
      const { bytes } = everything ? await removeWholeRun(deps, run) : await drop();
      const proof: Proof = { kind: 'unlinked', atMs: Date.now(), bytesLeft: 0 };
      await deps.pool.drop(
        pool,
        dataIds.map((dataId) => ({ dataId, proof })),
      );
      return { bytes };
    },

    async demoteRows({ dataId, step, token, scratchBytes }) {
      const rows = { run: runOfData(dataId), step, token };
      const { heartbeat } = Context.current();
      const beat = setInterval(() => heartbeat(), 5_000);
      try {
        const gone = await demoteRows(deps.engines.scratch, rows, scratchBytes > 0);
        return { dataId, token, ...gone };
      } finally {
        clearInterval(beat);
      }
    },

    async reconcile(request) {
      const because = await whyGone(deps, request);
      if (because === undefined) return { kind: 'holder-alive', because: 'its holder is there' };
      if (!('workflowId' in request.holder) && request.token === 0) {
        // A standing charge: its process is what it stood for.
        return { kind: 'free', because, proof: { kind: 'exited', atMs: Date.now(), bytesLeft: 0 } };
      }
      const of = { run: request.leaseId.split('/')[0]!, step: request.step, token: request.token };
      const removed = request.token === 0 ? undefined : await removeAttempt(deps, of);
      const proof = await proveGone(deps, of);
      const what = removed
        ? `; removed ${removed.containers} containers, ${removed.queries} queries, ${removed.loads} loads, ${removed.transforms} transforms`
        : '';
      return { kind: 'free', proof, because: `${because}${what}` };
    },

    async evictEngine({ engine }) {
      const name = engine.replace(/^trino\./, '');
      const pid = deps.engines.trinoPid(name);
      const floor = deps.config.hardware.trino.floorBytes;
      if (pid === undefined) return { kind: 'exited', atMs: Date.now(), bytesLeft: 0 };
      const afterBytes = await shrinkHeapTo(floor, { pid });
      return { kind: 'query-gone', atMs: Date.now(), bytesLeft: Math.max(0, afterBytes - floor) };
    },
  };
}

/** Why a lease may be taken back; undefined while somebody still has it. */
async function whyGone(deps: ControlDeps, request: ReconcileRequest): Promise<string | undefined> {
  if (request.withdrawn) return 'its holder is done with it';
  if (await isGone(deps, request.holder)) return 'its holder is closed';
  const { begun } = request;
  if (begun?.host === deps.host && !isAlive(begun.process)) return `process ${begun.process.pid} is gone`;
  return undefined;
}

import type { Answer } from '../../contracts/pool.ts';
import { engineDataId } from '../../contracts/pool.ts';
import { bytesTo, nextToServe, refusal } from './admission.ts';
import { evictTheIdle, tellGrant, tellRefusal } from './effects.ts';
import type { PolicyOptions } from './policy-options.ts';
import { demoteForHead } from './revoke.ts';
import { wayOut } from './stall.ts';
import type { Effect, Lease, PoolState, Waiting } from './state.ts';
import { sums } from './sums.ts';
import { takeBackForStanding } from './take-back.ts';

/**
 * Serves the queue while somebody can go. The asker of this very event learns it by the answer, the others by signal.
 * Answers the asker's refusal, if that is how it ended.
 */
export function serveQueue(
  draft: PoolState,
  nowMs: number,
  effects: Effect[],
  askerId: string | undefined,
  policy: PolicyOptions,
): Answer | undefined {
  let answer: Answer | undefined;
  const refuse = (index: number, because: string): void => {
    const [refused] = draft.queue.splice(index, 1) as [Waiting];
    draft.stats.refused += 1;
    if (refused.leaseId === askerId) answer = { kind: 'refused', because };
    else tellRefusal(refused, because, effects);
  };
  for (;;) {
    refuseTheImpossible(draft, refuse);
    const next = nextToServe(draft);
    if (next.index >= 0) {
      serve(draft, next, nowMs, effects, askerId, policy);
      continue;
    }
    if (policy.settles === true && takeBackForStanding(draft, nowMs, askerId)) continue;
    const way = wayOut(draft, policy);
    if (!way) break;
    if (way.kind === 'pass') serve(draft, way, nowMs, effects, askerId, policy);
    else
      for (const { leaseId, because } of way.asks)
        refuse(
          draft.queue.findIndex((w) => w.leaseId === leaseId),
          because,
        );
  }
  draft.stats.maxQueue = Math.max(draft.stats.maxQueue, draft.queue.length);
  evictTheIdle(draft, nowMs, effects);
  if (policy.revokes === true) demoteForHead(draft, nowMs, effects, policy);
  return answer;
}

function serve(
  draft: PoolState,
  { index, because }: { index: number; because: string },
  nowMs: number,
  effects: Effect[],
  askerId: string | undefined,
  { settles }: PolicyOptions,
): void {
  const [served] = draft.queue.splice(index, 1) as [Waiting];
  const { leaseId, kind, weight, scratchBytes, holder, step, engine, history, lookedAtMs } = served;
  const bytes = bytesTo(served, sums(draft));
  const lease: Lease = {
    ...{ leaseId, kind, weight, bytes, scratchBytes, holder, step },
    ...(engine === undefined ? {} : { engine }),
    ...(history === undefined ? {} : { history }),
    ...(lookedAtMs === undefined ? {} : { lookedAtMs }),
    ...{ phase: 'granted', token: 0, sinceMs: nowMs, because },
  };
  const kept = served.engine === undefined ? undefined : draft.data[engineDataId(served.engine)];
  if (kept) {
    // Taken over; an engine that kept more than this asks for stays charged for the rest.
    const taken = Math.min(kept.bytes, bytes);
    if (settles === true) lease.tookOver = { ...kept, bytes: taken };
    kept.bytes -= taken;
    if (kept.bytes === 0) delete draft.data[kept.dataId];
  }
  draft.leases[served.leaseId] = lease;
  draft.stats.granted += 1;
  if (served.leaseId !== askerId) tellGrant(lease, served.holder, effects);
}

/** Asks taken before the limits were known, or before they shrank, may turn out impossible; each standing charge shrinks them. */
function refuseTheImpossible(draft: PoolState, refuse: (index: number, because: string) => void): void {
  const now = sums(draft);
  for (let index = draft.queue.length - 1; index >= 0; index -= 1) {
    const because = refusal(draft, draft.queue[index]!, now);
    if (because !== undefined) refuse(index, because);
  }
}

import { engineDataId, type Holder } from '../../contracts/pool.ts';
import { enginesInTheWay } from './admission.ts';
import type { Effect, Lease, PoolState, Waiting } from './state.ts';

/** A holder that was looked after is left alone for this long, so that reports of several workers do not pile up. */
const LOOK_AGAIN_MS = 5_000;
/** An idle engine that was asked to give its memory back collects garbage for a while. */
export const EVICT_AGAIN_MS = 30_000;

/** Processes ask again by themselves; workflows are told. */
export function tellGrant(lease: Lease, holder: Holder, effects: Effect[]): void {
  if (!('workflowId' in holder)) return;
  const message = { leaseId: lease.leaseId, bytes: lease.bytes, because: lease.because };
  effects.push({ kind: 'grant', workflowId: holder.workflowId, runId: holder.runId, message });
}

/** As {@link tellGrant}, for what can never be served. */
export function tellRefusal({ leaseId, holder }: Waiting, because: string, effects: Effect[]): void {
  if (!('workflowId' in holder)) return;
  effects.push({ kind: 'refuse', workflowId: holder.workflowId, runId: holder.runId, message: { leaseId, because } });
}

/** Asks idle engines for what they kept, when the head of the queue cannot start otherwise. */
export function evictTheIdle(draft: PoolState, nowMs: number, effects: Effect[]): void {
  const inTheWay = draft.paused ? undefined : enginesInTheWay(draft);
  if (!inTheWay) return;
  const { head, engines } = inTheWay;
  for (const engine of engines) {
    const kept = draft.data[engineDataId(engine)]!;
    const wasAskedForIt = kept.keptFrom === undefined || head.arrival < kept.keptFrom;
    if (wasAskedForIt && kept.evictedAtMs !== undefined && nowMs - kept.evictedAtMs < EVICT_AGAIN_MS) continue;
    kept.evictedAtMs = nowMs;
    delete kept.keptFrom; // until it has answered
    effects.push({ kind: 'evict', engine });
  }
}

/** What nobody holds any more and is not proven free; the holder may live on and never speak of it again. */
export function lookAfterEnding(draft: PoolState, nowMs: number, effects: Effect[]): void {
  for (const lease of Object.values(draft.leases)) {
    if (lease.phase === 'ending') lookAfter(lease, nowMs, effects, draft.pool);
  }
}

/** Has a control act look whether the holder is gone, and clean up if so. Not again within {@link LOOK_AGAIN_MS}. */
export function lookAfter(of: Lease | Waiting, nowMs: number, effects: Effect[], pool: string): void {
  if (of.lookedAtMs !== undefined && nowMs - of.lookedAtMs < LOOK_AGAIN_MS) return;
  of.lookedAtMs = nowMs;
  const lease = 'phase' in of ? of : undefined;
  effects.push({
    kind: 'reconcile',
    request: {
      pool,
      leaseId: of.leaseId,
      token: lease?.token ?? 0,
      step: of.step,
      withdrawn: lease?.phase === 'ending',
      holder: of.holder,
      ...(lease?.begun ? { begun: lease.begun } : {}),
    },
  });
}

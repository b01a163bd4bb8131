import { engineDataId, type End, type Holder } from '../../contracts/pool.ts';
import type { Lease, PoolState } from './state.ts';

/**
 * Ends a lease: what is kept becomes data; what is left of it stays charged, as the engine's when it has one, else as the
 * remnant of the lease, until a look finds it gone.
 */
export function release(draft: PoolState, lease: Lease, bytesLeft: number, keep: End['keep'], nowMs: number): void {
  delete draft.leases[lease.leaseId];
  let bytes = lease.bytes;
  let scratchBytes = lease.scratchBytes;
  for (const kept of keep) {
    // Never more than was lent: a writer that kept more is charged for all it had, and the rest stays its own fault.
    const data = { bytes: Math.min(kept.bytes, bytes), scratchBytes: Math.min(kept.scratchBytes, scratchBytes) };
    bytes -= data.bytes;
    scratchBytes -= data.scratchBytes;
    const { step, holder, token } = lease;
    draft.data[kept.dataId] = { dataId: kept.dataId, ...data, step, holder, sinceMs: nowMs, token };
  }
  if (lease.engine !== undefined) {
    keepOfEngine(draft, lease, lease.engine, { bytesLeft, bytes }, nowMs);
    return;
  }
  const stuck = Math.min(bytesLeft, bytes);
  if (stuck > 0) {
    const because = 'its step has ended, and left this on the host';
    draft.leases[lease.leaseId] = { ...lease, bytes: stuck, scratchBytes: 0, phase: 'ending', remnant: true, because };
    delete draft.leases[lease.leaseId]!.lookedAtMs; // looks before were about a step that still ran
  }
}

/** Ends a lease that nobody has begun on. What it had taken over of its engine is the engine's again. */
export function giveBack(draft: PoolState, { leaseId, tookOver }: Lease): void {
  delete draft.leases[leaseId];
  if (!tookOver) return;
  const kept = draft.data[tookOver.dataId];
  if (kept) kept.bytes += tookOver.bytes;
  else draft.data[tookOver.dataId] = tookOver;
}

/** What a resident engine did not give back: measured for the whole engine, so it replaces what was charged to it before. */
function keepOfEngine(
  draft: PoolState,
  lease: Lease,
  engine: string,
  held: { bytesLeft: number; bytes: number },
  nowMs: number,
): void {
  const dataId = engineDataId(engine);
  const bytes = Math.min(held.bytesLeft, held.bytes + (draft.data[dataId]?.bytes ?? 0));
  delete draft.data[dataId];
  if (bytes === 0) return;
  // The server's, not the run's: it outlives the run, and is not dropped with the run's data.
  const holder: Holder = lease.begun ?? lease.holder;
  draft.data[dataId] = { dataId, bytes, scratchBytes: 0, step: lease.step, holder, sinceMs: nowMs };
}

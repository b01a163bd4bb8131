import { isEngineData, LeaseKind, runOfData } from '../../contracts/pool.ts';
import { bytesTo, headOf, lendableTo, waitReason } from './admission.ts';
import type { PolicyOptions } from './policy-options.ts';
import { isRevocable } from './revoke.ts';
import type { DataLease, PoolState, Waiting } from './state.ts';
import { sums } from './sums.ts';

/** The way out of a standstill: one waiter that fits passes, or all asks of one run are refused, each for its own reason. */
export type WayOut =
  { kind: 'pass'; index: number; because: string } | { kind: 'refuse'; asks: { leaseId: string; because: string }[] };

/**
 * Who passes or gives way when nothing that runs will ever make room for the head, because what it needs is kept by runs that
 * wait in the queue themselves; undefined as long as anything may still come free. A run drops what it kept when it ends, and a
 * run that waits never ends: without this they would wait for each other for ever.
 */
export function wayOut(state: PoolState, { revokes, settles }: PolicyOptions): WayOut | undefined {
  const now = sums(state);
  const head = headOf(state, now);
  if (!head || state.limitBytes === 0 || state.paused) return undefined;
  if (Object.values(state.leases).some((lease) => lease.kind !== LeaseKind.STANDING)) return undefined; // it ends, with proof
  const stuck = Object.values(state.data).filter((data) => isStuck(state, data));
  // Rows in memory that can be revoked are no reason: a host takes them out of it.
  const bytes = stuck.reduce((sum, data) => sum + (revokes === true && isRevocable(data) ? 0 : data.bytes), 0);
  const scratchBytes = stuck.reduce(
    (sum, data) => sum + data.scratchBytes + (settles === true ? onTheirWay(data) : 0),
    0,
  );
  if (stuck.length === 0) return undefined;
  const fits = bytesTo(head, now) <= lendableTo(head, now) - bytes;
  if (fits && head.scratchBytes <= state.scratchLimitBytes - scratchBytes) return undefined;

  const passing = state.queue.findIndex((w) => waitReason(state, w, now) === undefined);
  if (passing >= 0) {
    return {
      kind: 'pass',
      index: passing,
      because: `fits, and ${head.step} before it waits for what waiting runs keep`,
    };
  }
  // All of one run, or its other asks would go on waiting for what a failing run will never need, and more runs would have to fail.
  const last = state.queue.findLast((w) => stuck.some((data) => isOfRun(data, w)))!;
  const asks = state.queue.filter((w) => runOfData(w.leaseId) === runOfData(last.leaseId));
  return {
    kind: 'refuse',
    asks: asks.map((waiting) => ({
      leaseId: waiting.leaseId,
      because: `${waitReason(state, waiting, now)!}, and the rest is kept by runs that all wait for more themselves; as the last of them it gives way`,
    })),
  };
}

/** Scratch that is charged for rows whose host failed to move them, or will not say how it went: it comes free with their run. */
const onTheirWay = ({ demotion }: DataLease): number =>
  demotion?.phase === 'lost' || demotion?.phase === 'failed' ? demotion.scratchBytes : 0;

/** Idle engines are asked to give back; the data of a run that does not wait goes when that run ends. */
const isStuck = (state: PoolState, data: DataLease): boolean =>
  !isEngineData(data.dataId) && state.queue.some((w) => isOfRun(data, w));

/** By the run in both ids, which a reset keeps; its holder is another then. */
const isOfRun = (data: DataLease, { leaseId }: Waiting): boolean => runOfData(leaseId) === runOfData(data.dataId);

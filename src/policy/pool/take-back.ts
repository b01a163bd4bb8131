import { LeaseKind } from '../../contracts/pool.ts';
import { headOf } from './admission.ts';
import { fitLimit } from './operate.ts';
import { giveBack } from './release.ts';
import type { Lease, PoolState } from './state.ts';
import { sums } from './sums.ts';

/** Longer than it takes from a grant to its begin where a worker is up. */
const BEGINS_WITHIN_MS = 2_000;

/**
 * Takes back what nobody has begun on, when a worker's charge fits without it: perhaps no worker is up, and then nobody ever begins, and the bytes
 * would be lent for ever. A holder whose lease was taken back finds it ended when its attempt begins, and asks anew; who asks again in this very event is
 * answered with what it holds, and keeps it. Answers whether the charge fits now.
 */
export function takeBackForStanding(draft: PoolState, nowMs: number, askerId: string | undefined): boolean {
  const head = headOf(draft);
  if (head?.kind !== LeaseKind.STANDING || draft.limitBytes === 0) return false;
  if (draft.leases[head.leaseId]) return false; // it waits for what it left itself
  const unbegun = Object.values(draft.leases)
    .filter((lease) => lease.leaseId !== askerId && isUnbegun(lease, nowMs) && freedBytes(lease) > 0)
    .reverse()
    .sort((a, b) => b.sinceMs - a.sinceMs);
  const comesFree = unbegun.reduce((sum, lease) => sum + freedBytes(lease), 0);
  // A limit that falls to its target takes what comes free first.
  const falls = Math.max(0, draft.limitBytes - (draft.targetBytes ?? draft.limitBytes));
  let lacking = head.bytes + falls - sums(draft).freeBytes;
  if (lacking <= 0 || lacking > comesFree) return false;
  const taken: Lease[] = [];
  for (const lease of unbegun) {
    if (lacking <= 0) break;
    taken.push(lease);
    lacking -= freedBytes(lease);
  }
  for (const lease of taken) {
    // The last one may be so large that it does without some before it.
    if (lacking + freedBytes(lease) <= 0) lacking += freedBytes(lease);
    else giveBack(draft, lease);
  }
  fitLimit(draft);
  return true;
}

/** What it had taken over of its engine is the engine's again. */
const freedBytes = ({ bytes, tookOver }: Lease): number => bytes - (tookOver?.bytes ?? 0);

const isUnbegun = ({ kind, phase, token, sinceMs }: Lease, nowMs: number): boolean =>
  kind === LeaseKind.WORK && phase === 'granted' && token === 0 && nowMs - sinceMs >= BEGINS_WITHIN_MS;

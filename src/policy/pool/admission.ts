import { engineDataId, isEngineData, LeaseKind, Weight } from '../../contracts/pool.ts';
import { formatBoth, formatBytes } from '../sizes.ts';
import type { DataLease, PoolState, Waiting } from './state.ts';
import { sums, type Sums } from './sums.ts';

/** What an ask is compared by. */
export type Wanted = Pick<
  Waiting,
  'leaseId' | 'kind' | 'weight' | 'bytes' | 'leastBytes' | 'scratchBytes' | 'engine'
> & { arrival?: number };

/**
 * Whether these are to an ask as good as a standing charge: an idle engine was asked for them since it arrived, or for it, and kept them. One that is
 * content with less goes without them at once; to another they are lost when the engine gives back no more. Of its own engine an ask takes over what
 * that kept.
 */
export function isKeptFrom({ dataId, keptFrom = 0, hopelessFrom = 0 }: DataLease, wanted: Wanted): boolean {
  const { engine, leastBytes, arrival } = wanted;
  if (engine !== undefined && dataId === engineDataId(engine)) return false;
  return (
    arrival !== undefined && arrival < (leastBytes === undefined ? hopelessFrom : Math.max(keptFrom, hopelessFrom))
  );
}

const keptBytes = (wanted: Wanted, { kept }: Sums): number =>
  kept.reduce((sum, data) => sum + (isKeptFrom(data, wanted) ? data.bytes : 0), 0);

/** What can be lent to an ask once all else has come back, in bytes. */
export const lendableTo = (wanted: Wanted, now: Sums): number =>
  Math.max(0, now.lendableBytes - keptBytes(wanted, now));

/** What an ask is served with: its bytes, or, of one that says what is enough, all that can be lent to it. */
export const bytesTo = (wanted: Wanted, now: Sums): number =>
  wanted.leastBytes === undefined
    ? wanted.bytes
    : Math.min(wanted.bytes, Math.max(wanted.leastBytes, lendableTo(wanted, now)));

/** Why an ask can never be served, or undefined. Never clamps. */
export function refusal(state: PoolState, wanted: Wanted, now: Sums = sums(state)): string | undefined {
  if (state.limitBytes === 0) return undefined; // no host yet: nobody can say
  if (wanted.kind === LeaseKind.STANDING) {
    if (wanted.bytes <= state.limitBytes) return undefined;
    const [asked, limit] = formatBoth(wanted.bytes, state.limitBytes);
    return `asks a standing charge of ${asked}; pool ${state.pool} has a limit of ${limit}`;
  }
  const bytes = bytesTo(wanted, now);
  const lendableBytes = lendableTo(wanted, now);
  if (bytes > lendableBytes) {
    const [asked, lendable] = formatBoth(bytes, lendableBytes);
    const atLeast = wanted.leastBytes === undefined ? '' : 'at least ';
    const keptFromIt = keptBytes(wanted, now);
    const kept = keptFromIt === 0 ? '' : ` and ${formatBytes(keptFromIt)} that idle engines were asked for and keep`;
    return `asks ${atLeast}${asked}; pool ${state.pool} can lend ${lendable} (limit ${formatBytes(state.limitBytes)} less standing charges of ${formatBytes(now.standingBytes)}${kept})`;
  }
  if (wanted.scratchBytes > state.scratchLimitBytes) {
    const [asked, limit] = formatBoth(wanted.scratchBytes, state.scratchLimitBytes);
    return `asks ${asked} of scratch; pool ${state.pool} has ${limit}`;
  }
  return undefined;
}

/** What an ask takes of the free bytes: what its resident engine kept is taken over, not taken twice. */
function netBytes(state: PoolState, wanted: Wanted, now: Sums): number {
  const bytes = bytesTo(wanted, now);
  return wanted.engine === undefined
    ? bytes
    : Math.max(0, bytes - (state.data[engineDataId(wanted.engine)]?.bytes ?? 0));
}

const heavyWork = (wanted: Wanted): boolean => wanted.kind === LeaseKind.WORK && wanted.weight === Weight.HEAVY;

/** Why an ask has to wait although nobody is before it, or undefined when it fits now. */
export const waitReason = (state: PoolState, wanted: Wanted, now: Sums = sums(state)): string | undefined =>
  lacking(state, wanted, now, netBytes(state, wanted, now));

/**
 * Whether an ask fits into what is free. Without a word of why: hundreds of waiters are looked at in each event, and texts are slow to make where
 * workflows run.
 */
function fits(state: PoolState, wanted: Wanted, now: Sums, takesBytes: number): boolean {
  return (
    state.limitBytes > 0 &&
    (!state.paused || wanted.kind === LeaseKind.STANDING) &&
    // Less than nothing is free in a pool that shrank below what it had lent; who takes nothing goes all the same.
    (takesBytes === 0 || takesBytes <= now.freeBytes) &&
    (wanted.scratchBytes === 0 || wanted.scratchBytes <= now.scratchFreeBytes) &&
    !(now.heavyTaken && heavyWork(wanted)) &&
    !state.leases[wanted.leaseId]
  );
}

function lacking(state: PoolState, wanted: Wanted, now: Sums, takesBytes: number): string | undefined {
  if (fits(state, wanted, now, takesBytes)) return undefined;
  if (state.limitBytes === 0) return 'no host has announced its limits yet; start a worker';
  // Workers still start: without them nothing that runs would ever end.
  if (state.paused && wanted.kind !== LeaseKind.STANDING) return `the pool is paused: ${state.paused.because}`;
  if (state.leases[wanted.leaseId]) return 'what an earlier attempt of it left on the host is not gone yet';
  const freeBytes = Math.max(0, now.freeBytes);
  if (takesBytes > freeBytes) {
    const [needed, free] = formatBoth(bytesTo(wanted, now), freeBytes);
    return `needs ${needed}, ${free} of ${formatBytes(now.lendableBytes)} free`;
  }
  const scratchFreeBytes = Math.max(0, now.scratchFreeBytes);
  if (wanted.scratchBytes > scratchFreeBytes) {
    const [needed, free] = formatBoth(wanted.scratchBytes, scratchFreeBytes);
    return `needs ${needed} of scratch, ${free} of ${formatBytes(state.scratchLimitBytes)} free`;
  }
  return 'another heavy step runs; heavy steps run one at a time';
}

/**
 * Who the free bytes are kept for: a standing charge that fits once running work has ended (a stream of steps must not keep a
 * worker from starting), else the first in the queue. A standing charge that waits for another one holds up nobody.
 */
export function headOf(state: PoolState, now: Sums = sums(state)): Waiting | undefined {
  const standing = state.queue.find((w) => w.kind === LeaseKind.STANDING && w.bytes <= lendableTo(w, now));
  return standing ?? state.queue.find((w) => w.kind !== LeaseKind.STANDING);
}

/**
 * Index of the next waiter to serve, or -1. The head goes when it fits; one behind it goes only beside all that the head will need,
 * and never takes the heavy slot from a heavy head. Standing charges pass: without them nobody polls and nothing ever ends.
 */
export function nextToServe(state: PoolState): { index: number; because: string } {
  const now = sums(state);
  const standing = state.queue.findIndex(
    (w) => w.kind === LeaseKind.STANDING && waitReason(state, w, now) === undefined,
  );
  if (standing >= 0) return { index: standing, because: 'a standing charge that fits goes first' };
  const head = headOf(state, now);
  if (head === undefined) return { index: -1, because: 'nobody waits' };
  const headWaits = waitReason(state, head, now);
  if (headWaits === undefined) return { index: state.queue.indexOf(head), because: 'first in the queue, and it fits' };
  const beside = besideHead(state, head, now);
  const index = state.queue.findIndex((w) => w !== head && w.kind !== LeaseKind.STANDING && beside(w));
  return { index, because: index >= 0 ? `fits beside what ${head.step} will need` : headWaits };
}

/** Whether a waiter takes nothing that the head will need. */
function besideHead(state: PoolState, head: Waiting, now: Sums): (wanted: Waiting) => boolean {
  const headTakes = netBytes(state, head, now);
  const left: Sums = {
    ...now,
    freeBytes: now.freeBytes - headTakes,
    scratchFreeBytes: now.scratchFreeBytes - head.scratchBytes,
    heavyTaken: now.heavyTaken || heavyWork(head),
  };
  // What its own engine kept is the head's to take over, and while it is short of bytes what any idle engine kept.
  const headNeedsKept = (engine: string | undefined): boolean =>
    engine !== undefined && (engine === head.engine || headTakes > Math.max(0, now.freeBytes));
  return (wanted) =>
    fits(state, wanted, left, headNeedsKept(wanted.engine) ? bytesTo(wanted, now) : netBytes(state, wanted, now));
}

/** The head that waits for bytes, and idle engines whose kept bytes would let it start, if they gave them back. */
export function enginesInTheWay(state: PoolState): { head: Waiting; engines: string[] } | undefined {
  const now = sums(state);
  const head = headOf(state, now);
  if (head === undefined || netBytes(state, head, now) <= Math.max(0, now.freeBytes)) return undefined;
  const busy = new Set(Object.values(state.leases).map((lease) => lease.engine));
  const engines = Object.values(state.data)
    .filter((data) => isEngineData(data.dataId) && data.bytes > 0 && !isKeptFrom(data, head))
    .map((data) => data.dataId.slice(engineDataId('').length))
    .filter((engine) => engine !== head.engine && !busy.has(engine));
  return { head, engines };
}

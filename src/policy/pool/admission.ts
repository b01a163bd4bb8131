import { engineDataId, LeaseKind, Weight } from '../../contracts/pool.ts';
import { formatBytes } from '../sizes.ts';
import type { PoolState, Waiting } from './state.ts';
import { sums, type Sums } from './sums.ts';

/** What an ask is compared by. */
export type Wanted = Pick<Waiting, 'kind' | 'weight' | 'bytes' | 'scratchBytes' | 'engine'>;

/** Why an ask can never be served, or undefined. Never clamps. */
export function refusal(state: PoolState, wanted: Wanted): string | undefined {
  if (state.limitBytes === 0) return undefined; // no host yet: nobody can say
  const { lendableBytes, standingBytes } = sums(state);
  if (wanted.kind === LeaseKind.STANDING) {
    return wanted.bytes > state.limitBytes
      ? `a standing charge of ${formatBytes(wanted.bytes)} is more than the pool's limit of ${formatBytes(state.limitBytes)}`
      : undefined;
  }
  if (wanted.bytes > lendableBytes) {
    return `asks ${formatBytes(wanted.bytes)}; pool ${state.pool} can lend ${formatBytes(lendableBytes)} (limit ${formatBytes(state.limitBytes)} less standing charges of ${formatBytes(standingBytes)})`;
  }
  if (wanted.scratchBytes > state.scratchLimitBytes) {
    return `asks ${formatBytes(wanted.scratchBytes)} of scratch; pool ${state.pool} has ${formatBytes(state.scratchLimitBytes)}`;
  }
  return undefined;
}

/** What an ask takes of the free bytes: what its resident engine kept is taken over, not taken twice. */
const netBytes = (state: PoolState, wanted: Wanted): number =>
  wanted.bytes - (wanted.engine === undefined ? 0 : (state.data[engineDataId(wanted.engine)]?.bytes ?? 0));

const heavyWork = (wanted: Wanted): boolean => wanted.kind === LeaseKind.WORK && wanted.weight === Weight.HEAVY;

/** Why an ask has to wait although nobody is before it, or undefined when it fits now. */
export function waitReason(state: PoolState, wanted: Wanted, now: Sums = sums(state)): string | undefined {
  if (state.limitBytes === 0) return 'no host has announced its limits yet; start a worker';
  if (netBytes(state, wanted) > now.freeBytes) {
    return `needs ${formatBytes(wanted.bytes)}, ${formatBytes(Math.max(0, now.freeBytes))} of ${formatBytes(now.lendableBytes)} free`;
  }
  if (wanted.scratchBytes > now.scratchFreeBytes) {
    return `needs ${formatBytes(wanted.scratchBytes)} of scratch, ${formatBytes(Math.max(0, now.scratchFreeBytes))} free`;
  }
  if (heavyWork(wanted) && now.heavyTaken) return 'another heavy step runs; heavy steps run one at a time';
  return undefined;
}

/**
 * Index of the next waiter to serve, or -1. The head goes when it fits; one behind it goes only beside all that the head will need,
 * and never takes the heavy slot from a heavy head. Standing charges pass: without them nobody polls and nothing ever ends.
 */
export function nextToServe(state: PoolState): { index: number; because: string } {
  const now = sums(state);
  const standing = state.queue.findIndex((w) => w.kind === LeaseKind.STANDING && waitReason(state, w, now) === undefined);
  if (standing >= 0) return { index: standing, because: 'a standing charge that fits goes first' };
  const headIndex = state.queue.findIndex((w) => w.kind !== LeaseKind.STANDING);
  const head = state.queue[headIndex];
  if (head === undefined) return { index: -1, because: 'nobody waits' };
  const headWaits = waitReason(state, head, now);
  if (headWaits === undefined) return { index: headIndex, because: 'first in the queue, and it fits' };
  const beside: Sums = {
    ...now,
    freeBytes: now.freeBytes - Math.max(0, netBytes(state, head)),
    scratchFreeBytes: now.scratchFreeBytes - head.scratchBytes,
    heavyTaken: now.heavyTaken || heavyWork(head),
  };
  const index = state.queue.findIndex(
    (w, i) => i !== headIndex && w.kind !== LeaseKind.STANDING && waitReason(state, w, beside) === undefined,
  );
  return { index, because: index >= 0 ? `fits beside what ${head.step} will need` : headWaits };
}

/** Idle engines whose kept bytes would let the head start, if they gave them back. */
export function enginesInTheWay(state: PoolState): string[] {
  const head = state.queue.find((w) => w.kind !== LeaseKind.STANDING);
  if (head === undefined) return [];
  const missing = netBytes(state, head) - sums(state).freeBytes;
  if (missing <= 0) return [];
  const prefix = engineDataId('');
  return Object.values(state.data)
    .filter((data) => data.dataId.startsWith(prefix) && data.bytes > 0)
    .map((data) => data.dataId.slice(prefix.length))
    .filter((engine) => engine !== head.engine);
}

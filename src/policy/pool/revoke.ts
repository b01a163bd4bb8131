import { engineDataId, type Demoted, isEngineData, runOfData } from '../../contracts/pool.ts';
import { bytesTo, headOf, isKeptFrom, lendableTo } from './admission.ts';
import { EVICT_AGAIN_MS } from './effects.ts';
import type { PolicyOptions } from './policy-options.ts';
import type { DataLease, Effect, PoolState, Waiting } from './state.ts';
import { sums } from './sums.ts';

/** Rows that could not be taken out of memory, as somebody reads them or no host did it, are tried again this long after they were. */
const DEMOTE_AGAIN_MS = 5_000;

/** Rows in memory that a host can take out of it. */
export const isRevocable = (data: DataLease): boolean => data.bytes > 0 && data.token !== undefined;

/**
 * Has rows taken out of memory when the head of the queue cannot start otherwise: when it would not fit even if all that runs ended and all idle
 * engines gave back what they kept. So nobody holds memory and waits for more for ever.
 */
export function demoteForHead(draft: PoolState, nowMs: number, effects: Effect[], { settles }: PolicyOptions): void {
  const head = headOf(draft);
  if (head === undefined || draft.paused || draft.limitBytes === 0) return;
  for (const data of toRevoke(draft, head, nowMs)) {
    const scratchBytes = scratchFor(draft, data, head);
    const because = `${head.step} waits for its bytes`;
    const leftBytes = settles === true ? leftOf(data) : 0;
    data.demotion = {
      ...{ phase: 'asked', atMs: nowMs, scratchBytes: Math.max(scratchBytes, leftBytes) },
      ...(leftBytes > 0 && { leftBytes }),
      because,
    };
    const { dataId, step } = data;
    effects.push({ kind: 'demote', request: { pool: draft.pool, dataId, step, token: data.token!, scratchBytes } });
  }
}

/** The youngest first, what the head's own run keeps last; as many as it takes. */
function toRevoke(state: PoolState, head: Waiting, nowMs: number): DataLease[] {
  const now = sums(state);
  const all = Object.values(state.data).filter((data) => !isKeptFrom(data, head));
  // What the head's own engine kept is taken over by it, as far as that goes.
  const own = head.engine === undefined ? undefined : state.data[engineDataId(head.engine)];
  const stays = all.filter((data) => data !== own && !isIdleEngine(data, nowMs) && data.demotion?.phase !== 'asked');
  const kept = stays.reduce((sum, { bytes }) => sum + bytes, 0);
  let lacking = Math.max(bytesTo(head, now), own?.bytes ?? 0) - (lendableTo(head, now) - kept);
  if (lacking <= 0) return [];
  const isOwn = (data: DataLease): boolean => runOfData(data.dataId) === runOfData(head.leaseId);
  const ready = stays.filter((data) => isRevocable(data) && !wasTriedJustNow(data, nowMs));
  ready.sort((a, b) => Number(isOwn(a)) - Number(isOwn(b)) || b.sinceMs - a.sinceMs || b.token! - a.token!);
  const revoked: DataLease[] = [];
  for (const data of ready) {
    if (lacking <= 0) break;
    revoked.push(data);
    lacking -= data.bytes;
  }
  return revoked;
}

/** An engine gives back by itself, once it was asked; one that kept on in spite of it is counted on no more. */
const isIdleEngine = (data: DataLease, nowMs: number): boolean =>
  isEngineData(data.dataId) && nowMs - (data.evictedAtMs ?? nowMs) < EVICT_AGAIN_MS;

const wasTriedJustNow = ({ demotion }: DataLease, nowMs: number): boolean =>
  demotion !== undefined && demotion.phase !== 'lost' && nowMs - demotion.atMs < DEMOTE_AGAIN_MS;

/** What is charged for them on scratch: 0, and they are given up, where it would take what the head needs, or where moving them failed. */
function scratchFor(state: PoolState, data: DataLease, head: Waiting): number {
  const { demotion, bytes } = data;
  if (demotion?.phase === 'failed' || demotion?.leftBytes !== undefined) return 0;
  if (demotion !== undefined && demotion.scratchBytes > 0) return demotion.scratchBytes; // charged before the pool was opened again
  const { scratchFreeBytes } = sums(state);
  return bytes <= scratchFreeBytes - head.scratchBytes ? bytes : 0;
}

/** What an attempt to move them that failed may have left on scratch. */
const leftOf = ({ demotion }: DataLease): number =>
  demotion?.phase === 'failed' ? demotion.scratchBytes : (demotion?.leftBytes ?? 0);

/** A host said how it went. */
export function demoted(draft: PoolState, said: Demoted, nowMs: number): void {
  const data = draft.data[said.dataId];
  if (!data || data.token !== said.token || data.demotion === undefined) return; // dropped, or written anew since
  const { because, scratchBytes, leftBytes } = data.demotion;
  if (said.outcome === 'busy' || said.outcome === 'failed') {
    // Of one that failed nobody knows how far it came: what may be on scratch stays charged.
    const stays = said.outcome === 'failed' ? scratchBytes : (leftBytes ?? 0);
    // A host waits for readers before it says that they are at it: then it is asked again at once.
    const atMs = said.outcome === 'busy' ? data.demotion.atMs : nowMs;
    data.demotion = {
      phase: said.outcome,
      atMs,
      scratchBytes: stays,
      ...(leftBytes !== undefined && { leftBytes }),
      because,
    };
    return;
  }
  data.bytes = 0;
  data.scratchBytes += said.scratchBytes;
  delete data.demotion;
  if (data.scratchBytes === 0) delete draft.data[said.dataId];
}

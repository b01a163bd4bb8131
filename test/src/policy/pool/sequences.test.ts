import { isDeepStrictEqual } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type Answer, isEngineData, LeaseKind } from '../../../../src/contracts/pool.ts';
import { bytesTo, headOf, lendableTo, nextToServe } from '../../../../src/policy/pool/admission.ts';
import type { PoolState } from '../../../../src/policy/pool/state.ts';
import { poolStatus } from '../../../../src/policy/pool/status.ts';
import { policyOf } from '../../../../src/policy/pool/versions.ts';
import { sums } from '../../../../src/policy/pool/sums.ts';
import { anyMove, PoolWorld, type Seen } from './pool-world.ts';

/** Sequences to try, of some 95 events; `npm test -- all` tries more than 100,000 events, `SPILLWAY_POOL_SEQUENCES=20000` more still. */
const SEQUENCES = Number(process.env['SPILLWAY_POOL_SEQUENCES'] ?? 100);

const { isFinite, isSafeInteger } = Number;
const { getOwnPropertySymbols, getPrototypeOf, is, keys, prototype: plain } = Object;
const { isArray } = Array;

const lent = (state: PoolState) => {
  const { standingBytes, lentBytes, scratchLentBytes } = sums(state);
  return { bytes: standingBytes + lentBytes, scratchBytes: scratchLentBytes };
};
/** Leases that came into the ledger because a host found them alive, for as long as they are in it: nobody granted them. */
function noteFound(found: Set<string>, { before, after, event }: Seen): void {
  for (const leaseId of found) if (!after.leases[leaseId]) found.delete(leaseId);
  if (event.kind !== 'announce') return;
  for (const { leaseId } of event.announce.evidence.alive)
    if (after.leases[leaseId] && !before.leases[leaseId]) found.add(leaseId);
}

/** Fails with the event that broke the rule. */
function holds(rule: string, truth: boolean, seen: Seen): void {
  if (!truth)
    throw new Error(
      `${rule}\nevent ${JSON.stringify(seen.event)}\nbefore ${JSON.stringify(seen.before)}\nafter ${JSON.stringify(seen.after)}`,
    );
}

function neverMoreThanThereIs(seen: Seen, found: ReadonlySet<string>): void {
  const { before, after, event } = seen;
  const [was, now] = [lent(before), lent(after)];
  // A host may announce less than is lent, or that more is alive than the ledger knew; nobody else makes it worse.
  if (event.kind !== 'announce') {
    holds('more is lent than the limit', now.bytes <= Math.max(after.limitBytes, was.bytes), seen);
    holds(
      'more scratch is lent than there is',
      now.scratchBytes <= Math.max(after.scratchLimitBytes, was.scratchBytes),
      seen,
    );
  }
  const fresh = Object.values(after.leases).filter(
    (lease) => !before.leases[lease.leaseId] && !found.has(lease.leaseId),
  );
  const served = fresh.filter(
    (lease) =>
      // What an idle engine kept is taken over, not lent anew.
      (now.bytes > after.limitBytes && lease.bytes > 0 && lease.engine === undefined) ||
      (now.scratchBytes > after.scratchLimitBytes && lease.scratchBytes > 0),
  );
  holds('something is lent although more is lent than there is', served.length === 0, seen);
  const heavy = Object.values(after.leases).filter(
    (lease) =>
      lease.kind === LeaseKind.WORK && lease.weight === 'heavy' && lease.remnant !== true && !found.has(lease.leaseId),
  );
  holds('two heavy steps run', heavy.length <= 1, seen);
}

/** A lease that an attempt works on goes only with that attempt's end, or with a report on it. */
function nothingGoesWithoutProof(seen: Seen): void {
  const { before, after, event } = seen;
  const ends = event.kind === 'acquire' ? (event.ask.returns ?? []) : event.kind === 'end' ? [event.end] : [];
  const proofs = event.kind === 'reconciled' ? [event.reconciled] : ends;
  for (const { leaseId, token } of Object.values(before.leases)) {
    const proven = proofs.some((one) => one.leaseId === leaseId && one.token === token);
    holds(
      'a begun lease went without proof',
      token === 0 || after.leases[leaseId]?.token !== undefined || proven,
      seen,
    );
  }
}

/** Rows in memory are lent until a host says that they are gone, or whoever read them does. */
function rowsStayUntilTheyAreGone(seen: Seen): void {
  for (const { dataId, bytes, token } of Object.values(seen.before.data)) {
    if (token === undefined || ['drop', 'demoted'].includes(seen.event.kind)) continue;
    holds('rows in memory went without a word', (seen.after.data[dataId]?.bytes ?? 0) === bytes, seen);
  }
}

/** While the same waiter is the head, what is free for it never becomes less than it needs, but by a grow or a standing charge. */
function theHeadIsKeptFor(seen: Seen): void {
  const { before, after, event } = seen;
  const head = headOf(before);
  if (['grow', 'announce', 'revived'].includes(event.kind) || !head || headOf(after)?.leaseId !== head.leaseId) return;
  // Also one that is lent anew in the event in which what an earlier attempt of it had came back; not one that takes up what it never gave back.
  const fresh = Object.values(after.leases).filter(({ leaseId, phase, ...lease }) => {
    const had = before.leases[leaseId];
    if (!had) return true;
    const resumed = had.token === lease.token && had.sinceMs === lease.sinceMs && had.because === lease.because;
    return phase === 'granted' && had.phase !== 'granted' && !resumed;
  });
  // Served as the head itself, being of a better priority, or passed in a standstill.
  const others = fresh.some(
    ({ kind, because }) => kind === 'standing' || /^(first in the queue|fits, and)/.test(because),
  );
  if (head.engine !== undefined || others) return;
  const [was, now] = [sums(before), sums(after)];
  const shrunk = Math.max(0, before.limitBytes - after.limitBytes); // resized by an operator: lent to nobody
  holds(
    'bytes kept for the head were lent to others',
    now.freeBytes + shrunk >= Math.min(was.freeBytes, bytesTo(head, now)),
    seen,
  );
  holds(
    'scratch kept for the head was lent to others',
    now.scratchFreeBytes >= Math.min(was.scratchFreeBytes, head.scratchBytes),
    seen,
  );
  const heavyHead = head.kind === 'work' && head.weight === 'heavy';
  const tookSlot = fresh.some(({ kind, weight }) => kind === 'work' && weight === 'heavy');
  holds('the slot of a heavy head was given to another', !heavyHead || !tookSlot, seen);
}

/** Who said what is enough is served with all that can be lent, between that and what it asked for; all others with what they asked for. */
function servedWithWhatWasAsked({ before, after, event, ...rest }: Seen): void {
  const asks = new Map(before.queue.map((waiting) => [waiting.leaseId, waiting]));
  if (event.kind === 'acquire' && !asks.has(event.ask.leaseId)) asks.set(event.ask.leaseId, { ...event.ask } as never);
  for (const { leaseId, bytes, phase } of Object.values(after.leases)) {
    const ask = asks.get(leaseId);
    if (before.leases[leaseId] || phase !== 'granted' || !ask) continue;
    const served = bytes <= ask.bytes && bytes >= (ask.leastBytes ?? ask.bytes);
    holds(`${leaseId} was served with ${bytes}`, served, { before, after, event, ...rest });
  }
}

/** Who is told that it holds something does. What nobody began goes without its holder's word only for a worker's charge, and only when that takes it. */
function grantsStand(seen: Seen): void {
  const { before, after, event, answer, nowMs } = seen;
  if (event.kind === 'acquire' && (answer as Answer).kind === 'granted')
    holds('the asker was told of a lease that is not there', after.leases[event.ask.leaseId] !== undefined, seen);
  const ofThemselves = event.kind === 'acquire' ? [event.ask.replaces, ...(event.ask.returns ?? []).map(({ leaseId }) => leaseId)] : JSON.stringify(event); // prettier-ignore
  const gone = Object.values(before.leases).filter(
    ({ leaseId, token, phase }) =>
      token === 0 && phase === 'granted' && !after.leases[leaseId] && !ofThemselves.includes(leaseId),
  );
  if (gone.length === 0) return;
  const frees = gone.map(({ bytes, tookOver }) => bytes - (tookOver?.bytes ?? 0));
  const charges = Object.values(after.leases).filter(
    ({ leaseId, kind, phase }) =>
      kind === LeaseKind.STANDING && phase === 'granted' && before.leases[leaseId]?.phase !== 'granted',
  );
  const took = charges.reduce((sum, { bytes }) => sum + bytes, 0);
  holds('a grant was taken back that frees nothing', Math.min(...frees) > 0, seen);
  holds('a grant was taken back for nobody', charges.length > 0, seen);
  holds(
    'a grant of this moment was taken back',
    gone.every(({ sinceMs }) => nowMs - sinceMs >= 2_000),
    seen,
  );
  if (charges.length > 1 || ['announce', 'operate'].includes(event.kind)) return;
  const falls = Math.max(0, before.limitBytes - (after.targetBytes ?? before.limitBytes));
  const short = Math.max(0, -sums(before).freeBytes);
  const freed = frees.reduce((sum, bytes) => sum + bytes, 0);
  holds('a grant was taken back without need', freed - Math.min(...frees) < took + falls + short, seen);
}

function numbersAreWhole(seen: Seen): void {
  for (const held of [...Object.values(seen.after.leases), ...Object.values(seen.after.data), ...seen.after.queue]) {
    for (const key in held) {
      const value = held[key as keyof typeof held] as unknown;
      if (typeof value === 'number' && !(isSafeInteger(value) && value >= 0))
        holds(`${key} of ${held.step} is ${value}`, false, seen);
    }
  }
}

const withoutCounts = ({ stats: _stats, arrivals: _arrivals, ...state }: PoolState) => state;

/** Whether a value reads back from JSON as it is. Walked: a round trip of each state takes longer than all else here. */
function isPlainJson(value: unknown): boolean {
  if (typeof value === 'number') return isFinite(value) && !is(value, -0);
  if (typeof value !== 'object' || value === null)
    return value === null || typeof value === 'string' || typeof value === 'boolean';
  if (getOwnPropertySymbols(value).length > 0) return false;
  if (isArray(value)) return keys(value).length === value.length && value.every(isPlainJson);
  if (getPrototypeOf(value) !== plain) return false;
  for (const key in value) if (!isPlainJson((value as Record<string, unknown>)[key])) return false;
  return true;
}

/** Whether the same event, told again, would be about another thing: the grant that followed, an engine that was asked again, an ask of other bytes. */
function secondIsOfAnother({ event, before, after }: Seen): boolean {
  if (event.kind === 'undeliverable') return !before.leases[event.leaseId] && after.leases[event.leaseId] !== undefined;
  if (event.kind === 'drop') {
    const { dataId } = event.drop;
    return before.data[dataId]?.evictedAtMs !== after.data[dataId]?.evictedAtMs;
  }
  if (event.kind !== 'acquire') return false;
  const { leaseId, bytes, leastBytes } = event.ask;
  const waited = before.queue.find((waiting) => waiting.leaseId === leaseId);
  return waited !== undefined && (waited.bytes !== bytes || waited.leastBytes !== leastBytes);
}

function twiceIsOnce(seen: Seen): void {
  if (!['acquire', 'end', 'withdraw', 'drop', 'reconciled', 'undeliverable'].includes(seen.event.kind)) return;
  // Who gave way in a standstill and asks again is decided anew: its run does not hold up the others any more.
  if (JSON.stringify(seen.answer)?.includes('gives way')) return;
  if (secondIsOfAnother(seen)) return;
  const again = policyOf(seen.after)(seen.after, seen.event, seen.nowMs, { hold: seen.hold });
  holds(
    'the second time changes something',
    isDeepStrictEqual(withoutCounts(again.state), withoutCounts(seen.after)),
    seen,
  );
  const kind = (answer: unknown): unknown => (answer as { kind?: string } | undefined)?.kind;
  holds('the second time is answered otherwise', kind(again.answer) === kind(seen.answer), seen);
  holds('the second time has effects', again.effects.length === 0, seen);
}

function nobodyIsLeftOut(seen: Seen): void {
  const ids = seen.after.queue.map((w) => w.leaseId);
  holds('somebody waits twice', new Set(ids).size === ids.length, seen);
  holds(
    'somebody waits for what it holds',
    ids.every((leaseId) => (seen.after.leases[leaseId]?.phase ?? 'ending') === 'ending'),
    seen,
  );
  if (!seen.hold) holds('somebody waits who could go', nextToServe(seen.after).index === -1, seen);
}

describe('whatever holders, hosts and the network do', () => {
  test(
    'the pool never lends more than there is, answers everybody, and is empty at the end',
    () => {
      let events = 0;
      fc.assert(
        fc.property(
          fc.array(anyMove, { minLength: 60, maxLength: 240, size: 'max' }),
          fc.nat(6),
          (moves, enginesKeep) => {
            let lastToken = 0;
            const found = new Set<string>();
            const world = new PoolWorld((seen) => {
              events += 1;
              noteFound(found, seen);
              neverMoreThanThereIs(seen, found);
              nothingGoesWithoutProof(seen);
              rowsStayUntilTheyAreGone(seen);
              theHeadIsKeptFor(seen);
              servedWithWhatWasAsked(seen);
              grantsStand(seen);
              numbersAreWhole(seen);
              twiceIsOnce(seen);
              nobodyIsLeftOut(seen);
              if (seen.event.kind === 'begin' && seen.answer !== 'stale') {
                const { token } = seen.answer as { token: number };
                holds('a token did not rise', token > lastToken, seen);
                lastToken = token;
              }
              const told = [...world.known].filter(([, known]) => known === 'waits').map(([leaseId]) => leaseId);
              const queued = seen.after.queue.map((w) => w.leaseId);
              holds(
                'somebody waits who was told otherwise, or was told to wait and does not',
                isDeepStrictEqual(told.sort(), queued.sort()),
                seen,
              );
              holds('the state is not plain JSON', isPlainJson(seen.after), seen);
            });
            for (const move of moves) world.play(move);
            world.settle(enginesKeep);
            const { leases, queue, data } = world.state;
            expect(Object.values(leases).filter(({ kind }) => kind !== 'standing')).toEqual([]);
            // Only a standing charge that others leave no room for still waits.
            const now = sums(world.state);
            expect(queue.filter((w) => w.kind !== 'standing' || w.bytes <= lendableTo(w, now))).toEqual([]);
            const ofRuns = Object.values(data).filter(({ dataId }) => !isEngineData(dataId));
            expect(ofRuns).toEqual([]);
            const lentBytes = Object.values(data).reduce((sum, { bytes }) => sum + bytes, 0);
            expect(poolStatus(world.state)).toMatchObject({ lentBytes, scratchLentBytes: 0, heavyTaken: false });
          },
        ),
        // Shrinking a long sequence takes a while; what was found until then is printed with its seed.
        { numRuns: SEQUENCES, includeErrorInReport: true, interruptAfterTimeLimit: 30_000 + 100 * SEQUENCES },
      );
      expect(events).toBeGreaterThan(80 * SEQUENCES);
    },
    60_000 + 100 * SEQUENCES,
  );
});

import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { LeaseKind } from '../../../../src/contracts/pool.ts';
import { nextToServe } from '../../../../src/policy/pool/admission.ts';
import type { PoolState } from '../../../../src/policy/pool/state.ts';
import { poolStatus } from '../../../../src/policy/pool/status.ts';
import { step } from '../../../../src/policy/pool/step.ts';
import { sums } from '../../../../src/policy/pool/sums.ts';
import { anyMove, PoolWorld, type Seen } from './pool-world.ts';

/** Sequences to try; more for a long run: `SPILLWAY_POOL_SEQUENCES=20000`. */
const SEQUENCES = Number(process.env['SPILLWAY_POOL_SEQUENCES'] ?? 200);

const lent = (state: PoolState) => {
  const { standingBytes, lentBytes, scratchLentBytes } = sums(state);
  return { bytes: standingBytes + lentBytes, scratchBytes: scratchLentBytes };
};
const found = (state: PoolState, leaseId: string): boolean =>
  state.leases[leaseId]?.because === 'found alive on the host';

/** Fails with the event that broke the rule. */
function holds(rule: string, truth: boolean, seen: Seen): void {
  if (!truth)
    throw new Error(
      `${rule}\nevent ${JSON.stringify(seen.event)}\nbefore ${JSON.stringify(seen.before)}\nafter ${JSON.stringify(seen.after)}`,
    );
}

function neverMoreThanThereIs(seen: Seen): void {
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
  if (now.bytes > after.limitBytes || now.scratchBytes > after.scratchLimitBytes) {
    const fresh = Object.keys(after.leases).filter((leaseId) => !before.leases[leaseId] && !found(after, leaseId));
    const served =
      now.bytes > after.limitBytes ? fresh : fresh.filter((leaseId) => after.leases[leaseId]!.scratchBytes > 0);
    holds('something new is lent although more is lent than there is', served.length === 0, seen);
  }
  const heavy = Object.values(after.leases).filter(
    (lease) =>
      lease.kind === LeaseKind.WORK &&
      lease.weight === 'heavy' &&
      lease.remnant !== true &&
      !found(after, lease.leaseId),
  );
  holds('two heavy steps run', heavy.length <= 1, seen);
}

function numbersAreWhole(seen: Seen): void {
  for (const held of [...Object.values(seen.after.leases), ...Object.values(seen.after.data), ...seen.after.queue]) {
    for (const [key, value] of Object.entries(held)) {
      if (typeof value === 'number')
        holds(`${key} of ${held.step} is ${value}`, Number.isSafeInteger(value) && value >= 0, seen);
    }
  }
}

const withoutCounts = ({ stats: _stats, arrivals: _arrivals, ...state }: PoolState) => state;

function twiceIsOnce(seen: Seen): void {
  if (!['acquire', 'end', 'withdraw', 'drop', 'reconciled', 'undeliverable'].includes(seen.event.kind)) return;
  const again = step(seen.after, seen.event, seen.nowMs, { hold: seen.hold });
  expect(withoutCounts(again.state)).toEqual(withoutCounts(seen.after));
  if (seen.event.kind === 'acquire')
    expect(again.answer).toMatchObject({ kind: (seen.answer as { kind: string }).kind });
  expect(again.effects).toEqual([]);
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
        fc.property(fc.array(anyMove, { minLength: 40, maxLength: 240, size: 'max' }), (moves) => {
          let lastToken = 0;
          const world = new PoolWorld((seen) => {
            events += 1;
            neverMoreThanThereIs(seen);
            numbersAreWhole(seen);
            twiceIsOnce(seen);
            nobodyIsLeftOut(seen);
            if (seen.event.kind === 'begin' && seen.answer !== 'stale') {
              const { token } = seen.answer as { token: number };
              holds('a token did not rise', token > lastToken, seen);
              lastToken = token;
            }
            const told = [...world.known].filter(([, known]) => known === 'waits').map(([leaseId]) => leaseId);
            expect(told.sort()).toEqual(seen.after.queue.map((w) => w.leaseId).sort());
            expect(JSON.parse(JSON.stringify(seen.after))).toEqual(seen.after);
          });
          for (const move of moves) world.play(move);
          world.settle();
          const { leases, queue, data } = world.state;
          expect(Object.values(leases).filter(({ kind }) => kind !== 'standing')).toEqual([]);
          // Only a standing charge that others leave no room for still waits.
          const { lendableBytes } = sums(world.state);
          expect(queue.filter(({ kind, bytes }) => kind !== 'standing' || bytes <= lendableBytes)).toEqual([]);
          expect(data).toEqual({});
          expect(poolStatus(world.state)).toMatchObject({ lentBytes: 0, scratchLentBytes: 0, heavyTaken: false });
        }),
        { numRuns: SEQUENCES },
      );
      expect(events).toBeGreaterThan(100 * SEQUENCES);
    },
    60_000 + 100 * SEQUENCES,
  );
});

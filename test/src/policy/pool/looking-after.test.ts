import { describe, expect, test } from '@jest/globals';
import { engineDataId, type Ask } from '../../../../src/contracts/pool.ts';
import type { PoolState } from '../../../../src/policy/pool/state.ts';
import type { PoolEvent } from '../../../../src/policy/pool/step.ts';
import { policyOf } from '../../../../src/policy/pool/versions.ts';
import { ask, end, evidence, HOST, PoolDriver, process1, proof, run, standing } from './pool-driver.ts';

const id = 'a/step#0';
const other = 'b/step#0';
const later = { workflowId: 'wf-a', runId: 'a-reset' };

/** A pool of 10 that lent 4 to `a`, begun. */
function begun(over: Partial<Ask> = {}): { pool: PoolDriver; token: number } {
  const pool = new PoolDriver(10);
  pool.acquire({ bytes: 4, scratchBytes: 40, ...over });
  return { pool, token: pool.token() };
}

describe('looking after a holder', () => {
  test('nothing is freed on a suspicion, and one look is on its way at a time', () => {
    const { pool, token } = begun();
    pool.suspect();
    expect(pool.effects).toEqual([
      {
        kind: 'reconcile',
        request: {
          ...{ pool: 'p', leaseId: id, token, step: 'step', withdrawn: false },
          ...{ holder: run('a'), begun: { host: HOST, process: process1 } },
        },
      },
    ]);
    pool.suspect();
    expect(pool.effects).toEqual([]);
    expect(pool.leased).toEqual([id]);
    pool.suspect(id, 5_000);
    expect(pool.told('reconcile')).toEqual([id]);
  });

  test('a waiter is looked after too, and as seldom', () => {
    const { pool } = begun();
    pool.acquire({ leaseId: other, bytes: 9 });
    pool.suspect(other);
    expect(pool.effects).toMatchObject([{ request: { leaseId: other, token: 0, withdrawn: false, holder: run('b') } }]);
    pool.suspect(other);
    expect(pool.effects).toEqual([]);
    pool.reconciled({ leaseId: other, holder: run('b') });
    expect(pool.queued).toEqual([]);
  });

  test('what nobody knows is not looked after', () => {
    const { pool } = begun();
    pool.suspect('nobody/step#0');
    expect(pool.effects).toEqual([]);
  });

  test('a report about an attempt that began anew meanwhile is void', () => {
    const { pool, token } = begun();
    pool.suspect();
    const second = pool.token();
    pool.reconciled({ token });
    expect(pool.leased).toEqual([id]);
    pool.reconciled({ token: second });
    expect(pool.leased).toEqual([]);
    expect(pool.state.stats.reconciled).toBe(1);
  });

  test('a report that finds bytes left keeps them charged, and no attempt may begin on them', () => {
    const { pool, token } = begun({ weight: 'heavy' });
    pool.reconciled({ token, proof: proof(1) });
    expect(pool.sums).toMatchObject({ lentBytes: 1, scratchLentBytes: 40, heavyTaken: true });
    expect(pool.begin()).toBe('stale');
  });

  test('what a dead query left in a resident engine is the engine’s, and takes no slot', () => {
    const { pool, token } = begun({ weight: 'heavy', engine: 'trino' });
    pool.reconciled({ token, proof: proof(3) });
    expect(pool.sums).toMatchObject({ lentBytes: 3, heavyTaken: false });
    expect(pool.state.data[engineDataId('trino')]!.bytes).toBe(3);
  });

  test('a grant that cannot be delivered goes to the next', () => {
    const { pool, token } = begun({ bytes: 10 });
    pool.acquire({ leaseId: other, bytes: 10 });
    pool.acquire({ leaseId: 'c/step#0', bytes: 10 });
    pool.end(id, token);
    pool.tell({ kind: 'undeliverable', leaseId: other, runId: 'b' });
    expect(pool.told('grant')).toEqual(['c/step#0']);
  });

  test('a grant that was told twice and came once is not taken from an attempt that began', () => {
    const { pool } = begun();
    pool.tell({ kind: 'undeliverable', leaseId: id });
    expect(pool.leased).toEqual([id]);
  });
});

describe('a host', () => {
  test('of another name is refused while leases are held, with the ways out', () => {
    const { pool, token } = begun();
    expect(pool.announce({ host: 'there' })).toEqual({
      kind: 'refused',
      because:
        'pool p lends the memory of host here, which still holds leases; name another pool for host there, or stop the workers there first',
    });
    expect(pool.state).toMatchObject({ host: HOST, limitBytes: 10 });
    pool.end(id, token);
    expect(pool.announce({ host: 'there' })).toEqual({ kind: 'accepted' });
  });

  test('that announces less than is lent takes nothing away; nothing new is granted before enough came back', () => {
    const { pool, token } = begun();
    pool.announce({ limitBytes: 3 });
    expect(pool.leased).toEqual([id]);
    expect(pool.acquire({ leaseId: other, bytes: 1 })).toMatchObject({
      kind: 'queued',
      because: 'needs 1 B, 0 B of 3 B free',
    });
    expect(pool.acquire({ leaseId: 'c/step#0', bytes: 0 })).toMatchObject({ kind: 'granted' });
    pool.end(id, token);
    expect(pool.told('grant')).toEqual([other]);
  });

  test('what is found alive there is held until a look proves otherwise', () => {
    const pool = new PoolDriver(10);
    pool.announce({ evidence: evidence([{ leaseId: id, token: 2_000_000, bytes: 8 }]) });
    expect(pool.effects).toMatchObject([
      { kind: 'reconcile', request: { leaseId: id, token: 2_000_000, withdrawn: true } },
    ]);
    expect(pool.acquire({ leaseId: other, bytes: 3 })).toMatchObject({ kind: 'queued' });
    pool.reconciled({ token: 2_000_000 });
    expect(pool.told('grant')).toEqual([other]);
    expect(pool.token(other)).toBeGreaterThan(2_000_000);
  });

  test('what is found alive and known already is charged once; its token is not given again', () => {
    const { pool } = begun();
    pool.announce({ evidence: evidence([{ leaseId: id, token: 2_000_000, bytes: 4 }]) });
    expect(pool.effects).toEqual([]);
    expect(pool.sums.lentBytes).toBe(4);
    expect(pool.token()).toBeGreaterThan(2_000_000);
  });

  test('an ask whose earlier attempt is found alive waits until that is gone', () => {
    const pool = new PoolDriver();
    pool.acquire({ bytes: 4 });
    pool.announce({ evidence: evidence([{ leaseId: id, token: 7, bytes: 4 }]) });
    expect(pool.queued).toEqual([id]);
    expect(pool.acquire({ bytes: 4 })).toMatchObject({ kind: 'queued' });
    pool.reconciled({ token: 7 });
    expect(pool.told('grant')).toEqual([id]);
    expect(pool.sums.lentBytes).toBe(4);
  });
});

describe('a pool that lives on', () => {
  test('tells its grants again when it was revived, and looks again after what is being ended', () => {
    const { pool } = begun();
    pool.acquire({ leaseId: other });
    pool.acquire({ leaseId: 'c/step#0' });
    pool.token('c/step#0');
    pool.withdraw('c/step#0');
    pool.acquire(standing(1));
    pool.tell({ kind: 'revived' });
    expect(pool.told('grant')).toEqual([other]);
    expect(pool.told('reconcile')).toEqual(['c/step#0']);
  });

  test('looks again after what is being ended when it continues in a new run', () => {
    const { pool } = begun();
    pool.withdraw();
    pool.tell({ kind: 'continued' });
    expect(pool.effects).toEqual([]);
    pool.tell({ kind: 'continued' }, 10_000);
    expect(pool.told('reconcile')).toEqual([id]);
  });

  test('its state is plain JSON, and is not changed in place', () => {
    const { pool, token } = begun({ engine: 'trino' });
    pool.acquire({ leaseId: other, bytes: 9 });
    pool.suspect(other);
    const events: PoolEvent[] = [
      { kind: 'end', end: end(id, token, { bytesLeft: 2, keep: [{ dataId: 'a/step', bytes: 1, scratchBytes: 1 }] }) },
      { kind: 'acquire', ask: ask({ leaseId: other, bytes: 9, holder: later }) },
      { kind: 'revived' },
    ];
    for (const event of events) {
      const before = JSON.stringify(pool.state);
      const { state, effects, answer } = policyOf(pool.state)(pool.state, event, pool.nowMs);
      expect(JSON.stringify(pool.state)).toBe(before);
      expect(JSON.parse(JSON.stringify({ state, effects })) as { state: PoolState }).toEqual({ state, effects });
      expect(policyOf(pool.state)(pool.state, event, pool.nowMs)).toEqual({ state, effects, answer });
    }
  });
});

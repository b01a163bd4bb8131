import { describe, expect, test } from '@jest/globals';
import { NEWEST_POLICY } from '../../../../src/policy/pool/versions.ts';
import { poolStatus } from '../../../../src/policy/pool/status.ts';
import { PoolDriver } from './pool-driver.ts';

/** Keeps rows of a step `made` in memory. */
function keeps(pool: PoolDriver, run: string, bytes: number, step = 'made'): void {
  pool.acquire({ leaseId: `${run}/${step}#0`, bytes });
  const token = pool.token(`${run}/${step}#0`);
  pool.end(`${run}/${step}#0`, token, { keep: [{ dataId: `${run}/${step}`, bytes, scratchBytes: 0 }] });
}

describe('rows in memory stay there', () => {
  test('while the head can start once what runs has ended', () => {
    const pool = new PoolDriver(100);
    keeps(pool, 'a', 40);
    pool.acquire({ leaseId: 'b/runs#0', bytes: 50 });
    pool.acquire({ leaseId: 'c/next#0', bytes: 60 });
    expect(pool.told('demote')).toEqual([]);
  });

  test('for who is not the head', () => {
    const pool = new PoolDriver(100);
    keeps(pool, 'a', 40);
    pool.acquire({ leaseId: 'b/runs#0', bytes: 60 });
    pool.acquire({ leaseId: 'c/next#0', bytes: 60 });
    pool.acquire({ leaseId: 'd/wide#0', bytes: 70 });
    expect(pool.told('demote')).toEqual([]);
    pool.end('b/runs#0', pool.token('b/runs#0'));
    expect([pool.told('grant'), pool.told('demote')]).toEqual([['c/next#0'], ['a/made']]); // now it is
  });

  test('in a pool that is paused', () => {
    const pool = new PoolDriver(100);
    keeps(pool, 'a', 40);
    pool.tell({ kind: 'operate', operate: { act: 'pause', because: 'a test' } });
    pool.acquire({ leaseId: 'b/wide#0', bytes: 70 });
    expect(pool.told('demote')).toEqual([]);
    pool.tell({ kind: 'operate', operate: { act: 'resume' } });
    expect(pool.told('demote')).toEqual(['a/made']);
  });

  test('while an idle engine that was just asked may give back enough; no longer once it has kept on', () => {
    const pool = new PoolDriver(100);
    keeps(pool, 'a', 20);
    pool.acquire({ leaseId: 'b/query#0', bytes: 40, engine: 'trino' });
    pool.end('b/query#0', pool.token('b/query#0'), { bytesLeft: 35 });
    pool.acquire({ leaseId: 'c/wide#0', bytes: 70 });
    expect([pool.told('evict'), pool.told('demote')]).toEqual([['trino'], []]);
    pool.tell({ kind: 'continued' }, 10_000);
    expect(pool.told('demote')).toEqual([]);
    pool.tell({ kind: 'continued' }, 25_000); // asked again, since 30 s have gone by
    expect(pool.told('evict')).toEqual(['trino']);
  });
});

describe('rows go from memory', () => {
  test('the youngest first, and as many as it takes', () => {
    const pool = new PoolDriver(100);
    for (const run of ['a', 'b', 'c']) keeps(pool, run, 25);
    pool.acquire({ leaseId: 'd/wide#0', bytes: 70 });
    expect(pool.told('demote')).toEqual(['c/made', 'b/made']);
  });

  test('as soon as the head waits, while others still run', () => {
    const pool = new PoolDriver(100);
    keeps(pool, 'a', 40);
    pool.acquire({ leaseId: 'b/runs#0', weight: 'heavy', bytes: 50 });
    pool.acquire({ leaseId: 'c/wide#0', weight: 'heavy', bytes: 80 });
    expect(pool.told('demote')).toEqual(['a/made']);
    expect(poolStatus(pool.state).leases.find(({ kind }) => kind === 'data')).toMatchObject({ because: 'kept by made; goes from memory to disk, as wide waits for its bytes' }); // prettier-ignore
  });

  test('later, while somebody reads them; other rows go meanwhile', () => {
    const pool = new PoolDriver(100);
    keeps(pool, 'a', 40);
    keeps(pool, 'b', 40);
    pool.acquire({ leaseId: 'c/wide#0', bytes: 60 });
    expect(pool.told('demote')).toEqual(['b/made']);
    pool.demoted('b/made', { outcome: 'busy', scratchBytes: 0 });
    expect(pool.told('demote')).toEqual(['a/made']);
    expect(pool.sums.scratchLentBytes).toBe(40);
    pool.demoted('a/made');
    expect(pool.told('grant')).toEqual(['c/wide#0']);
  });

  test('busy ones again at once, where a host has waited for their readers', () => {
    const pool = new PoolDriver(100);
    keeps(pool, 'a', 40);
    pool.acquire({ leaseId: 'c/wide#0', bytes: 70 });
    pool.nowMs += 20_000;
    pool.demoted('a/made', { outcome: 'busy', scratchBytes: 0 });
    expect(pool.told('demote')).toEqual(['a/made']);
  });

  test('for a head that takes over what its engine kept: that is no room for it', () => {
    const pool = new PoolDriver(100);
    pool.acquire({ leaseId: 'b/query#0', bytes: 45, engine: 'trino' });
    pool.end('b/query#0', pool.token('b/query#0'), { bytesLeft: 45 });
    keeps(pool, 'a', 40);
    pool.acquire({ leaseId: 'c/query#0', bytes: 80, engine: 'trino' });
    expect(pool.told('demote')).toEqual(['a/made']);
    pool.demoted('a/made');
    expect(pool.told('grant')).toEqual(['c/query#0']);
  });

  test('busy ones again after a while', () => {
    const pool = new PoolDriver(100);
    keeps(pool, 'a', 40);
    pool.acquire({ leaseId: 'c/wide#0', bytes: 70 });
    pool.demoted('a/made', { outcome: 'busy', scratchBytes: 0 });
    pool.tell({ kind: 'continued' });
    expect(pool.told('demote')).toEqual([]);
    pool.tell({ kind: 'continued' }, 5_000);
    expect(pool.told('demote')).toEqual(['a/made']);
  });

  test('for good, after a host could not move them; what it may have written stays charged until then', () => {
    const pool = new PoolDriver(100);
    keeps(pool, 'a', 40);
    pool.acquire({ leaseId: 'c/wide#0', bytes: 70 });
    pool.demoted('a/made', { outcome: 'failed', scratchBytes: 0 });
    expect(pool.sums).toMatchObject({ lentBytes: 40, scratchLentBytes: 40 });
    pool.tell({ kind: 'continued' }, 5_000);
    const givenUp = [{ kind: 'demote', request: { dataId: 'a/made', scratchBytes: 0 } }];
    expect(pool.effects).toMatchObject(givenUp);
    expect(pool.sums).toMatchObject({ lentBytes: 40, scratchLentBytes: 40 });
    pool.demoted('a/made', { outcome: 'busy', scratchBytes: 0 });
    pool.tell({ kind: 'continued' }, 5_000);
    expect(pool.effects).toMatchObject(givenUp);
    expect(pool.sums).toMatchObject({ lentBytes: 40, scratchLentBytes: 40 });
    pool.demoted('a/made', { outcome: 'dropped', scratchBytes: 0 });
    expect(pool.sums).toMatchObject({ lentBytes: 70, scratchLentBytes: 0 });
  });

  test('asked anew by a pool that was opened again: it will not hear how it went', () => {
    const pool = new PoolDriver(100);
    keeps(pool, 'a', 40);
    pool.acquire({ leaseId: 'c/wide#0', bytes: 70 });
    pool.tell({ kind: 'revived' });
    expect(pool.effects).toMatchObject([{ kind: 'demote', request: { dataId: 'a/made', scratchBytes: 40 } }]);
    expect(pool.sums.scratchLentBytes).toBe(40);
  });
});

describe('what a host says late', () => {
  test('of rows that were dropped since is void', () => {
    const pool = new PoolDriver(100);
    keeps(pool, 'a', 40);
    const { token } = pool.state.data['a/made']!;
    pool.acquire({ leaseId: 'c/wide#0', bytes: 70 });
    pool.drop('a/made');
    expect(pool.sums.scratchLentBytes).toBe(0);
    keeps(pool, 'a', 10); // computed again: others by now
    pool.tell({
      kind: 'demoted',
      demoted: { dataId: 'a/made', token: token!, outcome: 'moved', scratchBytes: 40, because: 'late' },
    });
    expect(pool.state.data['a/made']).toMatchObject({ bytes: 10, scratchBytes: 0 });
  });
});

describe('a pool of policy 1', () => {
  test('leaves rows where they are, and has the last run that waits give way', () => {
    const pool = new PoolDriver(100, 100, 1);
    for (const run of ['a', 'b']) keeps(pool, run, 40);
    expect(pool.acquire({ leaseId: 'a/wide#0', bytes: 55 })).toMatchObject({ kind: 'queued' });
    expect(pool.acquire({ leaseId: 'b/wide#0', bytes: 55 })).toMatchObject({ kind: 'refused' });
  });

  test('with runs that hold and wait goes on by the next policy: the rows of one go, and the head is served', () => {
    const pool = new PoolDriver(100, 100, 1);
    for (const run of ['a', 'b']) keeps(pool, run, 40);
    pool.acquire({ leaseId: 'a/wide#0', bytes: 55 });
    expect(pool.told('demote')).toEqual([]);
    pool.state = { ...pool.state, policyVersion: NEWEST_POLICY };
    pool.tell({ kind: 'continued' });
    expect(pool.told('demote')).toEqual(['b/made']);
    pool.demoted('b/made');
    expect(pool.told('grant')).toEqual(['a/wide#0']);
  });
});

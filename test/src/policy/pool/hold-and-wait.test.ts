import { describe, expect, test } from '@jest/globals';
import { engineDataId } from '../../../../src/contracts/pool.ts';
import { PoolDriver } from './pool-driver.ts';

/** A run keeps what a step of it made: bytes in memory, or scratch. */
function keeps(pool: PoolDriver, run: string, of: { bytes?: number; scratchBytes?: number }): void {
  const { bytes = 0, scratchBytes = 0 } = of;
  pool.acquire({ leaseId: `${run}/made#0`, bytes: Math.max(1, bytes), scratchBytes });
  pool.end(`${run}/made#0`, pool.token(`${run}/made#0`), { keep: [{ dataId: `${run}/made`, bytes, scratchBytes }] });
}

/** What people fear of a lender of memory, by name; sizes are of a pool of 100. */
describe('hold and wait', () => {
  test('two runs that keep 40 % each in memory and ask 70 %: both keep their rows on disk, and have it one after the other', () => {
    const pool = new PoolDriver(100);
    keeps(pool, 'a', { bytes: 40 });
    keeps(pool, 'b', { bytes: 40 });
    expect(pool.acquire({ leaseId: 'a/wide#0', bytes: 70 })).toMatchObject({ kind: 'queued' });
    // The rows of the other first, then its own: 70 do not fit beside either.
    expect(pool.told('demote')).toEqual(['b/made', 'a/made']);
    expect(pool.acquire({ leaseId: 'b/wide#0', bytes: 70 })).toMatchObject({ kind: 'queued' });
    expect(pool.told('demote')).toEqual([]); // they are on their way
    pool.demoted('b/made');
    pool.demoted('a/made');
    expect(pool.told('grant')).toEqual(['a/wide#0']);
    pool.end('a/wide#0', pool.token('a/wide#0'));
    expect(pool.told('grant')).toEqual(['b/wide#0']);
    expect(pool.sums.scratchLentBytes).toBe(80);
  });

  test('two runs that keep 40 % each in memory and ask 55 %: the rows of one go, and no more than that', () => {
    const pool = new PoolDriver(100);
    keeps(pool, 'a', { bytes: 40 });
    keeps(pool, 'b', { bytes: 40 });
    pool.acquire({ leaseId: 'a/wide#0', bytes: 55 });
    expect(pool.told('demote')).toEqual(['b/made']);
    pool.demoted('b/made');
    expect(pool.told('grant')).toEqual(['a/wide#0']);
    expect(pool.state.data['a/made']).toMatchObject({ bytes: 40, scratchBytes: 0 });
  });

  test('a head whose own input must go: it goes, and is charged as scratch', () => {
    const pool = new PoolDriver(100);
    keeps(pool, 'a', { bytes: 40 });
    expect(pool.acquire({ leaseId: 'a/wide#0', bytes: 70 })).toMatchObject({ kind: 'queued' });
    expect(pool.told('demote')).toEqual(['a/made']);
    expect(pool.sums.scratchLentBytes).toBe(40); // kept free for them while they go
    pool.demoted('a/made');
    expect(pool.told('grant')).toEqual(['a/wide#0']);
    expect(pool.state.data['a/made']).toMatchObject({ bytes: 0, scratchBytes: 40 });
  });

  test('a demotion with a full disk: the rows are dropped, and the head goes', () => {
    const pool = new PoolDriver(100, 100);
    keeps(pool, 'a', { bytes: 40 });
    pool.acquire({ leaseId: 'b/wide#0', bytes: 70 });
    pool.demoted('a/made', { outcome: 'dropped', scratchBytes: 0 }); // the host found its disk full
    expect(pool.told('grant')).toEqual(['b/wide#0']);
    expect(pool.state.data).toEqual({});
    expect(pool.sums.scratchLentBytes).toBe(0);
  });

  test('a demotion that would take the scratch the head needs: the rows are given up at once', () => {
    const pool = new PoolDriver(100, 60);
    keeps(pool, 'a', { bytes: 40 });
    pool.acquire({ leaseId: 'b/wide#0', bytes: 70, scratchBytes: 30 });
    expect(pool.effects).toMatchObject([{ kind: 'demote', request: { dataId: 'a/made', scratchBytes: 0 } }]);
    pool.demoted('a/made', { outcome: 'dropped' });
    expect(pool.told('grant')).toEqual(['b/wide#0']);
  });

  test('as files both have their 70 % one after the other', () => {
    const pool = new PoolDriver(100);
    keeps(pool, 'a', { scratchBytes: 40 });
    keeps(pool, 'b', { scratchBytes: 40 });
    expect(pool.acquire({ leaseId: 'a/wide#0', bytes: 70 })).toMatchObject({ kind: 'granted' });
    expect(pool.acquire({ leaseId: 'b/wide#0', bytes: 70 })).toMatchObject({ kind: 'queued' });
    pool.end('a/wide#0', pool.token('a/wide#0'));
    expect(pool.told('grant')).toEqual(['b/wide#0']);
  });

  test('a join whose branches queue behind its own data: it goes to disk for the head, and all go on', () => {
    const pool = new PoolDriver(100);
    keeps(pool, 'join', { bytes: 30 });
    pool.acquire({ leaseId: 'other/large#0', bytes: 90 });
    expect(pool.told('demote')).toEqual(['join/made']);
    pool.acquire({ leaseId: 'join/left#0', bytes: 35 });
    pool.acquire({ leaseId: 'join/right#0', bytes: 35 });
    pool.demoted('join/made');
    expect(pool.told('grant')).toEqual(['other/large#0']);
    pool.end('other/large#0', pool.token('other/large#0'));
    expect(pool.told('grant')).toEqual(['join/left#0', 'join/right#0']);
  });

  test('a join whose branches queue behind its own scratch: branches that fit go on, and the join after them', () => {
    const pool = new PoolDriver(100);
    keeps(pool, 'join', { scratchBytes: 30 });
    pool.acquire({ leaseId: 'other/large#0', scratchBytes: 90 });
    expect(pool.acquire({ leaseId: 'join/left#0', scratchBytes: 35 })).toMatchObject({ kind: 'granted', because: expect.stringContaining('large before it waits for what waiting runs keep') }); // prettier-ignore
    pool.acquire({ leaseId: 'join/right#0', scratchBytes: 35 });
    pool.end('join/left#0', pool.token('join/left#0'), { keep: [{ dataId: 'join/left', bytes: 0, scratchBytes: 5 }] });
    expect(pool.leased).toEqual(['join/right#0']);
    pool.end('join/right#0', pool.token('join/right#0'), { keep: [{ dataId: 'join/right', bytes: 0, scratchBytes: 5 }] }); // prettier-ignore
    expect(pool.acquire({ leaseId: 'join/joined#0', scratchBytes: 60 })).toMatchObject({ kind: 'granted' });
    pool.end('join/joined#0', pool.token('join/joined#0'));
    for (const made of ['made', 'left', 'right']) pool.drop(`join/${made}`);
    expect(pool.leased).toEqual(['other/large#0']);
  });

  test('two runs that keep 40 % each of the scratch and ask 55 %: files cannot go elsewhere, so the last gives way', () => {
    const pool = new PoolDriver(100);
    keeps(pool, 'a', { scratchBytes: 40 });
    keeps(pool, 'b', { scratchBytes: 40 });
    expect(pool.acquire({ leaseId: 'a/wide#0', scratchBytes: 55 })).toMatchObject({ kind: 'queued' });
    expect(pool.acquire({ leaseId: 'b/wide#0', scratchBytes: 55 })).toMatchObject({ kind: 'refused', because: expect.stringContaining('as the last of them it gives way') }); // prettier-ignore
    pool.drop('b/made'); // b fails with that reason, and its data goes
    expect(pool.told('grant')).toEqual(['a/wide#0']);
  });

  test('two growing writers: each grow is answered at once, one is refused, and neither waits', () => {
    const pool = new PoolDriver(100);
    const [a, b] = ['a', 'b'].map((run) => {
      pool.acquire({ leaseId: `${run}/write#0`, bytes: 40 });
      return pool.token(`${run}/write#0`);
    });
    expect(pool.grow({ leaseId: 'a/write#0', token: a!, bytes: 60, scratchBytes: 0 })).toMatchObject({ kind: 'granted', bytes: 60 }); // prettier-ignore
    expect(pool.grow({ leaseId: 'b/write#0', token: b!, bytes: 60, scratchBytes: 0 })).toEqual({ kind: 'refused', because: '20 B more asked, 0 B free' }); // prettier-ignore
    // Also past somebody who waits: a grow of the one who runs is what will make room.
    pool.acquire({ leaseId: 'c/next#0', bytes: 50 });
    pool.end('a/write#0', a!);
    expect(pool.told('grant')).toEqual(['c/next#0']);
    expect(pool.grow({ leaseId: 'b/write#0', token: b!, bytes: 50, scratchBytes: 0 })).toMatchObject({
      kind: 'granted',
    });
  });

  test('light work under a long heavy head: goes on beside what the head will need, and never takes of that', () => {
    const pool = new PoolDriver(100);
    pool.acquire({ leaseId: 'long/heavy#0', weight: 'heavy', bytes: 50 });
    expect(pool.acquire({ leaseId: 'next/heavy#0', weight: 'heavy', bytes: 60 })).toMatchObject({ kind: 'queued' });
    // 50 are free: the head will need 10 of them beside what the long one gives back, and takes 60 of 100.
    for (let n = 0; n < 20; n += 1) {
      const leaseId = `light${n}/step#0`;
      pool.acquire({ leaseId, bytes: 40 });
      if (pool.leased.includes(leaseId)) pool.end(leaseId, pool.token(leaseId));
    }
    const waiting = pool.queued.filter((leaseId) => leaseId.startsWith('light'));
    pool.end('long/heavy#0', pool.token('long/heavy#0'));
    expect(pool.told('grant')[0]).toBe('next/heavy#0');
    for (const leaseId of [...waiting]) if (pool.leased.includes(leaseId)) pool.end(leaseId, pool.token(leaseId));
    expect(pool.sums.lentBytes).toBeLessThanOrEqual(100);
  });

  test('warm Trino with the head waiting: it is asked back what it kept, and the head goes once that is seen gone', () => {
    const pool = new PoolDriver(100);
    pool.acquire({ leaseId: 'a/query#0', weight: 'heavy', bytes: 60, engine: 'trino' });
    pool.end('a/query#0', pool.token('a/query#0'), { bytesLeft: 45 });
    expect(pool.acquire({ leaseId: 'b/wide#0', weight: 'heavy', bytes: 80 })).toMatchObject({ kind: 'queued' });
    expect(pool.told('evict')).toEqual(['trino']);
    pool.drop(engineDataId('trino'), 30); // it gave back a part
    expect(pool.queued).toEqual(['b/wide#0']);
    pool.drop(engineDataId('trino'), 0);
    expect(pool.told('grant')).toEqual(['b/wide#0']);
  });
});

import { describe, expect, test } from '@jest/globals';
import { type Ask, engineDataId } from '../../../../src/contracts/pool.ts';
import type { PoolState } from '../../../../src/policy/pool/state.ts';
import { HOST, PoolDriver, process1, proof, standing } from './pool-driver.ts';

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

  describe('a resident engine keeps some of its memory in spite of being asked', () => {
    /** 100 can be lent; the server keeps 10 of them when its query has ended. */
    function besideTrino(policyVersion?: PoolState['policyVersion']): PoolDriver {
      const pool = new PoolDriver(100, 100, policyVersion);
      pool.acquire({ leaseId: 'a/query#0', weight: 'heavy', bytes: 60, engine: 'trino' });
      pool.end('a/query#0', pool.token('a/query#0'), { bytesLeft: 10 });
      return pool;
    }
    const wide = (over: Partial<Ask> = {}): Partial<Ask> => ({ leaseId: 'b/wide#0', weight: 'heavy', bytes: 100, leastBytes: 50, ...over }); // prettier-ignore
    const exactly = (leaseId = 'b/wide#0'): Partial<Ask> => ({ leaseId, weight: 'heavy', bytes: 98 });
    const grants = (pool: PoolDriver) => pool.effects.flatMap((effect) => (effect.kind === 'grant' ? [effect.message] : [])); // prettier-ignore

    test('who asks for all that can be lent is lent the rest, once the engine has answered', () => {
      const pool = besideTrino();
      expect(pool.acquire(wide())).toMatchObject({ kind: 'queued', because: 'needs 100 B, 90 B of 100 B free' });
      expect(pool.told('evict')).toEqual(['trino']);
      pool.drop(engineDataId('trino'), 3);
      expect(grants(pool)).toEqual([expect.objectContaining({ leaseId: 'b/wide#0', bytes: 97 })]);
      expect(pool.sums).toMatchObject({ freeBytes: 0, lentBytes: 100 });
    });

    test('policy 2 keeps it waiting for them', () => {
      const pool = besideTrino(2);
      pool.acquire(wide());
      pool.drop(engineDataId('trino'), 3);
      expect(pool.queued).toEqual(['b/wide#0']);
    });

    test('each who comes later has the engine asked anew, and is lent what it gave back since', () => {
      const pool = besideTrino();
      pool.acquire(wide());
      pool.drop(engineDataId('trino'), 3);
      pool.end('b/wide#0', pool.token('b/wide#0'));
      pool.acquire(wide({ leaseId: 'c/wide#0' }));
      expect(pool.told('evict')).toEqual(['trino']);
      expect(pool.queued).toEqual(['c/wide#0']);
      pool.drop(engineDataId('trino'), 0);
      expect(grants(pool)).toEqual([expect.objectContaining({ leaseId: 'c/wide#0', bytes: 100 })]);
    });

    test('less than what is enough is lent to nobody', () => {
      const pool = besideTrino();
      pool.acquire(wide({ leastBytes: 95 }));
      pool.drop(engineDataId('trino'), 10);
      expect([pool.told('refuse'), pool.queued]).toEqual([['b/wide#0'], []]);
      expect(pool.effects).toMatchObject([{ message: { because: 'asks at least 95 B; pool p can lend 90 B (limit 100 B less standing charges of 0 B and 10 B that idle engines were asked for and keep)' } }]); // prettier-ignore
    });

    test('who needs a size waits while the engine gives back, and is refused when it no longer does', () => {
      const pool = besideTrino();
      pool.acquire(exactly());
      pool.drop(engineDataId('trino'), 5); // half of it came
      expect(pool.queued).toEqual(['b/wide#0']);
      pool.tell({ kind: 'continued' }, 10_000);
      expect(pool.told('evict')).toEqual([]);
      pool.tell({ kind: 'continued' }, 25_000);
      expect(pool.told('evict')).toEqual(['trino']);
      pool.drop(engineDataId('trino'), 5); // nothing more did
      expect([pool.told('refuse'), pool.queued]).toEqual([['b/wide#0'], []]);
      // Who comes later has it asked anew, and may be lucky.
      expect(pool.acquire(exactly('c/wide#0'))).toMatchObject({
        kind: 'queued',
      });
      expect(pool.told('evict')).toEqual(['trino']);
      pool.drop(engineDataId('trino'), 1);
      expect(pool.told('grant')).toEqual(['c/wide#0']);
    });

    test('an answer that comes twice counts once', () => {
      const pool = besideTrino();
      pool.acquire(exactly());
      pool.drop(engineDataId('trino'), 5);
      pool.drop(engineDataId('trino'), 5);
      expect(pool.queued).toEqual(['b/wide#0']);
    });

    test('its own next query takes them over; they are asked for anew when that has ended', () => {
      const pool = besideTrino();
      pool.acquire(wide({ leastBytes: 95 }));
      pool.drop(engineDataId('trino'), 10);
      expect(pool.acquire({ leaseId: 'd/query#0', weight: 'heavy', bytes: 100, engine: 'trino' })).toMatchObject({ kind: 'granted' }); // prettier-ignore
      pool.end('d/query#0', pool.token('d/query#0'), { bytesLeft: 10 });
      pool.acquire(wide({ leaseId: 'e/wide#0' }));
      expect(pool.told('evict')).toEqual(['trino']);
      pool.drop(engineDataId('trino'), 0);
      expect(pool.told('grant')).toEqual(['e/wide#0']);
    });
  });

  test('scratch that is charged for rows whose host failed to move them keeps nobody waiting for ever', () => {
    const pool = new PoolDriver(100, 100);
    pool.acquire({ leaseId: 'a/made#0', bytes: 40 });
    pool.end('a/made#0', pool.token('a/made#0'), { keep: [{ dataId: 'a/made', bytes: 40, scratchBytes: 0 }] });
    pool.acquire({ leaseId: 'b/wide#0', bytes: 70 });
    expect(pool.told('demote')).toEqual(['a/made']);
    pool.acquire({ leaseId: 'a/next#0', bytes: 10, scratchBytes: 80 });
    pool.withdraw('b/wide#0');
    expect(pool.queued).toEqual(['a/next#0']);
    pool.tell({ kind: 'revived' }); // the host's word is lost with the pool that heard it
    expect(pool.told('refuse')).toEqual(['a/next#0']); // its own run keeps what it waits for
  });

  describe('a worker stops, and its bytes go to a step that waited', () => {
    /** A pool of 100 whose worker has just stopped, with which its bytes came to a step that asks for all that can be lent. */
    function nobodyBegins(): PoolDriver {
      const pool = new PoolDriver(100);
      pool.acquire(standing(20));
      pool.acquire({ leaseId: 'b/light#0', bytes: 10 });
      const token = pool.token('b/light#0');
      expect(pool.acquire({ leaseId: 'a/whole#0', bytes: 90, leastBytes: 60 })).toMatchObject({ kind: 'queued' });
      pool.withdraw(standing(20).leaseId);
      expect(pool.told('grant')).toEqual(['a/whole#0']);
      pool.end('b/light#0', token);
      expect(pool.sums.freeBytes).toBe(10);
      return pool;
    }
    const next = standing(20, { leaseId: 'standing/here/next' });

    test('the worker that comes next gets them back, as nobody could ever begin; the step finds its lease ended, and asks anew', () => {
      const pool = nobodyBegins();
      expect(pool.acquire(next)).toMatchObject({ kind: 'granted' });
      expect(pool.begin('a/whole#0')).toBe('stale');
      expect(pool.acquire({ leaseId: 'a/whole#1', replaces: 'a/whole#0', bytes: 90, leastBytes: 60 })).toMatchObject({ kind: 'granted', bytes: 80 }); // prettier-ignore
    });

    test('who asks again in the event that would take its grant back is told that it holds it, and does', () => {
      const pool = new PoolDriver(100);
      pool.acquire({ leaseId: 'a/wide#0', bytes: 90 });
      expect(pool.acquire(standing(20))).toMatchObject({ kind: 'queued' });
      expect(pool.acquire({ leaseId: 'a/wide#0', bytes: 95 })).toMatchObject({ kind: 'granted', bytes: 90 }); // two seconds after the grant
      expect(pool.leased).toEqual(['a/wide#0']);
    });

    test('no more of them than it takes, the youngest grants first', () => {
      const pool = nobodyBegins();
      pool.acquire({ leaseId: 'c/more#0', bytes: 10 });
      pool.tell({ kind: 'continued' }, 2_000);
      expect(pool.acquire(standing(10, { leaseId: 'standing/here/next' }))).toMatchObject({ kind: 'granted' });
      expect(pool.leased).toEqual(expect.arrayContaining(['a/whole#0']));
      expect(pool.leased).not.toContain('c/more#0');
    });

    test('none without which it fits as well', () => {
      const pool = nobodyBegins();
      pool.acquire({ leaseId: 'c/small#0', bytes: 10 });
      pool.tell({ kind: 'continued' }, 2_000);
      expect(pool.acquire(standing(20))).toMatchObject({ kind: 'granted' });
      expect(pool.leased).toEqual(['c/small#0', standing(20).leaseId]);
    });

    test('none while the charge waits for what an earlier process of its name left', () => {
      const pool = new PoolDriver(100);
      const { leaseId, holder } = standing(10);
      pool.acquire(standing(10));
      pool.acquire({ leaseId: 'a/wide#0', bytes: 80 });
      pool.reconciled({ leaseId, holder, proof: proof(5) });
      const later = { host: HOST, process: { ...process1, startedAt: 2 } };
      expect(pool.acquire(standing(20, { holder: later }))).toMatchObject({ kind: 'queued' });
      expect(pool.leased).toEqual([leaseId, 'a/wide#0']);
      pool.reconciled({ leaseId, holder });
      expect(pool.leased).toEqual(['a/wide#0', leaseId]);
    });

    test('none that would free nothing: its bytes are its engine’s', () => {
      const pool = new PoolDriver(100);
      const query = { weight: 'heavy', bytes: 30, engine: 'trino' } as const;
      pool.acquire({ leaseId: 'a/query#0', ...query });
      pool.end('a/query#0', pool.token('a/query#0'), { bytesLeft: 30 });
      pool.acquire({ leaseId: 'c/wide#0', bytes: 60 });
      pool.acquire({ leaseId: 'b/query#0', ...query });
      pool.tell({ kind: 'continued' }, 2_000);
      expect(pool.acquire(standing(20))).toMatchObject({ kind: 'granted' });
      expect(pool.leased).toEqual(['b/query#0', standing(20).leaseId]);
    });

    test('what has begun is never taken back', () => {
      const pool = nobodyBegins();
      const token = pool.token('a/whole#0');
      expect(pool.acquire(next)).toMatchObject({ kind: 'queued' });
      pool.tell({ kind: 'acquire', ask: next }, 60_000);
      expect(pool.leased).toEqual(['a/whole#0']);
      pool.end('a/whole#0', token);
      expect(pool.leased).toEqual(['standing/here/next']);
    });

    test('a grant of this moment is left alone: a worker may be about to begin on it', () => {
      const pool = new PoolDriver(100);
      pool.acquire({ leaseId: 'a/wide#0', bytes: 90 });
      expect(pool.acquire(standing(20))).toMatchObject({ kind: 'queued' });
      expect(pool.acquire(standing(20))).toMatchObject({ kind: 'granted' }); // two seconds after the grant
    });
  });

  test.each<[string, (pool: PoolDriver) => void]>([
    ['withdrawn', (pool) => pool.withdraw('b/query#0')],
    ['undeliverable', (pool) => void pool.tell({ kind: 'undeliverable', leaseId: 'b/query#0', runId: 'b' })],
    ['kicked', (pool) => void pool.tell({ kind: 'operate', operate: { act: 'kick', leaseId: 'b/query#0', because: 'a test' } })], // prettier-ignore
    ['taken back', (pool) => void pool.acquire(standing(50))],
  ])(
    "what a grant took over of its engine is the engine's again when the grant is %s before anybody began",
    (_title, give) => {
      const pool = new PoolDriver(100);
      const query = { weight: 'heavy', bytes: 60, engine: 'trino' } as const;
      pool.acquire({ leaseId: 'a/query#0', ...query });
      pool.end('a/query#0', pool.token('a/query#0'), { bytesLeft: 30 });
      expect(pool.state.data[engineDataId('trino')]).toMatchObject({ bytes: 30 });
      pool.acquire({ leaseId: 'b/query#0', ...query });
      expect(pool.state.data[engineDataId('trino')]).toBeUndefined();
      pool.tell({ kind: 'continued' }, 2_000);
      give(pool);
      expect(pool.leased).not.toContain('b/query#0');
      expect(pool.state.data[engineDataId('trino')]).toMatchObject({ bytes: 30 });
    },
  );
});

// Past 250 lines: one table of cases for each message of the contract.
import { describe, expect, test } from '@jest/globals';
import { engineDataId, type Ask } from '../../../../src/contracts/pool.ts';
import { end, HOST, PoolDriver, process1, proof, run, standing } from './pool-driver.ts';

const id = 'a/step#0';
const other = 'b/step#0';
const later = { workflowId: 'wf-a', runId: 'a-reset' };

/** A pool of 10 that lent 4 to `a`, begun. */
function begun(over: Partial<Ask> = {}): { pool: PoolDriver; token: number } {
  const pool = new PoolDriver(10);
  pool.acquire({ bytes: 4, scratchBytes: 40, ...over });
  return { pool, token: pool.token() };
}

describe('asking', () => {
  test('twice with the same id changes nothing, whatever the second ask says', () => {
    const pool = new PoolDriver(10);
    const first = pool.acquire({ bytes: 4 });
    const once = pool.state;
    expect(pool.acquire({ bytes: 9, weight: 'heavy' })).toEqual(first);
    expect(pool.state).toEqual(once);
    pool.acquire({ leaseId: other, bytes: 9 });
    const queued = pool.state;
    expect(pool.acquire({ leaseId: other, bytes: 9 })).toMatchObject({ kind: 'queued', ahead: 0 });
    expect(pool.state).toEqual(queued);
  });

  test('the asker learns of its grant by the answer, who waited by a signal', () => {
    const { pool, token } = begun();
    expect(pool.told('grant')).toEqual([]);
    pool.acquire({ leaseId: other, bytes: 9 });
    pool.end(id, token);
    expect(pool.effects).toEqual([
      {
        ...{ kind: 'grant', workflowId: 'wf-b', runId: 'b' },
        message: { leaseId: other, bytes: 9, because: 'first in the queue, and it fits' },
      },
    ]);
  });

  test('a process is not signalled: it asks again', () => {
    const { pool, token } = begun({ bytes: 8 });
    pool.acquire(standing(6));
    pool.end(id, token);
    expect(pool.leased).toEqual([`standing/${HOST}/worker`]);
    expect(pool.effects).toEqual([]);
  });

  test.each<[string, Partial<Ask>, string]>([
    ['granted', { bytes: 9 }, 'granted'],
    ['queued', { bytes: 8 }, 'queued'],
    ['refused', { bytes: 11 }, 'refused'],
  ])('leases returned with an ask end first, even when it is %s', (kind, over) => {
    const { pool, token } = begun();
    if (kind === 'queued') pool.acquire({ leaseId: 'c/step#0', bytes: 5 });
    expect(pool.acquire({ leaseId: other, ...over, returns: [end(id, token)] })).toMatchObject({ kind });
    expect(pool.leased).not.toContain(id);
  });

  test('while the pool is about to continue as new nothing is granted, and what waited is served afterwards', () => {
    const { pool, token } = begun();
    pool.hold = true;
    expect(pool.acquire({ leaseId: other })).toEqual({
      kind: 'queued',
      ahead: 0,
      because: 'the pool goes on in a new run, and serves it then',
    });
    expect(pool.acquire({ leaseId: 'c/step#0', bytes: 11 })).toMatchObject({ kind: 'refused' });
    expect(pool.acquire({ bytes: 4 })).toMatchObject({ kind: 'granted' });
    pool.end(id, token);
    pool.announce();
    expect(pool.effects).toEqual([]);
    expect(pool.leased).toEqual([]);
    pool.hold = false;
    pool.tell({ kind: 'continued' });
    expect(pool.told('grant')).toEqual([other]);
  });

  test('a waiter that a smaller limit made impossible learns it by the answer when it asks just then', () => {
    const { pool } = begun();
    pool.acquire({ leaseId: other, bytes: 9 });
    pool.hold = true;
    pool.announce({ limitBytes: 8 });
    pool.hold = false;
    expect(pool.acquire({ leaseId: other, bytes: 9 })).toMatchObject({ kind: 'refused' });
    expect(pool.told('refuse')).toEqual([]);
  });
});

describe('a reset run', () => {
  test('takes over what its predecessor waits for', () => {
    const { pool, token } = begun();
    pool.acquire({ leaseId: other, bytes: 9 });
    pool.acquire({ leaseId: other, bytes: 9, holder: { workflowId: 'wf-b', runId: 'b-reset' } });
    pool.end(id, token);
    expect(pool.effects).toMatchObject([{ kind: 'grant', runId: 'b-reset' }]);
  });

  test('takes over a lease, and only its attempts begin from then on', () => {
    const { pool, token } = begun();
    expect(pool.acquire({ bytes: 4, holder: later })).toMatchObject({ kind: 'granted', bytes: 4 });
    expect(pool.begin(id, { runId: 'a' })).toBe('stale');
    expect(pool.begin(id, { runId: later.runId })).toBeGreaterThan(token);
  });

  test('takes back what its predecessor withdrew', () => {
    const { pool, token } = begun();
    pool.withdraw();
    expect(pool.acquire({ bytes: 4, scratchBytes: 40, holder: later })).toMatchObject({ kind: 'granted' });
    expect(pool.begin(id, { runId: later.runId })).toBeGreaterThan(token);
  });

  test('waits when only a part of its lease is left', () => {
    const { pool, token } = begun();
    pool.reconciled({ token, proof: proof(3) });
    expect(pool.acquire({ bytes: 4, scratchBytes: 40, holder: later })).toMatchObject({
      kind: 'queued',
      because: 'what an earlier attempt of it left on the host is not gone yet',
    });
    pool.reconciled({ token });
    expect(pool.told('grant')).toEqual([id]);
  });

  test.each<[string, (pool: PoolDriver) => void]>([
    ['a report about its predecessor', (pool) => pool.reconciled({ holder: run('a') })],
    [
      'a grant that its predecessor did not get',
      (pool) => pool.tell({ kind: 'undeliverable', leaseId: id, runId: 'a' }),
    ],
  ])('loses nothing by %s', (_title, late) => {
    const pool = new PoolDriver(10);
    pool.acquire();
    pool.acquire({ leaseId: other, bytes: 10 });
    pool.acquire({ holder: later });
    pool.acquire({ leaseId: other, bytes: 10, holder: { workflowId: 'wf-b', runId: 'b-reset' } });
    late(pool);
    expect(pool.leased).toEqual([id]);
    pool.reconciled({ leaseId: other, holder: run('b') });
    expect(pool.queued).toEqual([other]);
  });
});

describe('beginning', () => {
  test('gives each attempt a higher token than any before, of any lease', () => {
    const { pool, token } = begun();
    pool.acquire({ leaseId: other });
    const tokens = [token, pool.token(other), pool.token(), pool.token(other)];
    expect(tokens).toEqual([...new Set(tokens)].sort((a, b) => a - b));
  });

  test('tokens rise even when the clock goes back', () => {
    const { pool, token } = begun();
    pool.nowMs -= 100_000;
    expect(pool.token()).toBeGreaterThan(token);
  });

  test('tokens rise over a pool that lost its ledger, because they follow the clock', () => {
    const { token } = begun();
    const reopened = new PoolDriver(10);
    reopened.nowMs = token + 10;
    reopened.acquire();
    expect(reopened.token()).toBeGreaterThan(token);
  });

  test.each<[string, (pool: PoolDriver, token: number) => void]>([
    ['was never lent', (pool, token) => pool.end(id, token)],
    ['was withdrawn', (pool) => pool.withdraw()],
    ['is held by another run', (pool) => pool.acquire({ holder: later })],
    ['is lent in part only', (pool, token) => pool.reconciled({ token, proof: proof(1) })],
  ])('a lease that %s is stale', (_title, before) => {
    const { pool, token } = begun();
    before(pool, token);
    expect(pool.begin()).toBe('stale');
    expect(pool.state.stats.stale).toBe(1);
  });

  test('a waiter cannot begin', () => {
    const { pool } = begun();
    pool.acquire({ leaseId: other, bytes: 9 });
    expect(pool.begin(other)).toBe('stale');
  });
});

describe('ending', () => {
  test('gives the bytes back once, and only to the newest attempt', () => {
    const { pool, token } = begun();
    const second = pool.token();
    pool.end(id, token);
    expect(pool.leased).toEqual([id]);
    pool.end(id, second);
    pool.end(id, second);
    expect(pool.sums).toMatchObject({ lentBytes: 0, scratchLentBytes: 0 });
    expect(pool.state.stats.ended).toBe(1);
  });

  test('an end of an earlier life of the lease does not end the new one', () => {
    const { pool, token } = begun();
    pool.end(id, token);
    pool.acquire({ bytes: 4 });
    pool.end(id, token);
    expect(pool.leased).toEqual([id]);
  });

  test('what is kept stays charged as data in the same event', () => {
    const { pool, token } = begun();
    pool.end(id, token, { keep: [{ dataId: 'a/step', bytes: 1, scratchBytes: 30 }] });
    expect(pool.sums).toMatchObject({ lentBytes: 1, scratchLentBytes: 30 });
    expect(pool.state.data['a/step']).toMatchObject({ step: 'step', holder: run('a') });
    pool.drop('a/step', 1);
    expect(pool.sums.lentBytes).toBe(1);
    pool.drop('a/step');
    pool.drop('a/step');
    expect(pool.state.data).toEqual({});
  });

  test('never more is kept than was lent', () => {
    const { pool, token } = begun();
    pool.end(id, token, {
      bytesLeft: 9,
      keep: [
        { dataId: 'a/one', bytes: 3, scratchBytes: 30 },
        { dataId: 'a/two', bytes: 3, scratchBytes: 30 },
      ],
    });
    expect(pool.state.data).toMatchObject({
      'a/one': { bytes: 3, scratchBytes: 30 },
      'a/two': { bytes: 1, scratchBytes: 10 },
    });
    expect(pool.sums).toMatchObject({ lentBytes: 4, scratchLentBytes: 40 });
  });

  test('what the proof says is left stays charged without the heavy slot, and is looked after until it is gone', () => {
    const { pool, token } = begun({ weight: 'heavy' });
    pool.end(id, token, { bytesLeft: 3 });
    expect(pool.effects).toMatchObject([{ kind: 'reconcile', request: { leaseId: id, token, withdrawn: true } }]);
    expect(pool.sums).toMatchObject({ lentBytes: 3, heavyTaken: false });
    pool.end(id, token); // a duplicate proves nothing about what was left
    expect(pool.sums.lentBytes).toBe(3);
    pool.reconciled({ token, holder: run('a'), proof: proof(2) });
    expect(pool.sums.lentBytes).toBe(2);
    pool.reconciled({ token, holder: run('a') });
    expect(pool.sums.lentBytes).toBe(0);
  });

  test('what a resident engine did not give back becomes the data of that engine, not of the run', () => {
    const { pool, token } = begun({ engine: 'trino' });
    pool.end(id, token, { bytesLeft: 3 });
    expect(pool.leased).toEqual([]);
    expect(pool.state.data).toEqual({
      [engineDataId('trino')]: expect.objectContaining({
        bytes: 3,
        scratchBytes: 0,
        holder: { host: HOST, process: process1 },
      }),
    });
  });
});

test('a resident engine is never charged for more than was lent on it', () => {
  const { pool, token } = begun({ engine: 'trino' });
  pool.end(id, token, { bytesLeft: 9 });
  expect(pool.sums.lentBytes).toBe(4);
});

describe('withdrawing', () => {
  test('frees what never began, and an ask that waits', () => {
    const pool = new PoolDriver(10);
    pool.acquire({ bytes: 4 });
    pool.acquire({ leaseId: other, bytes: 9 });
    pool.acquire({ leaseId: 'c/step#0', bytes: 9 });
    pool.withdraw(other);
    pool.withdraw();
    pool.withdraw();
    expect(pool.leased).toEqual(['c/step#0']);
    expect(pool.queued).toEqual([]);
  });

  test('what has begun keeps its bytes until proof comes, and is looked after once', () => {
    const { pool, token } = begun();
    pool.withdraw();
    expect(pool.effects).toMatchObject([
      { kind: 'reconcile', request: { leaseId: id, token, withdrawn: true, begun: { host: HOST, process: process1 } } },
    ]);
    expect(pool.sums.lentBytes).toBe(4);
    pool.withdraw();
    expect(pool.effects).toEqual([]);
    pool.end(id, token);
    expect(pool.sums.lentBytes).toBe(0);
  });

  test('has the lease looked after although it was looked at a moment ago', () => {
    const { pool } = begun();
    pool.suspect();
    expect(pool.effects).toMatchObject([{ request: { withdrawn: false } }]);
    pool.withdraw();
    expect(pool.effects).toMatchObject([{ request: { withdrawn: true } }]);
  });

  test('of a standing charge gives it back', () => {
    const pool = new PoolDriver(10);
    pool.acquire(standing(4));
    pool.withdraw(`standing/${HOST}/worker`);
    expect(pool.sums.lendableBytes).toBe(10);
  });
});

describe('growing', () => {
  test('is granted or refused at once, in the bytes that are free', () => {
    const { pool, token } = begun();
    expect(pool.grow({ leaseId: id, token, bytes: 10, scratchBytes: 100 })).toMatchObject({
      kind: 'granted',
      bytes: 10,
    });
    pool.acquire({ leaseId: other, bytes: 0 });
    const second = pool.token(other);
    expect(pool.grow({ leaseId: other, token: second, bytes: 1, scratchBytes: 0 })).toEqual({
      kind: 'refused',
      because: '1 B more asked, 0 B free',
    });
    expect(pool.grow({ leaseId: other, token: second, bytes: 0, scratchBytes: 2 })).toEqual({
      kind: 'refused',
      because: '2 B more of scratch asked, 0 B free',
    });
  });

  test('never takes away: a late duplicate of a smaller one changes nothing', () => {
    const { pool, token } = begun();
    pool.grow({ leaseId: id, token, bytes: 6, scratchBytes: 40 });
    pool.grow({ leaseId: id, token, bytes: 8, scratchBytes: 50 });
    expect(pool.grow({ leaseId: id, token, bytes: 6, scratchBytes: 40 })).toMatchObject({ kind: 'granted', bytes: 8 });
    expect(pool.sums).toMatchObject({ lentBytes: 8, scratchLentBytes: 50 });
  });

  test('to what it has is granted even in a pool that shrank below what is lent', () => {
    const { pool, token } = begun();
    pool.announce({ limitBytes: 2, scratchLimitBytes: 1 });
    expect(pool.grow({ leaseId: id, token, bytes: 4, scratchBytes: 40 })).toMatchObject({ kind: 'granted', bytes: 4 });
    expect(pool.grow({ leaseId: id, token, bytes: 5, scratchBytes: 40 })).toMatchObject({
      because: '1 B more asked, 0 B free',
    });
  });

  test.each<[string, (pool: PoolDriver, token: number) => number]>([
    ['an earlier attempt', (pool, token) => (pool.token(), token)],
    ['a withdrawn lease', (pool, token) => (pool.withdraw(), token)],
    ['no lease', (pool, token) => (pool.end(id, token), token)],
  ])('is refused to %s', (_title, before) => {
    const { pool, token } = begun();
    const held = before(pool, token);
    expect(pool.grow({ leaseId: id, token: held, bytes: 5, scratchBytes: 40 })).toMatchObject({ kind: 'refused' });
  });
});

describe('an ask that replaces one whose attempt found it ended', () => {
  test.each<[string, (pool: PoolDriver) => void]>([
    ['granted since', (pool) => void pool.acquire({ weight: 'heavy' })],
    ['still queued', (pool) => (pool.acquire({ leaseId: 'b/other#0', weight: 'heavy' }), pool.acquire({ weight: 'heavy' }), pool.withdraw('b/other#0'), undefined)], // prettier-ignore
    ['unknown', () => undefined],
  ])('takes that one back: %s', (_title, before) => {
    const pool = new PoolDriver(10);
    before(pool);
    const answer = pool.acquire({ leaseId: 'a/step#1', holder: run('a'), weight: 'heavy', replaces: id });
    expect(answer).toMatchObject({ kind: 'granted' });
    expect(pool.leased).toEqual(['a/step#1']);
    expect(pool.queued).toEqual([]);
  });

  test('waits until what an attempt still does on that one is seen gone', () => {
    const { pool } = begun({ weight: 'heavy' });
    const answer = pool.acquire({ leaseId: 'a/step#1', weight: 'heavy', replaces: id });
    expect(answer).toMatchObject({ kind: 'queued' });
    expect(pool.told('reconcile')).toEqual([id]);
  });
});

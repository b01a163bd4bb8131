import { describe, expect, test } from '@jest/globals';
import type { Operate, OperateAnswer } from '../../../../src/contracts/pool.ts';
import { historiesOf, poolDetails, poolStatus } from '../../../../src/policy/pool/status.ts';
import { PoolDriver, standing } from './pool-driver.ts';

const operate = (pool: PoolDriver, said: Operate): OperateAnswer =>
  pool.tell({ kind: 'operate', operate: said }) as OperateAnswer;
const pause: Operate = { act: 'pause', because: 'a new disk' };

describe('a paused pool', () => {
  test('grants nothing, says why, and goes on where it was', () => {
    const pool = new PoolDriver(10);
    pool.acquire({ leaseId: 'a/one#0', bytes: 3 });
    expect(operate(pool, pause)).toEqual({
      kind: 'done',
      because: 'nothing is granted until it is resumed; 3 B are lent',
    });
    expect(pool.acquire({ leaseId: 'b/two#0', bytes: 1 })).toEqual({ kind: 'queued', ahead: 0, because: 'the pool is paused: a new disk' }); // prettier-ignore
    expect(poolStatus(pool.state)).toMatchObject({
      paused: 'a new disk',
      queue: [{ because: 'the pool is paused: a new disk' }],
    });
    expect(poolDetails(pool.state)).toContain('**Paused: a new disk.**');
    expect(operate(pool, { act: 'resume' })).toEqual({ kind: 'done', because: 'grants go on' });
    expect(pool.told('grant')).toEqual(['b/two#0']);
    expect(poolStatus(pool.state).paused).toBeUndefined();
  });

  test('lets what runs grow and end, and workers start', () => {
    const pool = new PoolDriver(10);
    pool.acquire({ leaseId: 'a/one#0', bytes: 3 });
    const token = pool.token('a/one#0');
    operate(pool, pause);
    expect(pool.grow({ leaseId: 'a/one#0', token, bytes: 5, scratchBytes: 0 })).toMatchObject({ kind: 'granted' });
    expect(pool.acquire(standing(2))).toMatchObject({ kind: 'granted' });
    pool.end('a/one#0', token);
    expect(pool.sums.lentBytes).toBe(0);
  });

  test('says when it was not', () => {
    expect(operate(new PoolDriver(10), { act: 'resume' })).toEqual({ kind: 'done', because: 'it was not paused' });
  });
});

describe('a pool that is resized', () => {
  test('falls as leases end, never below what is lent, and rises at once', () => {
    const pool = new PoolDriver(10);
    pool.acquire({ leaseId: 'a/one#0', bytes: 6 });
    pool.acquire({ leaseId: 'b/two#0', bytes: 2 });
    expect(operate(pool, { act: 'resize', limitBytes: 5 })).toEqual({ kind: 'done', because: 'the limit is 8 B, and falls to 5 B as leases end' }); // prettier-ignore
    expect(poolStatus(pool.state)).toMatchObject({ limitBytes: 8, targetBytes: 5, freeBytes: 0 });
    pool.end('a/one#0', pool.token('a/one#0'));
    expect(poolStatus(pool.state)).toMatchObject({ limitBytes: 5, freeBytes: 3 });
    expect(poolStatus(pool.state).targetBytes).toBeUndefined();
    expect(pool.acquire({ leaseId: 'c/three#0', bytes: 6 })).toMatchObject({ kind: 'refused' });
    expect(operate(pool, { act: 'resize', limitBytes: 9 })).toEqual({ kind: 'done', because: 'the limit is 9 B' });
    expect(pool.acquire({ leaseId: 'd/four#0', bytes: 7 })).toMatchObject({ kind: 'granted' });
  });

  test('stays so when a worker starts anew, as long as its host can lend more', () => {
    const pool = new PoolDriver(10);
    operate(pool, { act: 'resize', limitBytes: 5 });
    pool.announce({ limitBytes: 12 });
    expect(pool.state.limitBytes).toBe(5);
    pool.announce({ limitBytes: 4 });
    expect(pool.state).toMatchObject({ limitBytes: 4 });
    expect(pool.state.targetBytes).toBeUndefined();
  });

  test.each<[string, (pool: PoolDriver) => void, number, RegExp]>([
    ['more than its host has', () => undefined, 11, /at most 10 B, which host here announced, got 11 B/],
    ['no more than its standing charges', (pool) => pool.acquire(standing(4)), 4, /more than the standing charges of 4 B, got 4 B/],
    ['no whole number', () => undefined, 1.5, /got 1.5 B/],
  ])('to %s is refused', (_, before, limitBytes, because) => {
    const pool = new PoolDriver(10);
    before(pool);
    expect(operate(pool, { act: 'resize', limitBytes })).toEqual({ kind: 'refused', because: expect.stringMatching(because) }); // prettier-ignore
    expect(pool.state.limitBytes).toBe(10);
  }); // prettier-ignore

  test('before a host is there is refused', () => {
    expect(operate(new PoolDriver(), { act: 'resize', limitBytes: 5 })).toMatchObject({ kind: 'refused' });
  });
});

describe('a kick', () => {
  const kick = (leaseId: string): Operate => ({ act: 'kick', leaseId, because: 'it hangs' });

  test('of an ask takes it out of the queue, and its holder hears of it', () => {
    const pool = new PoolDriver(10);
    pool.acquire({ leaseId: 'a/one#0', bytes: 10 });
    pool.acquire({ leaseId: 'b/two#0', bytes: 1 });
    expect(operate(pool, kick('b/two#0'))).toMatchObject({ kind: 'done' });
    expect([pool.queued, pool.told('refuse')]).toEqual([[], ['b/two#0']]);
  });

  test('of a lease has what carries it ended before its bytes are lent again', () => {
    const pool = new PoolDriver(10);
    pool.acquire({ leaseId: 'a/one#0', bytes: 10 });
    const token = pool.token('a/one#0');
    pool.acquire({ leaseId: 'b/two#0', bytes: 1 });
    expect(operate(pool, kick('a/one#0'))).toMatchObject({ kind: 'done' });
    expect(pool.effects).toMatchObject([
      { kind: 'reconcile', request: { leaseId: 'a/one#0', token, withdrawn: true } },
    ]);
    expect(pool.queued).toEqual(['b/two#0']);
    expect(pool.begin('a/one#0')).toBe('stale');
    pool.reconciled({ leaseId: 'a/one#0', token });
    expect(pool.told('grant')).toEqual(['b/two#0']);
  });

  test('of a lease that nobody began on frees it at once', () => {
    const pool = new PoolDriver(10);
    pool.acquire({ leaseId: 'a/one#0', bytes: 10 });
    expect(operate(pool, kick('a/one#0'))).toMatchObject({ kind: 'done' });
    expect(pool.leased).toEqual([]);
  });

  test('of a standing charge frees it only if its process is gone', () => {
    const pool = new PoolDriver(10);
    const { leaseId } = standing(2);
    pool.acquire(standing(2));
    expect(operate(pool, kick(leaseId))).toMatchObject({ kind: 'done' });
    expect(pool.effects).toMatchObject([{ kind: 'reconcile', request: { leaseId, withdrawn: false } }]);
    expect(pool.leased).toEqual([leaseId]);
  });

  test('of what is not there, and of data, is refused', () => {
    const pool = new PoolDriver(10);
    expect(operate(pool, kick('x/y#0'))).toMatchObject({ kind: 'refused', because: expect.stringContaining('knows no lease') }); // prettier-ignore
    pool.acquire({ leaseId: 'a/one#0', bytes: 5 });
    pool.end('a/one#0', pool.token('a/one#0'), { keep: [{ dataId: 'a/one', bytes: 2, scratchBytes: 0 }] });
    expect(operate(pool, kick('a/one'))).toMatchObject({ kind: 'refused', because: expect.stringContaining('goes with its run') }); // prettier-ignore
  });
});

describe('what is remembered of a step', () => {
  const history = 'daily/totals';
  const learn = (pool: PoolDriver, name: string): void => {
    pool.acquire({ leaseId: `${name}/totals#0`, bytes: 3, history });
    pool.end(`${name}/totals#0`, pool.token(`${name}/totals#0`));
  };

  test('comes from the ends of its leases, and says when a lease will end', () => {
    const pool = new PoolDriver(10);
    learn(pool, 'a');
    expect(historiesOf(pool.state)).toEqual({
      [history]: {
        runs: [{ peakBytes: 0, inputBytes: 0, leaseBytes: 3, seconds: 1, atMs: pool.nowMs, outputBytes: 0 }],
        lastMs: pool.nowMs,
      },
    });
    expect(historiesOf(pool.state, 'daily')).toHaveProperty([history]);
    expect(historiesOf(pool.state, 'dail')).toEqual({});
    pool.acquire({ leaseId: 'b/totals#0', bytes: 3, history });
    pool.token('b/totals#0');
    const [lease] = poolStatus(pool.state).leases;
    expect(lease!.expectedEndMs).toBe(lease!.sinceMs + 1_000);
  });

  test('is not changed in states that were before', () => {
    const pool = new PoolDriver(10);
    learn(pool, 'a');
    const before = pool.state;
    const text = JSON.stringify(before);
    learn(pool, 'b');
    operate(pool, { act: 'pin', history, bytes: 4 });
    operate(pool, { act: 'forget', history });
    expect(JSON.stringify(before)).toBe(text);
  });

  test('is pinned, and forgotten', () => {
    const pool = new PoolDriver(10);
    expect(operate(pool, { act: 'pin', history, bytes: 4 })).toEqual({ kind: 'done', because: 'the next run of daily/totals starts with 4 B' }); // prettier-ignore
    learn(pool, 'a');
    expect(historiesOf(pool.state)[history]).toMatchObject({ pinnedBytes: 4, runs: [{}] });
    expect(operate(pool, { act: 'forget', history })).toMatchObject({ kind: 'done' });
    expect(historiesOf(pool.state)).toEqual({});
    expect(operate(pool, { act: 'forget', history })).toMatchObject({ kind: 'refused', because: expect.stringContaining('remembers nothing of daily/totals') }); // prettier-ignore
  });

  test('is not pinned to what cannot be lent, nor without end', () => {
    const pool = new PoolDriver(10);
    for (const bytes of [11, 0, -1, 1.5])
      expect(operate(pool, { act: 'pin', history, bytes })).toMatchObject({ kind: 'refused' });
    for (let n = 0; n < 100; n += 1) operate(pool, { act: 'pin', history: `p/${n}`, bytes: 1 });
    expect(operate(pool, { act: 'pin', history, bytes: 1 })).toMatchObject({ kind: 'refused', because: expect.stringContaining('100 steps are pinned already') }); // prettier-ignore
    expect(operate(pool, { act: 'pin', history: 'p/7', bytes: 2 })).toMatchObject({ kind: 'done' });
  });
});

// Past 250 lines: one table of cases for each rule of admission.
import { describe, expect, test } from '@jest/globals';
import { engineDataId, type Ask } from '../../../../src/contracts/pool.ts';
import { GiB } from '../../../../src/policy/sizes.ts';
import { PoolDriver, run, standing } from './pool-driver.ts';

const heavy = { weight: 'heavy' } as const;
const light = { weight: 'light' } as const;

describe('an ask that can never be served is refused at once, with both numbers', () => {
  test.each<[string, Partial<Ask>, string]>([
    [
      'more than the pool can lend',
      { bytes: 9 * GiB },
      'asks 9 GiB; pool p can lend 8 GiB (limit 10 GiB less standing charges of 2 GiB)',
    ],
    [
      'one byte more than can be lent',
      { bytes: 8 * GiB + 1 },
      'asks 8589934593 B; pool p can lend 8589934592 B (limit 10 GiB less standing charges of 2 GiB)',
    ],
    ['more scratch than there is', { scratchBytes: 200 * GiB }, 'asks 200 GiB of scratch; pool p has 100 GiB'],
    [
      'a standing charge over the limit',
      { kind: 'standing', bytes: 11 * GiB },
      'asks a standing charge of 11 GiB; pool p has a limit of 10 GiB',
    ],
  ])('%s', (_title, over, because) => {
    const pool = new PoolDriver(10 * GiB, 100 * GiB);
    pool.acquire(standing(2 * GiB));
    expect(pool.acquire(over)).toEqual({ kind: 'refused', because });
    expect(pool.queued).toEqual([]);
    expect(pool.state.stats.refused).toBe(1);
  });

  test.each<[string, Partial<Ask>]>([
    ['all that can be lent', { bytes: 8 }],
    ['all the scratch', { scratchBytes: 100 }],
    ['nothing', { bytes: 0 }],
  ])('%s is not too much', (_title, over) => {
    const pool = new PoolDriver(10);
    pool.acquire(standing(2));
    expect(pool.acquire(over)).toMatchObject({ kind: 'granted', bytes: over.bytes ?? 1 });
  });

  test('before a host announced its limits nobody is refused and nobody is granted', () => {
    const pool = new PoolDriver();
    expect(pool.acquire({ bytes: 1_000 * GiB })).toEqual({
      kind: 'queued',
      ahead: 0,
      because: 'no host has announced its limits yet; start a worker',
    });
    expect(pool.acquire({ leaseId: 'b/step#0' })).toMatchObject({ kind: 'queued', ahead: 1 });
    pool.announce({ limitBytes: 10 });
    expect(pool.told('refuse')).toEqual(['a/step#0']);
    expect(pool.told('grant')).toEqual(['b/step#0']);
  });
});

describe('the first in the queue is served first', () => {
  test('a waiter says what it needs and what is free', () => {
    const pool = new PoolDriver(10);
    pool.acquire({ bytes: 7, scratchBytes: 99 });
    expect(pool.acquire({ leaseId: 'b/x#0', bytes: 4 })).toMatchObject({ because: 'needs 4 B, 3 B of 10 B free' });
    pool.withdraw('b/x#0');
    expect(pool.acquire({ leaseId: 'c/x#0', scratchBytes: 2 })).toMatchObject({
      because: 'needs 2 B of scratch, 1 B of 100 B free',
    });
  });

  test('priority goes before arrival, arrival decides among equals', () => {
    const pool = new PoolDriver(10);
    pool.acquire({ bytes: 10 });
    for (const [leaseId, priority] of [
      ['b/x#0', 3],
      ['c/x#0', 3],
      ['d/x#0', 1],
      ['e/x#0', 5],
    ] as const)
      pool.acquire({ leaseId, priority, bytes: 10 });
    expect(pool.queued).toEqual(['d/x#0', 'b/x#0', 'c/x#0', 'e/x#0']);
  });

  test('what the head will need is kept for it, although those behind would fit now', () => {
    const pool = new PoolDriver(10);
    pool.acquire({ bytes: 6 });
    expect(pool.acquire({ leaseId: 'b/head#0', bytes: 8 })).toMatchObject({ kind: 'queued', ahead: 0 });
    expect(pool.acquire({ leaseId: 'c/small#0', bytes: 1 })).toEqual({
      kind: 'queued',
      ahead: 1,
      because: '1 before it in the queue',
    });
    pool.end('a/step#0', pool.token());
    expect(pool.leased).toEqual(['b/head#0', 'c/small#0']);
  });

  test('an ask that fits beside what the head will need goes before it', () => {
    const pool = new PoolDriver(10);
    pool.acquire({ ...heavy, bytes: 5 });
    pool.acquire({ leaseId: 'b/head#0', ...heavy, bytes: 3 });
    expect(pool.acquire({ leaseId: 'c/x#0', ...light, bytes: 3 })).toMatchObject({ kind: 'queued' });
    expect(pool.acquire({ leaseId: 'd/x#0', ...light, bytes: 2 })).toEqual({
      kind: 'granted',
      bytes: 2,
      because: 'fits beside what head will need',
    });
    pool.end('a/step#0', pool.token());
    expect(pool.leased).toContain('b/head#0');
  });

  test.each<[string, Partial<Ask>, Partial<Ask>]>([
    ['no bytes, while the head is short of bytes', { bytes: 9 }, { bytes: 0 }],
    ['no scratch, while the head is short of scratch', { bytes: 1, scratchBytes: 60 }, { bytes: 1 }],
  ])('a waiter that takes %s delays nobody and goes', (_title, head, other) => {
    const pool = new PoolDriver(10);
    pool.acquire({ bytes: 5, scratchBytes: 50 });
    expect(pool.acquire({ leaseId: 'b/head#0', ...head })).toMatchObject({ kind: 'queued' });
    expect(pool.acquire({ leaseId: 'c/x#0', ...other })).toMatchObject({ kind: 'granted' });
  });
});

describe('heavy steps run one at a time', () => {
  test('a second heavy step waits although its bytes are free, whoever asks', () => {
    const pool = new PoolDriver(10);
    pool.acquire(heavy);
    expect(pool.acquire({ leaseId: 'b/x#0', ...heavy })).toMatchObject({
      kind: 'queued',
      because: 'another heavy step runs; heavy steps run one at a time',
    });
    pool.end('a/step#0', pool.token());
    expect(pool.told('grant')).toEqual(['b/x#0']);
  });

  test('light steps run beside a heavy one, and beside a heavy one that waits', () => {
    const pool = new PoolDriver(10);
    pool.acquire(heavy);
    pool.acquire({ leaseId: 'b/x#0', ...heavy });
    for (const leaseId of ['c/x#0', 'd/x#0', 'e/x#0'])
      expect(pool.acquire({ leaseId, ...light })).toMatchObject({ kind: 'granted' });
  });

  test('a heavy step passes a light head that waits for bytes only where it takes none of them', () => {
    const pool = new PoolDriver(10);
    pool.acquire({ bytes: 5 });
    pool.acquire({ leaseId: 'b/head#0', bytes: 7 });
    expect(pool.acquire({ leaseId: 'c/x#0', ...heavy, bytes: 1 })).toMatchObject({ kind: 'queued' });
    expect(pool.acquire({ leaseId: 'd/x#0', ...heavy, bytes: 0 })).toMatchObject({ kind: 'granted' });
  });

  test('no heavy step takes the slot of a heavy head that waits for bytes', () => {
    const pool = new PoolDriver(10);
    pool.acquire({ bytes: 5 });
    pool.acquire({ leaseId: 'b/head#0', ...heavy, bytes: 7 });
    expect(pool.acquire({ leaseId: 'c/x#0', ...heavy, bytes: 0 })).toMatchObject({ kind: 'queued' });
  });

  test('a lease on a started server takes no heavy slot', () => {
    const pool = new PoolDriver(10);
    pool.acquire({ kind: 'engine', ...heavy });
    expect(pool.acquire({ leaseId: 'b/x#0', ...heavy })).toMatchObject({ kind: 'granted' });
  });
});

describe('standing charges go first', () => {
  test('a standing charge that fits passes everybody', () => {
    const pool = new PoolDriver(10);
    pool.acquire({ bytes: 4 });
    pool.acquire({ leaseId: 'b/head#0', bytes: 9 });
    expect(pool.acquire(standing(1))).toEqual({
      kind: 'granted',
      bytes: 1,
      because: 'a standing charge that fits goes first',
    });
  });

  test('a standing charge that fits once work has ended is not starved by a stream of small steps', () => {
    const pool = new PoolDriver(10);
    pool.acquire({ bytes: 8 });
    const token = pool.token();
    expect(pool.acquire(standing(5))).toMatchObject({ kind: 'queued' });
    expect(pool.acquire({ leaseId: 'b/x#0', bytes: 2 })).toMatchObject({ kind: 'queued' });
    pool.end('a/step#0', token);
    expect(pool.leased.sort()).toEqual(['b/x#0', 'standing/here/worker']);
  });

  test('a standing charge that waits for another one holds up nobody', () => {
    const pool = new PoolDriver(10);
    pool.acquire(standing(6));
    expect(pool.acquire(standing(6, { leaseId: 'standing/here/second' }))).toMatchObject({ kind: 'queued' });
    expect(pool.acquire({ bytes: 4 })).toMatchObject({ kind: 'granted' });
  });

  test('waiters that became impossible by a standing charge are refused in the same event', () => {
    const pool = new PoolDriver(10);
    pool.acquire({ bytes: 9 });
    const token = pool.token();
    pool.acquire({ leaseId: 'b/x#0', bytes: 9 });
    pool.acquire(standing(4));
    pool.end('a/step#0', token);
    expect(pool.leased).toEqual(['standing/here/worker']);
    expect(pool.told('refuse')).toEqual(['b/x#0']);
    expect(pool.queued).toEqual([]);
  });
});

describe('what a resident engine kept', () => {
  const trino = { engine: 'trino' };
  /** A pool of 10 in which an idle Trino kept some bytes. */
  function idleTrino(keptBytes: number): PoolDriver {
    const pool = new PoolDriver(10);
    pool.acquire({ leaseId: 'z/q#0', bytes: 8, ...trino });
    pool.end('z/q#0', pool.token('z/q#0'), { bytesLeft: keptBytes });
    return pool;
  }

  test('is taken over by the next lease on that engine, not charged twice', () => {
    const pool = idleTrino(6);
    expect(pool.acquire({ ...heavy, bytes: 8, ...trino })).toMatchObject({ kind: 'granted' });
    expect(pool.sums.lentBytes).toBe(8);
    expect(pool.state.data).toEqual({});
  });

  test('stays charged where the next lease asks for less than the engine holds', () => {
    const pool = idleTrino(6);
    pool.acquire({ bytes: 2, ...trino });
    expect(pool.sums.lentBytes).toBe(6);
    pool.end('a/step#0', pool.token(), { bytesLeft: 6 });
    expect(pool.sums.lentBytes).toBe(6);
    expect(pool.state.data[engineDataId('trino')]!.bytes).toBe(6);
  });

  test('is asked back when the head cannot start otherwise, and not again at every message', () => {
    const pool = idleTrino(6);
    pool.acquire({ bytes: 8 });
    expect(pool.told('evict')).toEqual(['trino']);
    pool.acquire({ bytes: 8 });
    expect(pool.told('evict')).toEqual([]);
    pool.tell({ kind: 'continued' }, 60_000);
    expect(pool.told('evict')).toEqual(['trino']);
    pool.drop(engineDataId('trino'), 1);
    expect(pool.told('grant')).toEqual(['a/step#0']);
  });

  test('is left alone when the head starts without it, and when its own engine is asked for', () => {
    const pool = idleTrino(6);
    pool.acquire({ bytes: 4 });
    pool.acquire({ leaseId: 'b/x#0', bytes: 7, ...trino });
    expect(pool.queued).toEqual(['b/x#0']);
    expect(pool.told('evict')).toEqual([]);
  });

  test('is left alone while the engine works', () => {
    const pool = idleTrino(6);
    pool.acquire({ bytes: 2, ...trino });
    pool.acquire({ leaseId: 'b/x#0', bytes: 8 });
    expect(pool.told('evict')).toEqual([]);
  });

  test('is not taken over past a head that needs it', () => {
    const pool = idleTrino(4);
    pool.acquire({ leaseId: 'a/h#0', ...heavy });
    pool.acquire({ leaseId: 'b/head#0', ...heavy, bytes: 8, ...trino });
    expect(pool.acquire({ leaseId: 'c/x#0', ...light, bytes: 4, ...trino })).toMatchObject({ kind: 'queued' });
  });
});

describe('runs that keep what each other waits for', () => {
  /** Two runs that keep 50 of 100 scratch bytes each. */
  function twoKeepers(): PoolDriver {
    const pool = new PoolDriver(10);
    for (const name of ['a', 'b']) {
      pool.acquire({ leaseId: `${name}/one#0`, scratchBytes: 50 });
      pool.end(`${name}/one#0`, pool.token(`${name}/one#0`), {
        keep: [{ dataId: `${name}/one`, bytes: 0, scratchBytes: 50 }],
      });
    }
    return pool;
  }

  test('wait as long as one of them may still end', () => {
    const pool = twoKeepers();
    expect(pool.acquire({ leaseId: 'a/two#0', scratchBytes: 10 })).toMatchObject({ kind: 'queued' });
    pool.drop('b/one');
    expect(pool.told('grant')).toEqual(['a/two#0']);
  });

  test('do not wait for each other for ever: the last one gives way', () => {
    const pool = twoKeepers();
    pool.acquire({ leaseId: 'a/two#0', scratchBytes: 10 });
    expect(pool.acquire({ leaseId: 'b/two#0', scratchBytes: 10 })).toEqual({
      kind: 'refused',
      because:
        'needs 10 B of scratch, 0 B of 100 B free, and the rest is kept by runs that all wait for more themselves; as the last of them it gives way',
    });
    pool.drop('b/one');
    expect(pool.told('grant')).toEqual(['a/two#0']);
  });

  test('all asks of the run that gives way are refused, and none of another', () => {
    const pool = twoKeepers();
    pool.acquire({ leaseId: 'b/two#0', scratchBytes: 10, priority: 4 });
    pool.acquire({ leaseId: 'b/three#0', scratchBytes: 10, priority: 1 });
    pool.acquire({ leaseId: 'a/two#0', scratchBytes: 10, priority: 2 });
    expect(pool.told('refuse').sort()).toEqual(['b/three#0', 'b/two#0']);
    expect(pool.queued).toEqual(['a/two#0']);
  });

  test('a run that keeps by itself what it waits for is refused once nothing else runs', () => {
    const pool = twoKeepers();
    pool.acquire({ leaseId: 'c/x#0' });
    expect(pool.acquire({ leaseId: 'a/two#0', scratchBytes: 60 })).toMatchObject({ kind: 'queued' });
    pool.end('c/x#0', pool.token('c/x#0'));
    expect(pool.told('refuse')).toEqual(['a/two#0']);
  });

  test('who fits passes before anybody is refused', () => {
    const pool = twoKeepers();
    pool.drop('a/one');
    pool.acquire({ leaseId: 'c/big#0', scratchBytes: 90 });
    expect(pool.acquire({ leaseId: 'b/two#0', scratchBytes: 10 })).toEqual({
      kind: 'granted',
      bytes: 1,
      because: 'fits, and big before it waits for what waiting runs keep',
    });
    expect(pool.queued).toEqual(['c/big#0']);
  });

  test('a reset run is the run that kept it, another run of the same workflow is not', () => {
    const pool = twoKeepers();
    pool.acquire({ leaseId: 'later/two#0', scratchBytes: 10, holder: { ...run('a'), runId: 'later' } });
    expect(pool.acquire({ leaseId: 'b/two#0', scratchBytes: 10 })).toMatchObject({ kind: 'queued' });
    pool.acquire({ leaseId: 'a/two#0', scratchBytes: 10, holder: { ...run('a'), runId: 'a-reset' } });
    expect(pool.queued).toEqual(['later/two#0', 'b/two#0']);
  });
});

import { describe, expect, test } from '@jest/globals';
import { poolDetails, poolStatus } from '../../../../src/policy/pool/status.ts';
import { NEWEST_POLICY, policyOf } from '../../../../src/policy/pool/versions.ts';
import { step } from '../../../../src/policy/pool/step.ts';
import { PoolDriver, run, standing } from './pool-driver.ts';

/** One of each: a standing charge, a begun lease, data, and two that wait. */
function busyPool(): PoolDriver {
  const pool = new PoolDriver(10);
  pool.acquire(standing(2));
  pool.acquire({ leaseId: 'k/make#0', scratchBytes: 5 });
  pool.end('k/make#0', pool.token('k/make#0'), { keep: [{ dataId: 'k/make', bytes: 1, scratchBytes: 5 }] });
  pool.acquire({ weight: 'heavy', bytes: 4 });
  pool.token();
  pool.acquire({ leaseId: 'b/big#0', weight: 'heavy', bytes: 8 });
  pool.acquire({ leaseId: 'c/small#0', bytes: 1 });
  return pool;
}

describe('the status of a pool', () => {
  test('adds up: limit = standing + lent + free', () => {
    const status = poolStatus(busyPool().state);
    expect(status).toMatchObject({
      ...{ pool: 'p', limitBytes: 10, standingBytes: 2, lendableBytes: 8, lentBytes: 5, freeBytes: 3 },
      ...{ scratchLimitBytes: 100, scratchLentBytes: 6, heavyTaken: true, hosts: ['here'] },
    });
    expect(status.stats).toMatchObject({ granted: 3, ended: 1, maxQueue: 2 });
  });

  test('names who holds, who keeps and who waits, each with its reason', () => {
    const { leases, queue } = poolStatus(busyPool().state);
    expect(leases.map(({ leaseId, state, because }) => [leaseId, state, because])).toEqual([
      ['standing/here/worker', 'granted', 'a standing charge that fits goes first'],
      ['a/step#0', 'begun', 'first in the queue, and it fits'],
      ['k/make', 'kept', 'kept by make; goes from memory to disk, as big waits for its bytes'],
    ]);
    expect(queue.map(({ leaseId, workflowId, state, because }) => [leaseId, workflowId, state, because])).toEqual([
      ['b/big#0', 'wf-b', 'queued', 'needs 8 B, 3 B of 8 B free'],
      ['c/small#0', 'wf-c', 'queued', '1 before it in the queue'],
    ]);
  });

  test('is plain JSON', () => {
    const status = poolStatus(busyPool().state);
    expect(JSON.parse(JSON.stringify(status))).toEqual(status);
  });

  test('is a table in the UI, which no workflow id breaks', () => {
    const pool = busyPool();
    pool.acquire({ leaseId: 'd/x#0', bytes: 8, holder: { ...run('d'), workflowId: 'a|b\nc' } });
    const lines = poolDetails(pool.state).split('\n');
    expect(lines[0]).toBe('**5 B lent** of 8 B that can be lent (limit 10 B, standing 2 B); scratch 6 B of 100 B.');
    expect(lines).toContain('| wf-b | big | work | heavy | 8 B | queued | needs 8 B, 3 B of 8 B free |');
    expect(lines).toContain('| a\\|b c | x | work | light | 8 B | queued | needs 8 B, 3 B of 8 B free |');
  });

  test('says how many lines of a long queue it leaves out', () => {
    const pool = new PoolDriver(1);
    for (let i = 0; i < 60; i++) pool.acquire({ leaseId: `r${i}/x#0` });
    expect(poolDetails(pool.state).split('\n').at(-1)).toBe('… and 19 more that wait');
  });
});

describe('the policy a pool follows', () => {
  test('is the one it was started with', () => {
    const { state } = new PoolDriver(1);
    expect(state.policyVersion).toBe(NEWEST_POLICY);
    expect(policyOf(state)(state, { kind: 'continued' }, 1)).toEqual(step(state, { kind: 'continued' }, 1));
  });

  test('of a newer release is an error that says so', () => {
    const { state } = new PoolDriver(1);
    const newer = { ...state, policyVersion: 99 as unknown as 1 };
    expect(() => policyOf(newer)).toThrow('pool p follows policy 99; this release knows 1, 2, 3. Run a newer release.');
  });
});

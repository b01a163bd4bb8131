import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { MIN_LEASE_BYTES, splitMemory } from '../../../../src/engines/datafusion/memory-rule.ts';
import { GiB, MiB } from '../../../../src/policy/sizes.ts';

const MB = 1_000_000;

describe('the engine’s pool is min(0.6 E, E - max(300 MB, partitions × 150 MB))', () => {
  test.each<[string, number, number, number, number]>([
    ['the smallest lease leaves 300 MB beside its pool', 600 * MB, 2, 2, 300 * MB],
    ['one core needs no less beside it', 600 * MB, 1, 1, 300 * MB],
    ['from 750 MB on the share is the smaller', 1000 * MB, 2, 2, 600 * MB],
    ['many cores and a small lease: fewer partitions', 1200 * MB, 16, 4, 600 * MB],
    ['the reference machine’s S', 32 * GiB, 16, 16, Math.floor(0.6 * 32 * GiB)],
    ['the reference machine’s L', 256 * GiB, 16, 16, Math.floor(0.6 * 256 * GiB)],
  ])('%s', (_title, lease, cpus, partitions, poolBytes) =>
    expect(splitMemory(lease, cpus)).toMatchObject({ partitions, poolBytes }),
  );

  test.each<[string, number, number, number, number]>([
    ['little beside it: 0.85 of the lease', 32 * GiB, 16, 10 * MB, Math.floor(0.85 * 32 * GiB)],
    ['some: what is left by a quarter more than the most so far', 32 * GiB, 16, 300 * MB, 32 * GiB - 16 * 375 * MB],
    ['much: as if it were not known', 32 * GiB, 16, 1000 * MB, Math.floor(0.6 * 32 * GiB)],
    ['a small lease keeps its 300 MB all the same', 1000 * MB, 2, 0, 700 * MB],
    ['the smallest has none to give', 600 * MB, 2, 0, 300 * MB],
  ])('where it was measured, %s', (_title, lease, cpus, partitionBytes, poolBytes) => {
    const split = splitMemory(lease, cpus, { partitionBytes, runs: 5 });
    expect(split.poolBytes).toBe(poolBytes);
    expect(split.because.includes('as 5 runs took little beside it')).toBe(
      poolBytes > splitMemory(lease, cpus).poolBytes,
    );
  });

  test.each<[string, number, number]>([
    ['the smallest lease', 600 * MB, 8 * MiB],
    ['a gigabyte', 1000 * MB, 25 * MB],
    ['a large lease: a row group', 32 * GiB, 128 * MB],
  ])('rows that wait while Parquet is encoded: %s', (_title, lease, aheadBytes) =>
    expect(splitMemory(lease, 2).aheadBytes).toBe(aheadBytes),
  );

  test('a lease under 600 MB is refused with both numbers', () => {
    expect(() => splitMemory(MIN_LEASE_BYTES - 1, 2)).toThrow(/at least 572.2 MiB, this one has 572.2 MiB/);
    expect(() => splitMemory(GiB / 4, 2)).toThrow(/this one has 256 MiB; take a larger profile/);
  });

  test('any lease leaves at least 300 MB and 150 MB a partition beside the pool, and the pool is never small', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: MIN_LEASE_BYTES, max: 512 * GiB }),
        fc.integer({ min: 1, max: 256 }),
        fc.option(fc.record({ partitionBytes: fc.nat(4 * GiB), runs: fc.constant(5) }), { nil: undefined }),
        (lease, cpus, overhead) => {
          const { partitions, poolBytes, rowGroupBytes, aheadBytes, because } = splitMemory(lease, cpus, overhead);
          expect(lease - poolBytes).toBeGreaterThanOrEqual(Math.max(300 * MB, partitions * 150 * MB));
          expect(poolBytes).toBeGreaterThanOrEqual(Math.floor(lease / 2));
          expect(poolBytes).toBeLessThanOrEqual((overhead ? 0.85 : 0.6) * lease);
          expect(poolBytes).toBeGreaterThanOrEqual(splitMemory(lease, cpus).poolBytes);
          expect(partitions).toBeGreaterThanOrEqual(1);
          expect(partitions).toBeLessThanOrEqual(cpus);
          expect(rowGroupBytes).toBeLessThanOrEqual(128 * MB);
          // Both, and what is read and written beside them, within what the rule leaves; small leases have the least of each.
          expect(aheadBytes).toBeLessThanOrEqual(Math.max(8 * MiB, rowGroupBytes));
          if (aheadBytes > 8 * MiB) expect(lease - poolBytes - aheadBytes).toBeGreaterThan(Math.max(300 * MB, partitions * 150 * MB)); // prettier-ignore
          expect(because.includes('has no room')).toBe(partitions < cpus);
        },
      ),
    );
  });
});

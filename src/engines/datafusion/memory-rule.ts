import { SpillwayError } from '../../contracts/errors.ts';
import type { EngineOverhead } from '../../contracts/plan.ts';
import { formatBytes, MiB } from '../../policy/sizes.ts';

/** How a lease is divided between DataFusion's own pool and what it does not count. */
export interface MemorySplit {
  partitions: number;
  /** Bytes of the engine's fair pool. */
  poolBytes: number;
  /** Bytes one decoded Parquet row group may take while it is written. */
  rowGroupBytes: number;
  /** Bytes of rows that may wait while such a group is encoded. */
  aheadBytes: number;
  because: string;
}

const MB = 1_000_000;
/** Below this every operator but hash aggregation was killed or ran out, whatever the pool. */
export const MIN_LEASE_BYTES = 600 * MB;
const POOL_SHARE = 0.6;
const MIN_OVERHEAD_BYTES = 300 * MB;
const OVERHEAD_PER_PARTITION_BYTES = 150 * MB;

const LEAST_AHEAD_BYTES = 8 * MiB;
/** Share of a lease that is pool at most, whatever was measured. */
const MOST_POOL_SHARE = 0.85;
/** What lay beside the pool so far may grow by this. */
const OVERHEAD_GROWTH = 1.25;

/**
 * Divides a lease of E bytes: pool = min(0.6 E, E - max(300 MB, partitions × 150 MB)).
 *
 * What the engine does not count (scans, decoded row groups, the writer, the interpreter) is additive and grows with partitions; the often
 * named 0.75 to 0.8 E was killed in measurements. With many cores and a small lease partitions are given up until half of it is pool.
 *
 * Where that overhead was measured, o a partition, the pool is min(0.85 E, E - partitions × 1.25 o) if that is more, and still leaves those 300 and 150 MB.
 */
export function splitMemory(leaseBytes: number, cpus: number, measured?: EngineOverhead): MemorySplit {
  if (leaseBytes < MIN_LEASE_BYTES) {
    throw new SpillwayError(
      'InvalidInput',
      `a DataFusion step needs a lease of at least ${formatBytes(MIN_LEASE_BYTES)}, this one has ${formatBytes(leaseBytes)}; take a larger profile`,
    );
  }
  const affordable = Math.floor(leaseBytes / 2 / OVERHEAD_PER_PARTITION_BYTES);
  const partitions = Math.max(1, Math.min(Math.floor(cpus), affordable));
  const overhead = Math.max(MIN_OVERHEAD_BYTES, partitions * OVERHEAD_PER_PARTITION_BYTES);
  const customary = Math.floor(Math.min(POOL_SHARE * leaseBytes, leaseBytes - overhead));
  const beside = measured && Math.max(overhead, OVERHEAD_GROWTH * partitions * measured.partitionBytes);
  const shown = beside === undefined ? 0 : Math.floor(Math.min(MOST_POOL_SHARE * leaseBytes, leaseBytes - beside));
  const poolBytes = Math.max(customary, shown);
  const why = poolBytes > customary ? `, as ${measured!.runs} runs took little beside it` : '';
  const rowGroupBytes = Math.max(16 * MB, Math.min(128 * MB, Math.floor(leaseBytes / 10)));
  // Of what neither the pool nor the overhead needs: with a whole group waiting, its writer is never idle.
  const aheadBytes = Math.max(
    LEAST_AHEAD_BYTES,
    Math.min(rowGroupBytes, Math.floor((leaseBytes - poolBytes - overhead) / 4)),
  );
  return {
    ...{ partitions, poolBytes, rowGroupBytes, aheadBytes },
    because: `${formatBytes(poolBytes)} of ${formatBytes(leaseBytes)} are the engine's pool${why}, ${partitions} partition(s)${
      partitions < cpus ? ` of ${Math.floor(cpus)}, as the lease has no room beside more` : ''
    }`,
  };
}

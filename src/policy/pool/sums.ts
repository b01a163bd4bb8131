import { LeaseKind, Weight } from '../../contracts/pool.ts';
import type { DataLease, PoolState } from './state.ts';

/** What is taken and what is left, in bytes; all derived from the leases. */
export interface Sums {
  standingBytes: number;
  lendableBytes: number;
  /** Lent to steps and data, standing charges not counted. */
  lentBytes: number;
  freeBytes: number;
  scratchLentBytes: number;
  scratchFreeBytes: number;
  heavyTaken: boolean;
  /** What idle engines were asked for and kept. */
  kept: readonly DataLease[];
}

export function sums(state: PoolState): Sums {
  let standingBytes = 0;
  let lentBytes = 0;
  let scratchLentBytes = 0;
  let heavyTaken = false;
  const kept: DataLease[] = [];
  for (const lease of Object.values(state.leases)) {
    scratchLentBytes += lease.scratchBytes;
    if (lease.kind === LeaseKind.STANDING) standingBytes += lease.bytes;
    else lentBytes += lease.bytes;
    if (lease.kind === LeaseKind.WORK && lease.weight === Weight.HEAVY && lease.remnant !== true) heavyTaken = true;
  }
  for (const data of Object.values(state.data)) {
    lentBytes += data.bytes;
    if (data.keptFrom !== undefined || data.hopelessFrom !== undefined) kept.push(data);
    scratchLentBytes += data.scratchBytes + (data.demotion?.scratchBytes ?? 0);
  }
  return {
    standingBytes,
    lendableBytes: Math.max(0, state.limitBytes - standingBytes),
    lentBytes,
    freeBytes: state.limitBytes - standingBytes - lentBytes,
    scratchLentBytes,
    scratchFreeBytes: state.scratchLimitBytes - scratchLentBytes,
    heavyTaken,
    kept,
  };
}

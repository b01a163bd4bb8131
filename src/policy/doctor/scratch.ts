import type { Finding } from '../../contracts/doctor.ts';
import { formatBytes } from '../sizes.ts';

/** The scratch root, as it is on the disk. */
export type ScratchReading =
  | { there: false; path: string }
  | {
      there: true;
      path: string;
      freeBytes: number;
      isTmpfs: boolean;
      isLink: boolean;
      /** Owner is this process, and nobody else may write. */
      own: boolean;
      /** Bytes a second of one sequential write that ended on the disk. */
      writeBytesPerSecond: number;
    };

/** An Arrow handoff should not be slower than the Parquet it stands in for; measured Parquet writing is 0.2 GB/s. */
const SLOW_BYTES_PER_SECOND = 200e6;

/** Judges the scratch root, on which everything large lies. Pure. */
export function examineScratch(scratch: ScratchReading, limitBytes: number): Finding[] {
  if (!scratch.there) {
    return [{ check: 'scratch', verdict: 'warn', because: `${scratch.path} is not there yet`, mend: 'spillway up' }];
  }
  const { path, freeBytes, writeBytesPerSecond } = scratch;
  const unsafe = [
    ...(scratch.isLink ? [`${path} is a symbolic link`] : []),
    ...(scratch.own ? [] : [`others may write to ${path}`]),
    ...(scratch.isTmpfs ? [`${path} lies in memory: what spills there is never freed by spilling`] : []),
  ];
  const space = `${formatBytes(freeBytes)} free at ${path}, of which ${formatBytes(limitBytes)} are lent`;
  const speed = `${Math.round(writeBytesPerSecond / 1e6)} MB/s written to ${path} and synced`;
  return [
    unsafe.length === 0
      ? { check: 'scratch', verdict: 'ok', because: `${path} is a folder of its own on disk` }
      : {
          check: 'scratch',
          verdict: 'fail',
          because: unsafe.join('; '),
          mend: `set scratch to a folder of the worker's user on NVMe, mode 700`,
        },
    freeBytes < limitBytes
      ? { check: 'scratch space', verdict: 'fail', because: space, mend: 'free some, or lower pool.scratchLimit' }
      : { check: 'scratch space', verdict: 'ok', because: space },
    writeBytesPerSecond < SLOW_BYTES_PER_SECOND
      ? {
          check: 'scratch speed',
          verdict: 'warn',
          because: `${speed}; handoffs and spill wait for it`,
          mend: 'put scratch on NVMe',
        }
      : { check: 'scratch speed', verdict: 'ok', because: speed },
  ];
}

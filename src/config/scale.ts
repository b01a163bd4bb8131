import { formatBytes } from '../policy/sizes.ts';
import type { HardwareNumbers } from './hardware-profiles.ts';
import { FLOORS } from './hardware-profiles.ts';
import type { HostFacts } from './host-facts.ts';

/** A profile divided for a rehearsal, and where a floor kept a number up. */
export interface Scaled {
  readonly numbers: HardwareNumbers;
  /** Dotted key → why its value is not the profile's divided by the scale. */
  readonly because: Readonly<Record<string, string>>;
}

/**
 * Divides every byte of a profile; what cannot run below a floor stays at it and is named in `because`.
 * Counts of slots stay; partitions shrink to the cores of the host, as cores cannot be divided. A divisor of 1 changes nothing.
 */
export function scaleProfile(numbers: HardwareNumbers, divisor: number, facts: HostFacts): Scaled {
  if (divisor === 1) return { numbers, because: {} };
  const because: Record<string, string> = {};
  const divide = (bytes: number): number => Math.floor(bytes / divisor);
  const floor = (key: string, bytes: number, least: number): number => {
    const scaled = divide(bytes);
    if (scaled >= least) return scaled;
    because[key] = `${formatBytes(least)}, the least it runs with, instead of ${formatBytes(scaled)}`;
    return least;
  };
  const { trino, postgres, datafusion, rungs } = numbers;
  const partitions = Math.min(datafusion.partitions, facts.physicalCores);
  if (partitions !== datafusion.partitions) {
    because['engines.datafusion.partitions'] =
      `${partitions}, the cores of this host, instead of ${datafusion.partitions}`;
  }
  const heapBytes = floor('engines.trino.heap', trino.heapBytes, FLOORS.trinoHeapBytes);
  return {
    because,
    numbers: {
      poolBytes: divide(numbers.poolBytes),
      scratchBytes: divide(numbers.scratchBytes),
      stepScratchBytes: divide(numbers.stepScratchBytes),
      checkpointBytes: divide(numbers.checkpointBytes),
      rungs:
        rungs.kind === 'share' ? rungs : { kind: 'bytes', S: divide(rungs.S), M: divide(rungs.M), L: divide(rungs.L) },
      lightSlots: numbers.lightSlots,
      batchRows: numbers.batchRows,
      stepsRunAs: numbers.stepsRunAs,
      lightStepBytes: floor('light.stepBytes', numbers.lightStepBytes, FLOORS.lightStepBytes),
      workerBaselineBytes: floor('worker.baseline', numbers.workerBaselineBytes, FLOORS.workerBaselineBytes),
      trino: {
        containerBytes: floor('engines.trino.container', trino.containerBytes, heapBytes + FLOORS.trinoBeyondHeapBytes),
        heapBytes,
        floorBytes: floor('engines.trino.floor', trino.floorBytes, FLOORS.trinoIdleBytes),
        maxMemoryPerNodeBytes: divide(trino.maxMemoryPerNodeBytes),
        maxTotalMemoryBytes: divide(trino.maxTotalMemoryBytes),
        heapHeadroomBytes: divide(trino.heapHeadroomBytes),
        spillBytes: divide(trino.spillBytes),
      },
      postgres: {
        ...postgres,
        sharedBuffersBytes: divide(postgres.sharedBuffersBytes),
        workMemBytes: divide(postgres.workMemBytes),
        maintenanceWorkMemBytes: divide(postgres.maintenanceWorkMemBytes),
        autovacuumWorkMemBytes: divide(postgres.autovacuumWorkMemBytes),
        maxWalSizeBytes: floor('engines.postgres.maxWal', postgres.maxWalSizeBytes, FLOORS.postgresMaxWalBytes),
      },
      temporal: numbers.temporal,
      datafusion: { partitions, spillBytes: divide(datafusion.spillBytes) },
    },
  };
}

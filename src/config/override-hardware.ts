import { parseBytes } from '../policy/sizes.ts';
import type { Layer } from './layers.ts';
import type { ResolvedHardware } from './resolved.ts';

/** How a key reaches its place in the resolved hardware; `bytes` are read as sizes. */
type Place = readonly [
  group: 'trino' | 'postgres' | 'datafusion' | 'temporal' | undefined,
  field: string,
  kind: 'bytes' | 'asWritten',
];

/** Dotted key → field of {@link ResolvedHardware}: everything of a profile that may be set one by one. */
export const HARDWARE_KEYS: Readonly<Record<string, Place>> = {
  'pool.limit': [undefined, 'poolBytes', 'bytes'],
  'pool.scratchLimit': [undefined, 'scratchBytes', 'bytes'],
  'pool.stepScratch': [undefined, 'stepScratchBytes', 'bytes'],
  'checkpoints.limit': [undefined, 'checkpointBytes', 'bytes'],
  'light.slots': [undefined, 'lightSlots', 'asWritten'],
  'light.stepBytes': [undefined, 'lightStepBytes', 'bytes'],
  'light.batchRows': [undefined, 'batchRows', 'asWritten'],
  'temporal.chargeTo': ['temporal', 'chargeTo', 'asWritten'],
  'worker.baseline': [undefined, 'workerBaselineBytes', 'bytes'],
  'engines.trino.container': ['trino', 'containerBytes', 'bytes'],
  'engines.trino.heap': ['trino', 'heapBytes', 'bytes'],
  'engines.trino.floor': ['trino', 'floorBytes', 'bytes'],
  'engines.trino.maxMemoryPerNode': ['trino', 'maxMemoryPerNodeBytes', 'bytes'],
  'engines.trino.maxTotalMemory': ['trino', 'maxTotalMemoryBytes', 'bytes'],
  'engines.trino.heapHeadroom': ['trino', 'heapHeadroomBytes', 'bytes'],
  'engines.trino.spill': ['trino', 'spillBytes', 'bytes'],
  'engines.postgres.sharedBuffers': ['postgres', 'sharedBuffersBytes', 'bytes'],
  'engines.postgres.workMem': ['postgres', 'workMemBytes', 'bytes'],
  'engines.postgres.maintenanceWorkMem': ['postgres', 'maintenanceWorkMemBytes', 'bytes'],
  'engines.postgres.autovacuumWorkMem': ['postgres', 'autovacuumWorkMemBytes', 'bytes'],
  'engines.postgres.maxWal': ['postgres', 'maxWalSizeBytes', 'bytes'],
  'engines.postgres.checkpointTimeoutMinutes': ['postgres', 'checkpointTimeoutMinutes', 'asWritten'],
  'engines.postgres.chargeTo': ['postgres', 'chargeTo', 'asWritten'],
  'engines.datafusion.partitions': ['datafusion', 'partitions', 'asWritten'],
  'engines.datafusion.spill': ['datafusion', 'spillBytes', 'bytes'],
};

/** A profile's hardware with the numbers that were set one by one in their places. */
export function overrideHardware(hardware: ResolvedHardware, set: Layer): ResolvedHardware {
  const top: Record<string, unknown> = { ...hardware };
  for (const [key, [group, field, kind]] of Object.entries(HARDWARE_KEYS)) {
    const value = set.get(key)?.value;
    if (value === undefined) continue;
    const placed = kind === 'bytes' ? parseBytes(value as string | number) : value;
    if (group === undefined) top[field] = placed;
    else top[group] = { ...(top[group] as object), [field]: placed };
  }
  return top as unknown as ResolvedHardware;
}

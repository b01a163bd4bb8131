import { GiB, MiB, TiB } from '../policy/sizes.ts';
import type { HostFacts } from './host-facts.ts';
import type { HardwareProfile } from './profile-names.ts';
import type { ResolvedHardware } from './resolved.ts';

/**
 * RAM of the presets and the rows that their user functions get at once. The row counts of 8, 32, 64 and 128 GiB are the mission's;
 * 16 GiB takes the proportion of its larger neighbours, the reference machine the largest count that is named.
 */
const PRESETS: readonly { readonly profile: HardwareProfile; readonly ramBytes: number; readonly batchRows: number }[] =
  [
    { profile: 'ram-8', ramBytes: 8 * GiB, batchRows: 1_000 },
    { profile: 'ram-16', ramBytes: 16 * GiB, batchRows: 25_000 },
    { profile: 'ram-32', ramBytes: 32 * GiB, batchRows: 50_000 },
    { profile: 'ram-64', ramBytes: 64 * GiB, batchRows: 100_000 },
    { profile: 'ram-128', ramBytes: 128 * GiB, batchRows: 200_000 },
    { profile: 'epyc-768', ramBytes: 768 * GiB, batchRows: 200_000 },
  ];

/** RAM of the machine that a profile is made for, bytes; `auto` is made for any. */
export const PROFILE_RAM: Readonly<Partial<Record<HardwareProfile, number>>> = Object.fromEntries(
  PRESETS.map(({ profile, ramBytes }) => [profile, ramBytes]),
);

/** Rows of the nearest preset that is not larger than a host; below the smallest its rows. */
const batchRowsFor = (ramBytes: number): number =>
  PRESETS.filter((preset) => preset.ramBytes <= ramBytes).at(-1)?.batchRows ?? 1_000;

/** What a profile decides; RAM and cores are facts of the host. */
export type HardwareNumbers = Omit<ResolvedHardware, 'profile' | 'scaleDivisor' | 'ramBytes' | 'physicalCores'>;

/**
 * Bytes below which a process does not run, whatever the scale, each with its measured reason.
 * Seen on Trino 476 with Java 25 and TPC-H sf1, and on DataFusion 55.
 */
export const FLOORS = {
  /** 700 MiB of heap carry TPC-H sf1 from the lake; the tpch catalog's text pool holds 300 MiB of heap for ever. */
  trinoHeapBytes: 1000 * MiB,
  /** What is not heap (metaspace, code cache, threads, collector) is additive: 375..500 MB in every run. */
  trinoBeyondHeapBytes: 500 * MiB,
  /** Fixed live heap of 130..190 MB, the text pool of the tpch catalog, and room for the collector. */
  trinoHeadroomBytes: 500 * MiB,
  /** After TPC-H and an unload, once the heap was given back, 952 MB stayed, 300 MiB of them the text pool of the tpch catalog. */
  trinoIdleBytes: 1000 * MiB,
  /** Node, Temporal's native core and bundled workflows, idle. */
  workerBaselineBytes: 400 * MiB,
  /** Holds one batch of rows three times: as read, as Arrow, as written. */
  lightStepBytes: 128 * MiB,
  postgresSharedBuffersBytes: 128 * MiB,
  postgresWorkMemBytes: 4 * MiB,
  postgresMaintenanceWorkMemBytes: 64 * MiB,
  postgresAutovacuumWorkMemBytes: 16 * MiB,
  /** Two segments of 16 MiB are the least PostgreSQL takes; below this every load waits for checkpoints. */
  postgresMaxWalBytes: 256 * MiB,
} as const;

/** The reference machine: AMD EPYC 9175F with 16 cores, 768 GB, NVMe of 3.84 TB; 512 GiB are lent. */
const EPYC_768: HardwareNumbers = {
  poolBytes: 512 * GiB,
  scratchBytes: 3 * TiB,
  stepScratchBytes: 100 * GiB,
  checkpointBytes: 384 * GiB,
  rungs: { kind: 'bytes', S: 32 * GiB, M: 128 * GiB, L: 256 * GiB },
  lightSlots: 8,
  lightStepBytes: 2 * GiB,
  batchRows: batchRowsFor(768 * GiB),
  stepsRunAs: 'container',
  workerBaselineBytes: 1 * GiB,
  trino: {
    containerBytes: 256 * GiB,
    heapBytes: 192 * GiB,
    // Beside the measured floor a heap of this size keeps its collector's tables: 1/64 of the container.
    floorBytes: 4 * GiB,
    maxMemoryPerNodeBytes: 128 * GiB,
    maxTotalMemoryBytes: 160 * GiB,
    heapHeadroomBytes: 32 * GiB,
    spillBytes: 512 * GiB,
  },
  postgres: {
    sharedBuffersBytes: 16 * GiB,
    workMemBytes: 128 * MiB,
    maintenanceWorkMemBytes: 4 * GiB,
    autovacuumWorkMemBytes: 1 * GiB,
    maxWalSizeBytes: 16 * GiB,
    checkpointTimeoutMinutes: 30,
    walCompression: 'lz4',
    chargeTo: 'system',
  },
  temporal: { chargeTo: 'system' },
  datafusion: { partitions: 16, spillBytes: 100 * GiB },
};

/** Rounded down to whole MiB, so that rendered settings are readable. */
const mebibytes = (bytes: number): number => Math.floor(bytes / MiB) * MiB;
const between = (low: number, bytes: number, high: number): number => mebibytes(Math.min(Math.max(bytes, low), high));

/**
 * Numbers for a host with that much RAM. Half of it is lent; Trino gets a small heap (1/12 of the RAM), so that
 * the larger part of the pool stays for steps in containers.
 */
function forRam(ram: number, facts: HostFacts): HardwareNumbers {
  const heapBytes = between(FLOORS.trinoHeapBytes, ram / 12, 192 * GiB);
  const heapHeadroomBytes = between(FLOORS.trinoHeadroomBytes, heapBytes / 6, 32 * GiB);
  // A fifth of the engine's memory pool is left for what the per-node limit does not count (revocable memory).
  const maxTotalMemoryBytes = heapBytes - heapHeadroomBytes - 16 * MiB;
  // A power of two: free disk changes from run to run, a figure that changed with it would make settings change for nothing.
  const scratchBytes = Math.max(1 * GiB, 2 ** Math.floor(Math.log2(Math.max(facts.freeDiskBytes, 2) / 2)));
  return {
    poolBytes: mebibytes(ram / 2),
    scratchBytes,
    stepScratchBytes: mebibytes(scratchBytes / 8),
    checkpointBytes: mebibytes(scratchBytes / 8),
    rungs: { kind: 'share', S: 1 / 16, M: 1 / 4, L: 1 / 2 },
    lightSlots: 4,
    lightStepBytes: between(FLOORS.lightStepBytes, ram / 96, 2 * GiB),
    batchRows: batchRowsFor(ram),
    stepsRunAs: 'container',
    workerBaselineBytes: FLOORS.workerBaselineBytes,
    trino: {
      containerBytes: heapBytes + between(FLOORS.trinoBeyondHeapBytes, heapBytes / 8, 64 * GiB),
      heapBytes,
      floorBytes: FLOORS.trinoIdleBytes,
      maxMemoryPerNodeBytes: mebibytes(maxTotalMemoryBytes * 0.8),
      maxTotalMemoryBytes,
      heapHeadroomBytes,
      spillBytes: mebibytes(scratchBytes / 4),
    },
    postgres: {
      sharedBuffersBytes: between(FLOORS.postgresSharedBuffersBytes, ram / 64, 16 * GiB),
      workMemBytes: between(FLOORS.postgresWorkMemBytes, ram / 1024, 128 * MiB),
      maintenanceWorkMemBytes: between(FLOORS.postgresMaintenanceWorkMemBytes, ram / 128, 4 * GiB),
      autovacuumWorkMemBytes: between(FLOORS.postgresAutovacuumWorkMemBytes, ram / 512, 1 * GiB),
      maxWalSizeBytes: between(1 * GiB, Math.min(ram / 12, scratchBytes / 4), 16 * GiB),
      checkpointTimeoutMinutes: 20,
      walCompression: 'lz4',
      chargeTo: 'system',
    },
    temporal: { chargeTo: 'system' },
    datafusion: { partitions: facts.physicalCores, spillBytes: mebibytes(scratchBytes / 8) },
  };
}

/** Eight gigabytes lend little: no step starts with more than 1 GiB, and none brings a container runtime with it. `whole` stays the last rung. */
const SMALL_RUNGS = { kind: 'bytes', S: 600_000_000, M: 768 * MiB, L: 1 * GiB } as const;

/** What a profile decides on a host with these facts; `auto` alone takes its RAM from them. */
export function profileNumbers(profile: HardwareProfile, facts: HostFacts): HardwareNumbers {
  if (profile === 'auto') return forRam(facts.ramBytes, facts);
  if (profile === 'epyc-768') return EPYC_768;
  const numbers = forRam(PROFILE_RAM[profile] ?? facts.ramBytes, facts);
  return profile === 'ram-8' ? { ...numbers, rungs: SMALL_RUNGS, stepsRunAs: 'process' } : numbers;
}

/**
 * Facts of the machine that a profile is named after, to render its files on another one. Cores and disk that a profile does not
 * name are those of `here`.
 */
export function machineOf(profile: HardwareProfile, here: HostFacts): HostFacts {
  if (profile === 'epyc-768') return { ramBytes: 768 * GiB, physicalCores: 16, freeDiskBytes: 3_840_000_000_000 };
  return { ...here, ramBytes: PROFILE_RAM[profile] ?? here.ramBytes };
}

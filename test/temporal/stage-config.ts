import { fileURLToPath } from 'node:url';
import type { ResolvedConfig, ResolvedHardware } from '../../src/config/resolved.ts';
import { DEFAULT_THRESHOLDS } from '../../src/policy/handoff-mode.ts';
import { GiB, MiB, TiB } from '../../src/policy/sizes.ts';

const testWorkflows = fileURLToPath(new URL('./workflows.ts', import.meta.url));

/** Name of the host in every test: histories that are kept must not name a machine. */
export const HOST = 'reference-host';

/** A server of 64 GiB: 4 GiB stand for the worker, 60 GiB are lent; rungs of 2, 6 and 12 GiB. */
const HARDWARE: ResolvedHardware = {
  profile: 'auto',
  scaleDivisor: 1,
  ramBytes: 128 * GiB,
  physicalCores: 4,
  poolBytes: 64 * GiB,
  scratchBytes: 1 * TiB,
  stepScratchBytes: 1 * GiB,
  checkpointBytes: 1 * GiB,
  rungs: { kind: 'bytes', S: 2 * GiB, M: 6 * GiB, L: 12 * GiB },
  lightSlots: 4,
  lightStepBytes: 512 * MiB,
  batchRows: 50_000,
  stepsRunAs: 'container',
  workerBaselineBytes: 2 * GiB,
  trino: {
    containerBytes: 20 * GiB,
    heapBytes: 15 * GiB,
    floorBytes: 4 * GiB,
    maxMemoryPerNodeBytes: 10 * GiB,
    maxTotalMemoryBytes: 12 * GiB,
    heapHeadroomBytes: 4 * GiB,
    spillBytes: 100 * GiB,
  },
  postgres: {
    sharedBuffersBytes: 1 * GiB,
    workMemBytes: 64 * MiB,
    maintenanceWorkMemBytes: 1 * GiB,
    autovacuumWorkMemBytes: 256 * MiB,
    maxWalSizeBytes: 4 * GiB,
    checkpointTimeoutMinutes: 20,
    walCompression: 'lz4',
    chargeTo: 'system',
  },
  temporal: { chargeTo: 'system' },
  datafusion: { partitions: 4, spillBytes: 100 * GiB },
};

export interface StageOptions {
  pool: string;
  hardware?: Partial<ResolvedHardware>;
  /** Continue the pool as new after so many events. */
  poolContinuesAfterEvents?: number;
  /** Room on the host's tmpfs. @defaultValue 0, so that a run is lent the same whatever ran before */
  shmFreeBytes?: number;
  /** Workflows of the user. @defaultValue `workflows.ts` beside this file */
  workflows?: 'tests' | 'none';
}

/** The configuration of a test, as resolving a file would give it. Trino `default` is resident, `elsewhere` is not. */
export function stageConfig(
  { pool, hardware, workflows = 'tests' }: StageOptions,
  address: string,
  home: string,
): ResolvedConfig {
  return {
    root: home,
    home,
    pool: { name: pool, hostLock: `test-${pool}` },
    temporal: { address, namespace: 'default' },
    hardware: { ...HARDWARE, ...hardware },
    serversHere: { postgres: false, temporal: false },
    scratch: home,
    runtime: { kind: 'podman', flags: [], image: 'none' },
    trino: {
      default: { url: 'http://127.0.0.1:1', user: 'test', residence: 'resident', lakeCatalog: 'lake', lakeRoot: home },
      elsewhere: {
        url: 'http://127.0.0.1:1',
        user: 'test',
        residence: 'external',
        lakeCatalog: 'lake',
        lakeRoot: home,
      },
    },
    postgres: { default: { url: 'postgres://127.0.0.1:1/none' } },
    ...(workflows === 'tests' ? { workflows: testWorkflows } : {}),
    directories: { default: { path: home, access: 'write' } },
    handoff: DEFAULT_THRESHOLDS,
    checkpointTtlMs: 7 * 86_400_000,
    drainMs: 300,
    origins: {},
  };
}

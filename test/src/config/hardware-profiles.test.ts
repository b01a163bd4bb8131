import { describe, expect, test } from '@jest/globals';
import { FLOORS } from '../../../src/config/hardware-profiles.ts';
import type { HardwareProfile } from '../../../src/config/profile-names.ts';
import { resolveHardware } from '../../../src/config/resolve-hardware.ts';
import type { ResolvedHardware } from '../../../src/config/resolved.ts';
import { rungs } from '../../../src/policy/rungs.ts';
import { GiB, MiB } from '../../../src/policy/sizes.ts';
import { REFERENCE_HOST, SMALL_HOST } from './facts.ts';

const epyc = resolveHardware('epyc-768', 1, REFERENCE_HOST).hardware;

describe('the reference machine is set as promised', () => {
  test.each<[string, number | string, number | string]>([
    ['pool', epyc.poolBytes, 512 * GiB],
    ['rung S', epyc.rungs.S, 32 * GiB],
    ['rung M', epyc.rungs.M, 128 * GiB],
    ['rung L', epyc.rungs.L, 256 * GiB],
    ['rungs are absolute', epyc.rungs.kind, 'bytes'],
    ['DataFusion partitions are the physical cores', epyc.datafusion.partitions, 16],
    ['DataFusion disk limit', epyc.datafusion.spillBytes, 100 * GiB],
    ['Trino container', epyc.trino.containerBytes, 256 * GiB],
    ['Trino heap', epyc.trino.heapBytes, 192 * GiB],
    ['Trino memory of a query on a node', epyc.trino.maxMemoryPerNodeBytes, 128 * GiB],
    ['Trino total memory of a query', epyc.trino.maxTotalMemoryBytes, 160 * GiB],
    ['Trino spill', epyc.trino.spillBytes, 512 * GiB],
    ['PostgreSQL work_mem', epyc.postgres.workMemBytes, 128 * MiB],
    ['PostgreSQL wal_compression', epyc.postgres.walCompression, 'lz4'],
  ])('%s', (_title, value, expected) => expect(value).toBe(expected));

  test.each<[string, number, number, number]>([
    ['PostgreSQL shared_buffers', epyc.postgres.sharedBuffersBytes, 8 * GiB, 16 * GiB],
    ['PostgreSQL maintenance_work_mem', epyc.postgres.maintenanceWorkMemBytes, 2 * GiB, 4 * GiB],
    ['PostgreSQL checkpoint_timeout in minutes', epyc.postgres.checkpointTimeoutMinutes, 20, 30],
    ['PostgreSQL max_wal_size', epyc.postgres.maxWalSizeBytes, 12 * GiB, 16 * GiB],
    ['PostgreSQL autovacuum_work_mem is set', epyc.postgres.autovacuumWorkMemBytes, 64 * MiB, 2 * GiB],
    ['Trino spill stays within the scratch', epyc.trino.spillBytes, 0, epyc.scratchBytes],
  ])('%s', (_title, value, least, most) => {
    expect(value).toBeGreaterThanOrEqual(least);
    expect(value).toBeLessThanOrEqual(most);
  });
});

describe('a rehearsal at 1/64', () => {
  const { hardware, because } = resolveHardware('epyc-768', 64, SMALL_HOST);
  test.each<[string, number, number]>([
    ['pool', hardware.poolBytes, 8 * GiB],
    ['Trino container', hardware.trino.containerBytes, 4 * GiB],
    ['Trino heap', hardware.trino.heapBytes, 3 * GiB],
    ['Trino memory of a query on a node', hardware.trino.maxMemoryPerNodeBytes, 2 * GiB],
    ['Trino total memory of a query', hardware.trino.maxTotalMemoryBytes, 2.5 * GiB],
    ['rung M', hardware.rungs.M, 2 * GiB],
    ['worker at its floor', hardware.workerBaselineBytes, FLOORS.workerBaselineBytes],
    ['partitions of the host', hardware.datafusion.partitions, SMALL_HOST.physicalCores],
    ['RAM of the host', hardware.ramBytes, SMALL_HOST.ramBytes],
  ])('%s', (_title, value, expected) => expect(value).toBe(expected));

  test('says which numbers a floor kept up', () => {
    expect(Object.keys(because).sort()).toEqual([
      'engines.datafusion.partitions',
      'engines.trino.floor',
      'light.stepBytes',
      'worker.baseline',
    ]);
    expect(because['worker.baseline']).toBe('400 MiB, the least it runs with, instead of 16 MiB');
  });

  test('a scale of 1 changes nothing', () => {
    expect(resolveHardware('auto', 1, SMALL_HOST).because).toEqual({});
  });
});

describe('presets by RAM', () => {
  test.each<[HardwareProfile, number, number]>([
    ['ram-8', 4 * GiB, 1_000],
    ['ram-16', 8 * GiB, 25_000],
    ['ram-32', 16 * GiB, 50_000],
    ['ram-64', 32 * GiB, 100_000],
    ['ram-128', 64 * GiB, 200_000],
  ])('%s lends half of its RAM, whatever the host has', (profile, poolBytes, batchRows) => {
    const { hardware } = resolveHardware(profile, 1, SMALL_HOST);
    expect([hardware.poolBytes, hardware.batchRows]).toEqual([poolBytes, batchRows]);
    expect(hardware.rungs.kind).toBe(profile === 'ram-8' ? 'bytes' : 'share');
  });

  test('ram-8 starts no step with more than 1 GiB', () => {
    const { hardware } = resolveHardware('ram-8', 1, SMALL_HOST);
    const lendable =
      hardware.poolBytes -
      hardware.workerBaselineBytes -
      hardware.lightSlots * hardware.lightStepBytes -
      hardware.trino.floorBytes;
    expect(rungs(hardware.rungs, lendable).map(({ name, bytes }) => [name, bytes])).toEqual([
      ['S', 600_000_000],
      ['M', 768 * MiB],
      ['L', 1 * GiB],
      ['whole', lendable],
    ]);
  });

  test.each<[number, number]>([
    [4, 1_000],
    [24, 25_000],
    [48, 50_000],
    [2048, 200_000],
  ])('auto at %d GiB takes the rows of the nearest lower preset', (gib, batchRows) =>
    expect(resolveHardware('auto', 1, { ...SMALL_HOST, ramBytes: gib * GiB }).hardware.batchRows).toBe(batchRows),
  );
});

describe('auto', () => {
  const small = resolveHardware('auto', 1, SMALL_HOST).hardware;

  test('lends half of the RAM, and a 24 GiB host gives Trino 2 GiB of heap', () => {
    expect(small.poolBytes).toBe(12 * GiB);
    expect(small.trino.heapBytes).toBe(2 * GiB);
    expect(small.trino.containerBytes).toBe(2 * GiB + 500 * MiB);
    expect(small.lightStepBytes).toBe(256 * MiB);
  });

  test('leaves room for TPC-H at scale factor 1 in Trino: 550 MiB a query, 300 MiB of tpch text, 500 MiB headroom', () => {
    expect(small.trino.maxMemoryPerNodeBytes).toBeGreaterThanOrEqual(550 * MiB);
    expect(small.trino.heapBytes - small.trino.maxMemoryPerNodeBytes).toBeGreaterThanOrEqual(650 * MiB);
  });

  test('a changing free disk changes no number until it halves', () => {
    const withDisk = (gib: number) => resolveHardware('auto', 1, { ...SMALL_HOST, freeDiskBytes: gib * GiB }).hardware;
    expect(withDisk(70)).toEqual(withDisk(120));
    expect(withDisk(70).scratchBytes).toBe(32 * GiB);
  });

  test.each([4, 8, 16, 24, 32, 64, 128, 256, 768, 2048])('holds the rules between its numbers at %d GiB', (gib) => {
    const host = { ramBytes: gib * GiB, physicalCores: 8, freeDiskBytes: 500 * GiB };
    const hardware = resolveHardware('auto', 1, host).hardware;
    expectConsistent(hardware);
  });
  test('so does the reference machine', () => expectConsistent(epyc));

  function expectConsistent(hardware: ResolvedHardware): void {
    const { trino } = hardware;
    expect(trino.maxMemoryPerNodeBytes + trino.heapHeadroomBytes).toBeLessThan(trino.heapBytes);
    expect(trino.maxTotalMemoryBytes).toBeGreaterThanOrEqual(trino.maxMemoryPerNodeBytes);
    expect(trino.heapBytes + FLOORS.trinoBeyondHeapBytes).toBeLessThanOrEqual(trino.containerBytes);
    expect(trino.floorBytes).toBeLessThan(trino.containerBytes);
    const standing = hardware.workerBaselineBytes + hardware.lightSlots * hardware.lightStepBytes + trino.floorBytes;
    expect(standing).toBeLessThan(hardware.poolBytes);
    const lendable = hardware.poolBytes - standing;
    expect(rungs(hardware.rungs, lendable).at(-1)?.bytes).toBe(lendable);
  }
});

import { describe, expect, test } from '@jest/globals';
import { machineOf } from '../../../src/config/hardware-profiles.ts';
import { HARDWARE_PROFILES, type HardwareProfile } from '../../../src/config/profile-names.ts';
import type { HostFacts } from '../../../src/config/host-facts.ts';
import type { Layer } from '../../../src/config/layers.ts';
import { flagLayer } from '../../../src/config/layers.ts';
import { overrideHardware } from '../../../src/config/override-hardware.ts';
import { resolveHardware } from '../../../src/config/resolve-hardware.ts';
import { ruleProblems } from '../../../src/config/rules.ts';
import { GiB } from '../../../src/policy/sizes.ts';
import { SMALL_HOST } from './facts.ts';

const flags = (set: Record<string, string>): Layer => flagLayer(set).values;

/** Lines of the rules that do not hold on a host with these flags. */
function problems(
  set: Record<string, string>,
  profile: HardwareProfile = 'auto',
  facts: HostFacts = SMALL_HOST,
): string[] {
  const layer = flags(set);
  const hardware = overrideHardware(resolveHardware(profile, 1, facts).hardware, layer);
  const here = { postgres: !layer.has('postgres.default.url'), temporal: !layer.has('temporal.address') };
  return ruleProblems({ hardware, set: layer, freeDiskBytes: facts.freeDiskBytes, residentTrinos: 1, here });
}

describe('rules across keys', () => {
  test.each(HARDWARE_PROFILES)('%s holds all of them on the machine it is named after', (profile) => {
    const machine = machineOf(profile, { ...SMALL_HOST, physicalCores: 8, freeDiskBytes: 500 * GiB });
    expect(problems({}, profile, machine)).toEqual([]);
  });

  test.each<[string, Record<string, string>, string]>([
    [
      'the pool leaves room for the system and the servers that are charged to it',
      { 'pool.limit': '23GB' },
      'pool.limit must be at most 21 GiB (the RAM without the system 768 MiB, PostgreSQL 1.3 GiB, Temporal 1 GiB), got 23GB (--pool-limit). Lower it, or charge a server to the pool with chargeTo.',
    ],
    [
      'servers that run elsewhere need no room',
      { 'pool.limit': '23GB', 'postgres.default.url': 'postgres://db/x', 'temporal.address': 'there:7233' },
      '',
    ],
    [
      'servers that the pool pays for need none beside it',
      { 'pool.limit': '23GB', 'engines.postgres.chargeTo': 'pool', 'temporal.chargeTo': 'pool' },
      '',
    ],
    [
      'but they stand in it',
      { 'pool.limit': '3000MB', 'engines.postgres.chargeTo': 'pool', 'temporal.chargeTo': 'pool' },
      'pool.limit must be more than the standing charges of 4.6 GiB (worker 400 MiB, 4 light slots of 256 MiB, Trino 1000 MiB, PostgreSQL 1.3 GiB, Temporal 1 GiB), got 3000MB (--pool-limit). Raise it, or lower light.slots.',
    ],
    [
      'nobody pays here for what runs elsewhere',
      { 'postgres.default.url': 'postgres://db/x', 'engines.postgres.chargeTo': 'pool' },
      "engines.postgres.chargeTo must be 'system' with postgres.default.url set, got 'pool' (--engines-postgres-charge-to). The pool pays for a PostgreSQL that `spillway up` started, as it can see it end.",
    ],
    [
      'containers are bound to physical cores',
      { 'engines.datafusion.partitions': '3' },
      'engines.datafusion.partitions must be at most 2 (the physical cores of this host, to which containers are bound), got 3 (--engines-datafusion-partitions). Lower it or choose another hardware profile.',
    ],
    [
      'scratch lies on the disk',
      { 'pool.scratchLimit': '80GB' },
      'pool.scratchLimit must be at most 75 GiB (free on the disk of the scratch root), got 80GB (--pool-scratch-limit). Lower it, or set scratch to another disk.',
    ],
    [
      'per-node memory and headroom fit the heap',
      { 'engines.trino.maxMemoryPerNode': '1600MB', 'engines.trino.maxTotalMemory': '1700MB' },
      'engines.trino.maxMemoryPerNode must be less than 1.5 GiB (engines.trino.heap without heapHeadroom), got 1600MB (--engines-trino-max-memory-per-node). Trino does not start otherwise.',
    ],
  ])('%s', (_title, set, line) => expect(problems(set)).toEqual(line === '' ? [] : [line]));

  test('all that are broken are told at once', () => {
    const lines = problems({ 'pool.limit': '23GB', 'engines.datafusion.partitions': '3', 'pool.scratchLimit': '80GB' });
    expect(lines.map((line) => line.split(' ')[0])).toEqual([
      'pool.limit',
      'engines.datafusion.partitions',
      'pool.scratchLimit',
    ]);
  });
});

test('a profile of another machine is judged against that machine, not this one', () => {
  expect(problems({}, 'epyc-768', SMALL_HOST)).not.toEqual([]);
  expect(machineOf('auto', SMALL_HOST)).toEqual(SMALL_HOST);
});

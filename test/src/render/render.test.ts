import { describe, expect, test } from '@jest/globals';
import { execa } from 'execa';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { resolveHardware } from '../../../src/config/resolve-hardware.ts';
import type { ResolvedHardware } from '../../../src/config/resolved.ts';
import { PINS, SEARCH_ATTRIBUTES } from '../../../src/provision/pins.ts';
import { GiB, MiB } from '../../../src/policy/sizes.ts';
import { renderCompose } from '../../../src/render/compose.ts';
import { renderPostgres } from '../../../src/render/postgres.ts';
import { renderQuadlet } from '../../../src/render/quadlet.ts';
import { renderAll } from '../../../src/render/render-all.ts';
import { containerTrino, services } from '../../../src/render/services.ts';
import { containerSize } from '../../../src/render/settings-text.ts';
import { renderSystemd } from '../../../src/render/systemd.ts';
import type { TrinoPlace } from '../../../src/render/trino.ts';
import { jvmOptions, renderTrino } from '../../../src/render/trino.ts';
import { REFERENCE_HOST, SMALL_HOST } from '../config/facts.ts';
import { expectGolden } from './golden.ts';

const PLACE: TrinoPlace = {
  version: 476,
  httpPort: 8080,
  nodeId: 'spillway-1',
  etcDir: '/home/etc/trino',
  dataDir: '/home/data/trino',
  pluginDir: '/home/cache/trino-476/plugin',
  scratch: '/opt/tmp/spillway',
  tmpDir: '/home/tmp/trino',
};
const SIXTEEN = { ramBytes: 16 * GiB, physicalCores: 4, freeDiskBytes: 500 * GiB };
const IMAGES = { temporalCli: PINS.temporalCli, trino: PINS.trino, postgres: 18, searchAttributes: SEARCH_ATTRIBUTES };
const RUNTIME = { kind: 'podman', image: '', flags: ['--runtime', 'runc', '--ulimit', 'nofile=20000:20000'] } as const;
const epyc = resolveHardware('epyc-768', 1, REFERENCE_HOST).hardware;
const rehearsal = resolveHardware('epyc-768', 64, SMALL_HOST).hardware;
const small = resolveHardware('auto', 1, SMALL_HOST).hardware;

/** Settings of a rendered file, as its server reads them. */
function settings(text: string): Map<string, string> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => {
      const at = line.indexOf('=');
      return [line.slice(0, at).trim(), line.slice(at + 1).trim()];
    }),
  );
}

describe.each<[string, ResolvedHardware]>([
  ['epyc-768', epyc],
  ['epyc-768-at-64th', rehearsal],
  ['auto-24', small],
])('files rendered for %s', (name, hardware) => {
  const files = { ...renderTrino(hardware, PLACE), 'postgresql.conf': renderPostgres(hardware, { port: 5432 }) };

  test('are the ones in the repository', () => expectGolden(files, `test/src/render/golden/${name}`));

  test('have no comment behind a value', () => {
    for (const [file, text] of Object.entries(files)) {
      if (file.endsWith('.json')) continue;
      for (const line of text.split('\n')) if (!line.startsWith('#')) expect(line).not.toContain('#');
    }
  });

  test('are the same each time', () => expect(renderTrino(hardware, PLACE)).toEqual(renderTrino(hardware, PLACE)));
});

describe('the reference machine', () => {
  const config = settings(renderTrino(epyc, PLACE)['config.properties'] ?? '');
  const postgres = settings(renderPostgres(epyc, { port: 5432 }));
  test.each<[string, Map<string, string>, string, string]>([
    ['Trino: memory of a query on a node', config, 'query.max-memory-per-node', '128GB'],
    ['Trino: memory of a query, whose default is 20 GB', config, 'query.max-memory', '128GB'],
    ['Trino: total memory of a query', config, 'query.max-total-memory', '160GB'],
    ['Trino: spill of all queries', config, 'max-spill-per-node', '512GB'],
    ['Trino: spill of one query', config, 'query-max-spill-per-node', '512GB'],
    ['Trino: spill on the scratch disk', config, 'spiller-spill-path', '/opt/tmp/spillway/trino-spill'],
    ['Trino: 476 does not spill by itself', config, 'spill-enabled', 'false'],
    ['PostgreSQL: shared_buffers', postgres, 'shared_buffers', '16GB'],
    ['PostgreSQL: work_mem', postgres, 'work_mem', '128MB'],
    ['PostgreSQL: maintenance_work_mem', postgres, 'maintenance_work_mem', '4GB'],
    ['PostgreSQL: autovacuum_work_mem', postgres, 'autovacuum_work_mem', '1GB'],
    ['PostgreSQL: wal_compression', postgres, 'wal_compression', 'lz4'],
    ['PostgreSQL: checkpoint_timeout', postgres, 'checkpoint_timeout', '30min'],
    ['PostgreSQL: max_wal_size', postgres, 'max_wal_size', '16GB'],
    ['PostgreSQL: synchronous_commit is never off for everybody', postgres, 'synchronous_commit', 'on'],
  ])('%s', (_title, file, key, value) => expect(file.get(key)).toBe(value));

  test('Trino: heap', () => expect(jvmOptions(renderTrino(epyc, PLACE)['jvm.config'] ?? '')).toContain('-Xmx196608m'));
});

describe('Trino', () => {
  test.each<[string, number, string | undefined, string | undefined]>([
    ['up to 368 the total is per node', 368, undefined, '160GB'],
    ['after it that setting stops the server', 369, '160GB', undefined],
  ])('%s', (_title, version, total, perNode) => {
    const config = settings(renderTrino(epyc, { ...PLACE, version })['config.properties'] ?? '');
    expect(config.get('query.max-total-memory')).toBe(total);
    expect(config.get('query.max-total-memory-per-node')).toBe(perNode);
  });

  test('spills by itself from 480 on', () => {
    const config = settings(renderTrino(epyc, { ...PLACE, version: 480 })['config.properties'] ?? '');
    expect(config.get('spill-enabled')).toBe('true');
  });

  test('gives free heap back, and ends when it runs out of it', () => {
    expect(jvmOptions(renderTrino(small, PLACE)['jvm.config'] ?? '')).toEqual(
      expect.arrayContaining([
        '-Xmx2048m',
        '-XX:+UseG1GC',
        '-XX:MinHeapFreeRatio=10',
        '-XX:MaxHeapFreeRatio=20',
        '-XX:+ExitOnOutOfMemoryError',
        '-Djdk.attach.allowAttachSelf=true',
      ]),
    );
  });

  test('runs one heavy query at a time, by tag, and everything else beside it', () => {
    const groups = JSON.parse(renderTrino(small, PLACE)['resource-groups.json'] ?? '') as {
      rootGroups: { name: string; hardConcurrencyLimit: number }[];
      selectors: unknown[];
    };
    expect(groups.rootGroups.map(({ name, hardConcurrencyLimit }) => [name, hardConcurrencyLimit])).toEqual([
      ['heavy', 1],
      ['control', 16],
    ]);
    expect(groups.selectors).toEqual([{ clientTags: ['heavy'], group: 'heavy' }, { group: 'control' }]);
  });

  test('the lake is the scratch root, and the server listens on loopback only', () => {
    const files = renderTrino(small, PLACE);
    expect(settings(files['catalog/lake.properties'] ?? '').get('local.location')).toBe(PLACE.scratch);
    expect(settings(files['node.properties'] ?? '').get('node.bind-ip')).toBe('127.0.0.1');
  });
});

test('a PostgreSQL built without lz4 compresses its log another way', () => {
  expect(settings(renderPostgres(epyc, { port: 1, walCompression: 'on' })).get('wal_compression')).toBe('on');
});

test('the compose file of the repository is the one of a 24 GiB host', () => {
  const text = renderCompose(small, IMAGES, { trinoFiles: './provision/compose/trino', buildContext: '.' });
  expectGolden({ 'docker-compose.yml': text }, '.');
  expectGolden(containerTrino(small, IMAGES), 'provision/compose/trino');
  for (const [published] of text.matchAll(/- '[^']*:\d+'/g)) expect(published).toMatch(/^- '127\.0\.0\.1:/);
  expect(text).toContain('mem_limit: 2548m');
});

describe.each<[string, ResolvedHardware]>([
  ['epyc-768', epyc],
  ['ram-16', resolveHardware('ram-16', 1, SIXTEEN).hardware],
])('what `spillway render` writes for %s', (name, hardware) => {
  const files = renderAll({ hardware, runtime: RUNTIME, drainMs: 30_000 }, IMAGES);

  test('is what the repository has', () => expectGolden(files, `test/src/render/golden/rendered-${name}`));

  test('holds each container to its memory, without swap, in every kind of file', () => {
    for (const { name: service, memoryBytes } of services(hardware, IMAGES, './trino')) {
      const limit = containerSize(memoryBytes);
      expect(files['docker-compose.yml']).toContain(`mem_limit: ${limit}\n    memswap_limit: ${limit}\n`);
      expect(files['podman-compose.yml']).toContain(`--podman-run-args=--memory-swap=${limit} up -d ${service}\n`);
      expect(files[`quadlet/spillway-${service}.container`]).toContain(`--memory=${limit} --memory-swap=${limit}`);
    }
    expect(files['systemd/spillway.slice']).toContain(`\nMemoryMax=${hardware.poolBytes / MiB}M\n`);
  });

  test('hands flags that a host needs on by the keys that podman-compose knows', () => {
    expect(files['podman-compose.yml']).toContain(
      `    runtime: runc\n    ulimits:\n      nofile:\n        soft: 20000\n        hard: 20000\n`,
    );
    const unknown = { ...RUNTIME, flags: ['--privileged', 'x'] };
    expect(() => renderAll({ hardware, runtime: unknown, drainMs: 1 }, IMAGES)).toThrow(
      'podman-compose hands no key on as --privileged. Remove it from runtime.flags',
    );
  });
});

test('a server that the pool pays for is rendered into its slice', () => {
  const charged = { ...small, postgres: { ...small.postgres, chargeTo: 'pool' as const } };
  const slice = (hardware: ResolvedHardware): string =>
    /Slice=.*/.exec(renderQuadlet(hardware, IMAGES)['spillway-postgres.container'] ?? '')?.[0] ?? '';
  expect([slice(small), slice(charged)]).toEqual(['Slice=system.slice', 'Slice=spillway.slice']);
});

test('systemd takes the units as they are', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-units-'));
  const units = renderSystemd(epyc, { drainMs: 30_000, workerBytes: 17 * GiB });
  for (const [name, text] of Object.entries(units)) writeFileSync(join(folder, name), text);
  const paths = Object.keys(units).map((name) => join(folder, name));
  const verified = await execa('systemd-analyze', ['verify', ...paths], { reject: false });
  rmSync(folder, { recursive: true });
  // Without systemd-analyze on this host the files themselves say what they promise.
  if (verified.code === 'ENOENT') {
    expect(units['spillway-worker.service']).toMatch(/Slice=spillway.slice[^]*Delegate=yes[^]*OOMPolicy=continue/);
  } else expect({ exitCode: verified.exitCode, said: verified.stderr }).toEqual({ exitCode: 0, said: '' });
});

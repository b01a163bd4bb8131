import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LoadOptions } from '../../../src/config/load-config.ts';
import { loadConfig } from '../../../src/config/load-config.ts';
import { SpillwayError } from '../../../src/contracts/errors.ts';
import { GiB } from '../../../src/policy/sizes.ts';
import { SMALL_HOST } from './facts.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-config-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Loads a configuration in the folder, with a home of its own. */
async function load(options: { file?: unknown; env?: LoadOptions['env']; flags?: LoadOptions['flags'] } = {}) {
  if (options.file !== undefined) writeFileSync(join(folder, 'spillway.config.json'), JSON.stringify(options.file));
  const env = { HOME: folder, ...options.env };
  return loadConfig({ cwd: folder, env, flags: options.flags ?? {}, facts: SMALL_HOST });
}

async function problems(options: Parameters<typeof load>[0]): Promise<string[]> {
  const error = await load(options).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof SpillwayError)) throw new Error(`expected problems, got ${String(error)}`);
  expect(error.code).toBe('InvalidInput');
  const { problems: found } = error.details as { problems: string[] };
  expect(error.message).toBe(found.length === 1 ? found[0] : [`${found.length} problems:`, ...found].join('\n- '));
  return found;
}

describe('without any file', () => {
  test('everything has its default, and connections that nobody started are absent', async () => {
    const config = await load();
    expect(config.home).toBe(join(folder, '.cache', 'spillway'));
    expect(config.scratch).toBe(join(config.home, 'scratch'));
    expect(config.pool).toEqual({ name: 'default', hostLock: 'spillway-host' });
    expect(config.temporal).toEqual({ address: '127.0.0.1:7233', namespace: 'default' });
    expect(config.trino).toEqual({});
    expect(config.postgres).toEqual({});
    expect(config.runtime).toEqual({ kind: 'podman', flags: [], image: '' });
    expect(config.drainMs).toBe(30_000);
    expect(config).not.toHaveProperty('file');
    expect(config.origins).toMatchObject({
      hardware: 'default',
      'pool.limit': 'hardware',
      'temporal.address': 'default',
    });
  });
});

describe('layers', () => {
  test('a flag wins over the environment, that over the file, that over the profile; each value knows its origin', async () => {
    const config = await load({
      file: {
        pool: { limit: '8GB', name: 'etl' },
        light: { slots: 2, stepBytes: '200MB' },
        worker: { drain: '1 minute' },
      },
      env: { SPILLWAY_POOL_LIMIT: '9GB', SPILLWAY_LIGHT_SLOTS: '3' },
      flags: { 'pool.limit': '10GB' },
    });
    expect(config.hardware.poolBytes).toBe(10 * GiB);
    expect(config.hardware.lightSlots).toBe(3);
    expect(config.pool.name).toBe('etl');
    expect(config.drainMs).toBe(60_000);
    expect(config.origins).toMatchObject({
      'pool.limit': 'flag',
      'light.slots': 'environment',
      'light.stepBytes': 'file',
      'worker.drain': 'file',
      'worker.baseline': 'hardware',
      'pool.hostLock': 'default',
    });
  });

  test('directories, checkpoints and borders of handoffs come from any layer', async () => {
    const config = await load({
      file: {
        directories: {
          lake: { path: './lake', access: 'write' },
          site: { url: 'https://data.example/v1', token: { secret: 'SITE' } },
        },
        checkpoints: { ttl: '2 days' },
      },
      env: { SPILLWAY_DIRECTORIES_PATH: '/data', SPILLWAY_HANDOFF_ARROW_ABOVE: '0.45' },
      flags: { 'checkpoints.limit': '1GB', 'handoff.parquetAbove': '0.9' },
    });
    expect(config.directories).toEqual({
      lake: { path: join(folder, 'lake'), access: 'write' },
      default: { path: '/data', access: 'read' },
      site: { url: 'https://data.example/v1', access: 'read', maxConnections: 4, token: { secret: 'SITE' } },
    });
    expect([config.checkpointTtlMs, config.hardware.checkpointBytes]).toEqual([2 * 86_400_000, GiB]);
    expect(config.handoff).toEqual({ arrowAbove: 0.45, parquetAbove: 0.9, parquetAboveWhenContended: 0.4 });
  });

  test.each<[string, Record<string, string>, string]>([
    ['TEMPORAL_ADDRESS sets the address', { TEMPORAL_ADDRESS: 'a:1' }, 'a:1'],
    ['SPILLWAY_TEMPORAL_ADDRESS wins over it', { TEMPORAL_ADDRESS: 'a:1', SPILLWAY_TEMPORAL_ADDRESS: 'b:2' }, 'b:2'],
    ['an empty variable is none', { TEMPORAL_ADDRESS: '' }, '127.0.0.1:7233'],
  ])('%s', async (_title, env, address) => expect((await load({ env })).temporal.address).toBe(address));

  test('--scale divides the profile; a size that is set stands as written', async () => {
    const flags = { hardware: 'epyc-768', scale: '1/64' };
    expect((await load({ flags })).hardware.poolBytes).toBe(8 * GiB);
    expect((await load({ flags: { ...flags, 'pool.limit': '9GB' } })).hardware.poolBytes).toBe(9 * GiB);
    expect((await load({ flags })).because).toHaveProperty(['light.stepBytes']);
  });

  test('what `spillway up` wrote fills in what nobody set, with the password it made', async () => {
    const home = join(folder, 'home');
    mkdirSync(join(home, 'run'), { recursive: true });
    writeFileSync(join(home, 'password'), 'made-up\n');
    const parts = {
      scratch: join(home, 'scratch'),
      temporal: {
        address: '127.0.0.1:7500',
        ui: 'http://127.0.0.1:8500',
        namespace: 'default',
        version: '1',
        found: 'fetched',
      },
      trino: { url: 'http://127.0.0.1:8080', version: '476', found: 'fetched', lakeRoot: join(home, 'scratch') },
      postgres: {
        url: 'postgres://spillway@127.0.0.1:5432/spillway',
        version: '15',
        found: 'path',
        passwordFile: join(home, 'password'),
      },
      image: { runtime: 'podman', version: '4', flags: ['--runtime', 'runc'], name: 'localhost/x:1', found: 'fetched' },
    };
    writeFileSync(join(home, 'run', 'parts.json'), JSON.stringify(parts));
    const config = await load({ file: { home: './home' } });
    expect(config.temporal).toEqual({ address: '127.0.0.1:7500', namespace: 'default', ui: 'http://127.0.0.1:8500' });
    expect(config.trino['default']).toEqual({
      url: 'http://127.0.0.1:8080',
      user: 'spillway',
      residence: 'resident',
      lakeCatalog: 'lake',
      lakeRoot: join(home, 'scratch'),
    });
    expect(config.postgres['default']?.password).toEqual({ literal: 'made-up', provisioned: true });
    expect(config.runtime).toEqual({ kind: 'podman', flags: ['--runtime', 'runc'], image: 'localhost/x:1' });
    expect(config.origins).toMatchObject({ 'trino.default.url': 'provisioned', home: 'file' });

    const elsewhere = await load({ file: { home: './home', trino: { default: { url: 'http://trino:8080/' } } } });
    expect(elsewhere.trino['default']).toMatchObject({ url: 'http://trino:8080', residence: 'external' });
  });

  test('a TypeScript file is found above the working directory and its paths stand against it', async () => {
    const below = join(folder, 'a', 'b');
    mkdirSync(below, { recursive: true });
    writeFileSync(join(folder, 'flows.ts'), '');
    const source = `import { defineConfig } from 'spillway';\nconst name: string = 'typed';\nexport default defineConfig({ pool: { name }, workflows: './flows.ts', scratch: './s' });\n`;
    writeFileSync(join(folder, 'spillway.config.ts'), source);
    const config = await loadConfig({ cwd: below, env: { HOME: folder }, facts: SMALL_HOST });
    expect(config.file).toBe(join(folder, 'spillway.config.ts'));
    expect(config.pool.name).toBe('typed');
    expect(config.workflows).toBe(join(folder, 'flows.ts'));
    expect(config.scratch).toBe(join(folder, 's'));
  });

  test('a TypeScript file is compiled once for its content', async () => {
    const read = async (env: LoadOptions['env']): Promise<string> =>
      (await loadConfig({ cwd: folder, env, facts: SMALL_HOST })).pool.name;
    const file = join(folder, 'spillway.config.ts');
    for (const home of [undefined, join(folder, 'own')]) {
      const env = { HOME: folder, SPILLWAY_HOME: home };
      const kept = join(home ?? join(folder, '.cache', 'spillway'), 'run', 'compiled');
      for (const name of ['first', 'second']) {
        writeFileSync(file, `export default { pool: { name: '${name}' as string } };`);
        expect([await read(env), await read(env)]).toEqual([name, name]);
      }
      // Its owner's alone, and so is the home, in which passwords will lie.
      const modes = ['.', '..', '../..'].map((above) => statSync(join(kept, above)).mode & 0o777);
      expect(modes).toEqual([0o700, 0o700, 0o700]);
      const [compiled] = readdirSync(kept).filter((it) => it.includes('spillway.config'));
      const text = readFileSync(join(kept, compiled!), 'utf8');
      writeFileSync(join(kept, compiled!), text.replace('second', 'kept'));
      expect(await read(env)).toBe('kept');
    }
  });

  test('a file that does not load is one problem with its reason', async () => {
    writeFileSync(join(folder, 'spillway.config.json'), '{');
    await expect(loadConfig({ cwd: folder, env: { HOME: folder }, facts: SMALL_HOST })).rejects.toThrow(
      /spillway\.config\.json could not be loaded: .*JSON/,
    );
  });
});

describe('problems', () => {
  test('are told all at once, each with key, rule, value, source and mend', async () => {
    const lines = await problems({
      file: {
        hardwear: 'auto',
        pool: { limit: '512GB', limt: 3 },
        trino: { default: { url: 'ftp://x' }, other: { user: 'me' } },
        postgres: { default: { url: 'postgres://u:geheim@h/db', password: 'geheim' } },
        light: { slots: 0 },
        worker: { drain: '3 hours' },
        workflows: './nowhere.ts',
      },
      env: { SPILLWAY_POOL_NAM: 'x', SPILLWAY_LIGHT_STEP_BYTES: 'much' },
      flags: { 'engines.trino.heap': '5GB', scale: '2' },
    });
    expect(lines).toEqual(
      expect.arrayContaining([
        'hardwear is not a key of the configuration (spillway.config.json). Did you mean hardware?',
        'pool.limt is not a key of the configuration (spillway.config.json). Did you mean pool.limit?',
        'pool.limit must be at most 24 GiB (the RAM of this host), got 512GB (spillway.config.json). Lower it or choose another hardware profile.',
        'trino.default.url must be an address that starts with http:// or https://, got ftp://x (spillway.config.json).',
        'trino.other.url is missing (spillway.config.json). Set it, or remove trino.other.',
        'postgres.default.url must not hold a password; name it with password: { secret: … }, got postgres://…@h/db (spillway.config.json).',
        'postgres.default.password must be { secret: NAME }; a secret itself does not belong here, got a value that is not shown (spillway.config.json).',
        'light.slots must be a whole number from 1 to 1000, got 0 (spillway.config.json).',
        'worker.drain must be from 1 second to 1 hour, got 3 hours (spillway.config.json).',
        `workflows must be a file that exists, got ./nowhere.ts (spillway.config.json). Looked for ${join(folder, 'nowhere.ts')}.`,
        'SPILLWAY_POOL_NAM is not a variable of Spillway. Did you mean SPILLWAY_POOL_NAME?',
        'light.stepBytes must be a size such as 512GB or 600 MiB, got much (SPILLWAY_LIGHT_STEP_BYTES).',
        'scale must be a fraction such as 1/64, got 2 (--scale).',
        'engines.trino.heap must be less than engines.trino.container (2.5 GiB), got 5GB (--engines-trino-heap). Leave 500 MiB for what is not heap.',
      ]),
    );
    expect(lines).toHaveLength(14);
    expect(lines.join()).not.toContain('geheim');
  });

  test.each<[string, unknown, RegExp]>([
    ['a pool that standing charges eat up', { pool: { limit: '1GB' } }, /^pool\.limit must be more than the standing charges of .* \(worker 400 MiB, 4 light slots of 256 MiB\), got 1GB/],
    ['a query limit that leaves no headroom', { engines: { trino: { maxMemoryPerNode: '1.9GB' } } }, /^engines\.trino\.maxMemoryPerNode must be less than 1\.5 GiB \(engines\.trino\.heap without heapHeadroom\), got 1\.9GB/],
    ['a total below the query limit', { engines: { trino: { maxTotalMemory: '1GB' } } }, /^engines\.trino\.maxTotalMemory must be at least/],
    ['a floor above the container', { engines: { trino: { floor: '3GB' } } }, /^engines\.trino\.floor must be less than/],
    ['a resident Trino larger than the pool', { trino: { default: { url: 'http://t:1', residence: 'resident' } }, engines: { trino: { container: '11.9GB' } } }, /^engines\.trino\.container must be at most/],
    ['shared buffers beyond the RAM beside the pool', { engines: { postgres: { sharedBuffers: '13GB' } } }, /^engines\.postgres\.sharedBuffers must be at most 12 GiB/],
    ['a border of a handoff out of its range', { handoff: { arrowAbove: 0.9 } }, /^handoff\.arrowAbove must be a number from 0\.4 to 0\.5, got 0\.9/],
    ['more checkpoints than scratch', { checkpoints: { limit: '64GB' } }, /^checkpoints\.limit must be at most pool\.scratchLimit \(32 GiB\)/],
    ['checkpoints for a moment', { checkpoints: { ttl: '5 seconds' } }, /^checkpoints\.ttl must be from 1 minute to 365 days, got 5 seconds/],
    ['a directory without a path', { directories: { lake: { access: 'write' } } }, /^directories\.lake\.path or directories\.lake\.url is missing/],
    ['a directory with both', { directories: { lake: { path: '.', url: 'https://a.example' } } }, /^directories\.lake must have a path or a url, got both\. Remove one/],
    ['a web server that is to be written to', { directories: { lake: { url: 'https://a.example', access: 'write' } } }, /^directories\.lake\.access must be 'read' where a url is given/],
    ['connections of a directory on disk', { directories: { lake: { path: '.', maxConnections: 2 } } }, /^directories\.lake\.maxConnections goes with a url, and directories\.lake has a path/],
    ['too many connections', { directories: { lake: { url: 'https://a.example', maxConnections: 65 } } }, /^directories\.lake\.maxConnections must be .* got 65/],
    ['another protocol', { directories: { lake: { url: 'ftp://a.example' } } }, /^directories\.lake\.url must be an address that starts with http:\/\/ or https:\/\/, got ftp/],
    ['a web server with an account', { directories: { lake: { url: 'https://me@a.example' } } }, /^directories\.lake\.url must be an address without an account, \? and #/],
    ['a web server with a signature', { directories: { lake: { url: 'https://a.example/x?sig=1' } } }, /^directories\.lake\.url must be an address without an account, \? and #/],
    ['a token in the file', { directories: { lake: { url: 'https://a.example', token: 'geheim' } } }, /^directories\.lake\.token must be \{ secret: NAME \}; .*, got a value that is not shown/],
    ['a directory with another right', { directories: { lake: { path: '.', access: 'all' } } }, /^directories\.lake\.access must be 'read' or 'write', got all/],
    ['more scratch than the disk has', { pool: { scratchLimit: '1TB' } }, /^pool\.scratchLimit must be at most 75 GiB \(free on the disk/],
    ['more spill than scratch', { engines: { trino: { spill: '40GB' } } }, /^engines\.trino\.spill must be at most pool\.scratchLimit \(32 GiB\)/],
    ['another server than this one', { hardware: 'epyc-768' }, /^pool\.limit must be at most 24 GiB \(the RAM of this host\), got 512 GiB \(hardware profile epyc-768\)/],
    ['a group that is a number', { pool: 3 }, /^pool must be a group of keys, got 3 \(spillway\.config\.json\)/],
    ['a file that is a list', [], /^The configuration must be an object, got \[\]/],
    ['a key that is like no other', { zzzzzz: 1 }, /^zzzzzz is not a key .* Known here: hardware, scale, home/],
    ['a pool name that cannot name a queue', { pool: { name: 'a b' } }, /^pool\.name must be 1 to 64 letters/],
  ])('%s', async (_title, file, expected) => {
    expect(await problems({ file })).toEqual(expect.arrayContaining([expect.stringMatching(expected)]));
  }); // prettier-ignore

  test('variables of other programs with the same prefix are left alone', async () => {
    await expect(load({ env: { SPILLWAY_SECRET_DB: 'x', SPILLWAY_THING_OF_MINE: 'y' } })).resolves.toBeDefined();
  });
});

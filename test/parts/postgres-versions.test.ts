import { afterAll, expect, test } from '@jest/globals';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { resolveHardware } from '../../src/config/resolve-hardware.ts';
import { connectPostgres } from '../../src/engines/postgres/connection.ts';
import { findOrphanFiles } from '../../src/engines/postgres/orphan-files.ts';
import { GiB } from '../../src/policy/sizes.ts';
import { homePlaces, makePlaces } from '../../src/provision/places.ts';
import { passwordFile, postgresPlan } from '../../src/provision/postgres.ts';
import { postgresBinaries } from '../../src/provision/postgres-binaries.ts';
import { bringUpServer } from '../../src/provision/server-part.ts';
import { serverUser } from '../../src/provision/server-user.ts';
import { takeDown } from '../../src/provision/take-down.ts';
import { postgresFromNpm } from './postgres-from-npm.ts';
import { cacheDir } from '../integration/provision-home.ts';

const quiet = (): void => undefined;
const homes: string[] = [];
afterAll(async () => {
  for (const home of homes) {
    await takeDown({ home });
    rmSync(home, { recursive: true, force: true });
  }
}, 60_000);

test.each([
  ['the one of this host', () => postgresBinaries(cacheDir, process.env, quiet)],
  ['18, from npm', postgresFromNpm],
])(
  'PostgreSQL (%s) starts with the rendered settings of a profile and has them in force',
  async (title, find) => {
    const home = mkdtempSync(join(tmpdir(), 'spillway-postgres-'));
    homes.push(home);
    const places = homePlaces(home, cacheDir);
    makePlaces(places);
    const facts = { ramBytes: 24 * GiB, physicalCores: 2, freeDiskBytes: 500 * GiB };
    const { hardware } = resolveHardware('epyc-768', 64, facts);
    const binaries = await find();
    if (title.startsWith('18')) expect(binaries.major).toBe(18);
    const plan = postgresPlan(places, { binaries, hardware, user: serverUser(), env: process.env });
    const server = await bringUpServer(places, plan, quiet, new Set());
    const url = `postgres://spillway@127.0.0.1:${server.ports['sql']}/spillway`;
    const client = await connectPostgres(url, readFileSync(passwordFile(places), 'utf8').trim());
    const { rows } = await client.query<{ name: string; value: string }>(
      `select name, case when unit is null or unit = 's' then setting else pg_size_bytes(current_setting(name))::text end as value
     from pg_settings where name in ('shared_buffers', 'work_mem', 'maintenance_work_mem', 'max_wal_size', 'wal_compression', 'checkpoint_timeout')`,
    );
    // Each file of each version belongs to a table, indexes and the catalog's own among them.
    await client.query('create table there (id bigint primary key, name text); insert into there select n, n from generate_series(1, 1000) n'); // prettier-ignore
    expect(await findOrphanFiles(client, '0 s')).toEqual({ files: 0, bytes: 0, largest: [] });
    await client.end();
    const { postgres } = hardware;
    expect(server.version.startsWith(String(binaries.major))).toBe(true);
    expect(Object.fromEntries(rows.map(({ name, value }) => [name, value]))).toEqual({
      shared_buffers: String(postgres.sharedBuffersBytes),
      work_mem: String(postgres.workMemBytes),
      maintenance_work_mem: String(postgres.maintenanceWorkMemBytes),
      max_wal_size: String(postgres.maxWalSizeBytes),
      checkpoint_timeout: String(postgres.checkpointTimeoutMinutes * 60),
      // A server that was built without lz4 is told another way to compress.
      wal_compression: expect.stringMatching(/^(lz4|on|pglz)$/),
    });
  },
  240_000,
);

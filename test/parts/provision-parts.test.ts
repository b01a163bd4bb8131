import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import type { Server } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Connection } from '@temporalio/client';
import pg from 'pg';
import type { Parts } from '../../src/contracts/parts.ts';
import { readProcessId } from '../../src/host/process-id.ts';
import type { BringUpOptions } from '../../src/provision/bring-up.ts';
import { bringUp } from '../../src/provision/bring-up.ts';
import { partsStatus } from '../../src/provision/parts-status.ts';
import { homePlaces, makePlaces } from '../../src/provision/places.ts';
import { postgresBinaries, reachableCopy } from '../../src/provision/postgres-binaries.ts';
import { postgresPlan } from '../../src/provision/postgres.ts';
import type { Report } from '../../src/provision/progress.ts';
import { bringUpServer } from '../../src/provision/server-part.ts';
import { serverUser } from '../../src/provision/server-user.ts';
import { SEARCH_ATTRIBUTES } from '../../src/provision/pins.ts';
import { takeDown } from '../../src/provision/take-down.ts';
import { probeTrino } from '../../src/provision/trino-probe.ts';
import { cacheDir, hostHardware, withoutCustomaryPorts } from '../integration/provision-home.ts';

// A folder that only its owner may enter, as a home below /root is.
const closed = mkdtempSync(join(tmpdir(), 'spillway-provision-'));
chmodSync(closed, 0o700);
const hardware = hostHardware();
const homeOf = (name: string): string => join(closed, name);

function options(name: string): Omit<BringUpOptions, 'only'> {
  return { home: homeOf(name), cacheDir, hardware, systemPackages: false, env: process.env, report: () => undefined };
}

afterAll(async () => {
  for (const name of readdirSync(closed))
    if (existsSync(join(closed, name, 'run'))) await takeDown({ home: join(closed, name) });
  rmSync(closed, { recursive: true, force: true });
});

async function sql(parts: Pick<Parts, 'postgres'>, statement: string): Promise<Record<string, unknown>[]> {
  const url = new URL(parts.postgres.url);
  url.password = readFileSync(parts.postgres.passwordFile ?? '', 'utf8').trim();
  const client = new pg.Client({ connectionString: url.href });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(statement)).rows;
  } finally {
    await client.end();
  }
}

async function trinoRows(url: string, statement: string, more: Record<string, string> = {}): Promise<unknown[][]> {
  const headers = { 'X-Trino-User': 'test', ...more };
  type Page = { nextUri?: string; data?: unknown[][]; error?: { message: string } };
  const read = async (at: string, init: RequestInit): Promise<Page> => (await (await fetch(at, init)).json()) as Page;
  let page = await read(`${url}/v1/statement`, { method: 'POST', body: statement, headers });
  const rows = page.data ?? [];
  while (page.nextUri !== undefined) {
    page = await read(page.nextUri, { headers });
    rows.push(...(page.data ?? []));
  }
  if (page.error) throw new Error(page.error.message);
  return rows;
}

describe('all parts', () => {
  let parts: Parts;
  let seconds: number;
  beforeAll(async () => {
    const began = Date.now();
    parts = await bringUp(options('all'));
    seconds = (Date.now() - began) / 1000;
  }, 600_000);

  test('Temporal knows the search attributes of steps', async () => {
    const connection = await Connection.connect({ address: parts.temporal.address });
    const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace: 'default' });
    await connection.close();
    expect(Object.keys(customAttributes ?? {})).toEqual(expect.arrayContaining([...SEARCH_ATTRIBUTES]));
  });

  test('the UI of Temporal answers', async () => {
    const response = await fetch(parts.temporal.ui);
    expect(response.ok).toBe(true);
    await response.text();
  });

  test('Trino runs TPC-H and unloads into the scratch', async () => {
    const unload = `create table lake.provision.orders with (external_location='local:///unloads/1') as select * from tpch.tiny.orders`;
    await trinoRows(parts.trino.url, 'create schema if not exists lake.provision');
    await trinoRows(parts.trino.url, unload);
    const files = readdirSync(join(parts.scratch, 'unloads', '1'));
    expect(files.length).toBeGreaterThan(0);
    expect(
      readFileSync(join(parts.scratch, 'unloads', '1', files[0] ?? ''))
        .subarray(0, 4)
        .toString(),
    ).toBe('PAR1');
  }, 60_000);

  test('Trino runs with the heap of the profile', () => {
    const command = readFileSync(`/proc/${parts.trino.pid}/cmdline`, 'utf8').split('\0');
    expect(command).toContain(`-Xmx${Math.floor(hardware.trino.heapBytes / 2 ** 20)}m`);
  });

  test('Trino runs queries tagged heavy in a group of one at a time, and all others beside them', async () => {
    const mine = "select 'which group' from tpch.tiny.region";
    await trinoRows(parts.trino.url, mine, { 'X-Trino-Client-Tags': 'heavy' });
    await trinoRows(parts.trino.url, mine);
    const groups = `select array_join(resource_group_id, '.') from system.runtime.queries where query = '${mine.replaceAll("'", "''")}' order by created`;
    expect(await trinoRows(parts.trino.url, groups)).toEqual([['heavy'], ['control']]);
  }, 60_000);

  test('PostgreSQL runs with the settings of the profile, in UTF-8, on loopback only', async () => {
    const names = ['shared_buffers', 'work_mem', 'maintenance_work_mem', 'autovacuum_work_mem', 'max_wal_size'];
    const rows = await sql(
      parts,
      `select name, setting::bigint * case unit when '8kB' then 8192 when 'kB' then 1024 when 'MB' then 1048576 end as bytes
       from pg_settings where name in (${names.map((name) => `'${name}'`).join(', ')})`,
    );
    const { postgres } = hardware;
    expect(Object.fromEntries(rows.map(({ name, bytes }) => [name, Number(bytes)]))).toEqual({
      shared_buffers: postgres.sharedBuffersBytes,
      work_mem: postgres.workMemBytes,
      maintenance_work_mem: postgres.maintenanceWorkMemBytes,
      autovacuum_work_mem: postgres.autovacuumWorkMemBytes,
      max_wal_size: postgres.maxWalSizeBytes,
    });
    const [row] = await sql(
      parts,
      `select current_setting('server_encoding') as encoding, current_setting('listen_addresses') as listens,
              current_setting('synchronous_commit') as durable`,
    );
    expect(row).toEqual({ encoding: 'UTF8', listens: '127.0.0.1', durable: 'on' });
  });

  test('PostgreSQL is not root, and its password is for one reader', () => {
    expect(readFileSync(`/proc/${parts.postgres.pid}/status`, 'utf8')).not.toMatch(/^Uid:\s+0\s/m);
    expect(statSync(parts.postgres.passwordFile ?? '').mode & 0o777).toBe(0o600);
  });

  test('status finds each part answering', async () => {
    const { parts: read, status } = await partsStatus({ home: homeOf('all') });
    expect(read).toEqual(parts);
    expect(status.map(({ part, state }) => [part, state])).toEqual([
      ['temporal', 'answers'],
      ['trino', 'answers'],
      ['postgres', 'answers'],
      ['image', 'answers'],
    ]);
  });

  test('what runs is kept, and found in a small part of the time that a start takes', async () => {
    const began = Date.now();
    const again = await bringUp(options('all'));
    expect((Date.now() - began) / 1000).toBeLessThan(seconds / 3);
    for (const name of ['temporal', 'trino', 'postgres'] as const) expect(again[name].pid).toBe(parts[name].pid);
  }, 60_000);

  test('other memory settings start Trino anew, and only Trino', async () => {
    const heapBytes = hardware.trino.heapBytes + 2 ** 20;
    const changed = { ...hardware, trino: { ...hardware.trino, heapBytes } };
    const again = await bringUp({ ...options('all'), hardware: changed });
    expect(again.trino.pid).not.toBe(parts.trino.pid);
    expect(again.trino.url).toBe(parts.trino.url);
    expect(again.temporal.pid).toBe(parts.temporal.pid);
    expect(await probeTrino(again.trino.url, 'select count(*) from tpch.tiny.nation')).toBe('476');
  }, 300_000);

  test('taking down stops what was started, and names it; a second time there is nothing', async () => {
    const stopped = await takeDown({ home: homeOf('all') });
    expect(stopped.map(({ part, how }) => [part, how]).sort()).toEqual([
      ['postgres', 'ended'],
      ['temporal', 'ended'],
      ['trino', 'ended'],
    ]);
    for (const { process: gone } of stopped) expect(readProcessId(gone.pid)).toBeUndefined();
    expect(await takeDown({ home: homeOf('all') })).toEqual([]);
    const { status } = await partsStatus({ home: homeOf('all') });
    expect(status.map(({ state }) => state)).toEqual(['absent', 'absent', 'absent', 'answers']);
  }, 60_000);
});

describe('a home', () => {
  const light = ['temporal', 'postgres'] as const;

  test('that is brought up twice at once gets each server once', async () => {
    // The tests that follow stop these servers for a while and look for their ports again.
    const both = await withoutCustomaryPorts(() =>
      Promise.all([1, 2].map(() => bringUp({ ...options('twice'), only: light }))),
    );
    expect(both[0]?.postgres?.pid).toBeDefined();
    expect(both[0]?.postgres?.pid).toBe(both[1]?.postgres?.pid);
    expect(both[0]?.temporal?.pid).toBe(both[1]?.temporal?.pid);
  }, 60_000);

  test('keeps its data and its ports from one start to the next', async () => {
    const first = await bringUp({ ...options('twice'), only: light });
    await sql({ postgres: first.postgres! }, 'create table kept (id int)');
    await takeDown({ home: homeOf('twice') });
    const second = await bringUp({ ...options('twice'), only: light });
    expect(second.postgres?.url).toBe(first.postgres?.url);
    expect(second.temporal?.address).toBe(first.temporal?.address);
    expect(await sql({ postgres: second.postgres! }, 'select * from kept')).toEqual([]);
  }, 60_000);

  test('takes another port when somebody has the remembered one', async () => {
    const first = await bringUp({ ...options('twice'), only: ['postgres'] });
    await takeDown({ home: homeOf('twice') });
    const squatter = createServer().listen(Number(new URL(first.postgres!.url).port), '127.0.0.1');
    await once(squatter, 'listening');
    try {
      const second = await bringUp({ ...options('twice'), only: ['postgres'] });
      expect(second.postgres?.url).not.toBe(first.postgres?.url);
      expect(await sql({ postgres: second.postgres! }, 'select 1 as one')).toEqual([{ one: 1 }]);
    } finally {
      squatter.close();
    }
  }, 60_000);

  test.each(['temporal', 'trino', 'postgres'] as const)(
    'whose port somebody takes between looking and listening starts %s on another',
    async (part) => {
      const name = `raced-${part}`;
      const said: string[] = [];
      const squatters: Server[] = [];
      const report: Report = ({ what, text }) => {
        said.push(`${what} ${text}`);
        const port = /on port (\d+)/.exec(text)?.[1];
        if (what === 'starting' && squatters.length === 0)
          squatters.push(createServer((socket) => socket.destroy()).listen(Number(port), '127.0.0.1'));
      };
      try {
        const parts = await bringUp({ ...options(name), only: [part], report });
        expect(parts[part]?.pid).toBeDefined();
        expect(said.filter((line) => line.startsWith('starting'))).toHaveLength(2);
        expect(serversOf(homeOf(name))).toEqual([parts[part]!.pid!]);
      } finally {
        for (const squatter of squatters) squatter.close();
        await takeDown({ home: homeOf(name) });
      }
    },
    150_000,
  );

  test.each(['temporal starting', 'postgres starting', 'postgres ready'])(
    'whose start was killed at "%s" is brought up by the next call, with one server of each',
    async (moment) => {
      const name = `killed-${moment.replace(' ', '-')}`;
      const program = join(import.meta.dirname, 'provision-killed.ts');
      const jiti = join(import.meta.dirname, '..', '..', 'node_modules', 'jiti', 'lib', 'jiti-cli.mjs');
      const child = spawn(process.execPath, [jiti, program, homeOf(name), moment], { stdio: 'inherit' });
      await once(child, 'exit');
      expect(child.signalCode).toBe('SIGKILL');
      const parts = await bringUp({ ...options(name), only: light });
      expect(await sql({ postgres: parts.postgres! }, 'select 1 as one')).toEqual([{ one: 1 }]);
      expect(serversOf(homeOf(name)).sort()).toEqual([parts.temporal!.pid!, parts.postgres!.pid!].sort());
      await takeDown({ home: homeOf(name) });
      expect(serversOf(homeOf(name))).toEqual([]);
    },
    120_000,
  );

  test('never stops a process that only has the pid of its server', async () => {
    const stranger = spawn('sleep', ['60']);
    const home = homeOf('stranger');
    mkdirSync(join(home, 'run'), { recursive: true });
    const own = readFileSync(`/proc/${stranger.pid}/stat`, 'utf8').trimEnd();
    const fields = own.slice(own.lastIndexOf(')') + 2).split(' ');
    fields[19] = String(Number(fields[19]) - 1); // started earlier: another process had this pid
    writeFileSync(join(home, 'run', 'postgres.stat'), `${stranger.pid} (postgres) ${fields.join(' ')}\n`);
    expect(await takeDown({ home })).toEqual([]);
    expect(stranger.exitCode).toBeNull();
    stranger.kill();
    await once(stranger, 'exit');
  });

  test('without the container runtime that is wanted says what to install, and keeps the other parts', async () => {
    const asked = bringUp({
      ...options('twice'),
      ...{ only: ['postgres', 'image'], configured: { runtime: 'podman' } },
      probeRuntime: async () => ({ kind: 'none', because: 'no container runtime starts a container here' }),
    });
    await expect(asked).rejects.toMatchObject({
      code: 'EngineUnreachable',
      message:
        'DataFusion image: no container runtime starts a container here, and system packages may not be installed. Install Podman or Docker or set runtime.image.',
    });
    const { parts } = await partsStatus({ home: homeOf('twice') });
    expect(parts?.postgres?.pid).toBeDefined();
    expect(parts?.image).toBeUndefined();
  }, 60_000);

  test('takes a server that is configured as it is, and leaves it running', async () => {
    const served = await bringUp({ ...options('twice'), only: ['postgres'] });
    const url = new URL(served.postgres!.url);
    const secret = readFileSync(served.postgres!.passwordFile ?? '', 'utf8').trim();
    const configured = { postgres: { url: url.href, password: secret } };
    const guest = await bringUp({ ...options('guest'), only: ['postgres'], configured });
    expect(guest.postgres).toEqual({ url: url.href, version: served.postgres!.version, found: 'configured' });
    expect(await takeDown({ home: homeOf('guest') })).toEqual([]);
    expect(await sql({ postgres: served.postgres! }, 'select 1 as one')).toEqual([{ one: 1 }]);
    const file = readFileSync(join(homeOf('guest'), 'run', 'parts.json'), 'utf8');
    expect(file).not.toContain(secret);
  }, 60_000);
});

test('without PostgreSQL on the host one comes from npm, and runs although nobody else may enter the home', async () => {
  const path = (process.env['PATH'] ?? '').split(':').filter((at) => !existsSync(join(at, 'postgres')));
  const env = { ...process.env, PATH: path.join(':') };
  const binaries = await postgresBinaries(join(closed, 'cache'), env, () => undefined, join(closed, 'none-installed'));
  expect(binaries).toMatchObject({ found: 'fetched', major: 18 });
  const places = homePlaces(homeOf('fetched'));
  makePlaces(places);
  const plan = postgresPlan(places, { binaries, hardware, user: serverUser(), env });
  const server = await bringUpServer(places, plan, () => undefined, new Set());
  try {
    expect(server.version).toMatch(/^18\./);
  } finally {
    await takeDown({ home: places.home });
    rmSync(reachableCopy(binaries), { recursive: true, force: true });
  }
}, 120_000);

/** Pids of servers that log into a home; their children log there too and are left out. */
function serversOf(home: string): number[] {
  const logging = new Map<number, number>();
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      if (!readlinkSync(`/proc/${name}/fd/1`).startsWith(join(home, 'logs'))) continue;
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      logging.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
    } catch {
      // ended while we looked
    }
  }
  return [...logging].filter(([, parent]) => !logging.has(parent)).map(([pid]) => pid);
}

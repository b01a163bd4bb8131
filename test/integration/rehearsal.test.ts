import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { execa } from 'execa';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readHostFacts } from '../../src/config/host-facts.ts';
import { resolveHardware } from '../../src/config/resolve-hardware.ts';
import { connectPostgres } from '../../src/engines/postgres/connection.ts';
import { openTrino } from '../../src/engines/trino/client.ts';
import { MiB } from '../../src/policy/sizes.ts';
import { buildComposeImages, podmanCompose, type ComposeImages } from './compose-images.ts';
import { sharedHome } from './provision-home.ts';
import { Stack } from './stack.ts';
import { eventually } from './stack-waiting.ts';
import { freePort } from '../../src/provision/ports.ts';

jest.setTimeout(240_000);

/** A sixty-fourth of the reference machine: pool 8 GiB, Trino's container 4, heap 3, 2 a query. */
const SCALE = ['--hardware', 'epyc-768', '--scale', '1/64'];
const hardware = resolveHardware('epyc-768', 64, readHostFacts(sharedHome)).hardware;
const PASSWORD = 'only-for-this-test';

interface Inspected {
  Name: string;
  HostConfig: { Memory: number; MemorySwap: number; CpusetCpus: string; ShmSize: number };
  State: { CgroupPath: string; Running: boolean };
}

let stack: Stack;
let folder: string;
let images: ComposeImages;
let ports: { temporal: number; ui: number; postgres: number; trino: number };
let project: string;

/** Environment of podman-compose: ports and images by the variables of the rendered file. */
let env: Record<string, string>;
const compose = async (args: readonly string[]): Promise<void> => {
  const { program, env: own } = await podmanCompose();
  await execa(program, [...args], { cwd: folder, env: { ...env, ...own }, timeout: 240_000 });
};
const inspect = async (service: string): Promise<Inspected> => {
  const { stdout } = await execa('podman', ['inspect', `${project}_${service}_1`]);
  return (JSON.parse(stdout) as Inspected[])[0]!;
};
const trino = () => openTrino({ url: `http://127.0.0.1:${ports.trino}`, user: 'rehearsal' });
async function sql<Row extends object>(text: string): Promise<Row[]> {
  const client = await connectPostgres(`postgres://spillway@127.0.0.1:${ports.postgres}/spillway`, PASSWORD);
  try {
    return (await client.query<Row>(text)).rows;
  } finally {
    await client.end();
  }
}

/** Waits for a server; what its container said goes with the error when it does not come. */
async function up(service: string, answers: () => Promise<unknown>): Promise<void> {
  const answered = eventually(async () => (await answers(), true), { withinMs: 240_000, everyMs: 500 });
  await answered.catch(async (error: unknown) => {
    const { all } = await execa('podman', ['logs', '--tail', '40', `${project}_${service}_1`], {
      all: true,
      reject: false,
    });
    throw new Error(`${service} does not answer; its container said:\n${all}`, { cause: error });
  });
}

beforeAll(async () => {
  stack = await Stack.open('rehearsal');
  folder = mkdtempSync(join(sharedHome, 'tmp', 'rehearsal-'));
  mkdirSync(join(folder, 'scratch'), { mode: 0o755 });
  images = await buildComposeImages(stack.parts.image.name, folder);
  const taken = new Set<number>();
  const port = (): Promise<number> => freePort([], taken);
  ports = { temporal: await port(), ui: await port(), postgres: await port(), trino: await port() };
  project = `spillway-test-${process.pid}`;
  env = {
    ...stack.env,
    ...images.variables,
    COMPOSE_PROJECT_NAME: project,
    // Health checks are systemd timers of podman; this host may have no systemd.
    DISABLE_HC_SYSTEMD: 'true',
    SPILLWAY_POSTGRES_PASSWORD: PASSWORD,
    SPILLWAY_SCRATCH: join(folder, 'scratch'),
    SPILLWAY_TEMPORAL_PORT: String(ports.temporal),
    SPILLWAY_TEMPORAL_UI_PORT: String(ports.ui),
    SPILLWAY_POSTGRES_PORT: String(ports.postgres),
    SPILLWAY_TRINO_PORT: String(ports.trino),
  };
  const rendered = await stack.spillway('render', [...SCALE, '--out', folder]);
  expect(rendered).toMatchObject({ exit: 0 });
  // The very commands that the rendered file tells its reader.
  const text = readFileSync(join(folder, 'podman-compose.yml'), 'utf8');
  const commands = [...text.matchAll(/^# +podman-compose (.*)$/gm)].map(([, args = '']) => args.split(' '));
  expect(commands.map((args) => args.at(-1))).toEqual(['temporal', 'postgres', 'trino']);
  for (const args of commands) await compose(args);
  const scan = { scan: 'select count(*) from tpch.tiny.region', withinMs: 1000 };
  await Promise.all([up('trino', () => trino().ready(scan)), up('postgres', () => sql('select 1'))]);
}, 900_000);

afterAll(async () => {
  if (project)
    await compose(['-f', 'podman-compose.yml', '--profile', 'heavy', 'down', '--volumes']).catch(() => undefined);
  // A container that was starting when it was stopped can keep its volume from `down`.
  await execa('podman', ['volume', 'rm', '--force', `${project}_postgres`, `${project}_temporal`], { reject: false });
  await images?.remove();
  await stack?.close();
  if (folder) rmSync(folder, { recursive: true, force: true });
}, 120_000);

describe('the rendered file, brought up by podman-compose', () => {
  test.each<['temporal' | 'postgres' | 'trino', number, string | undefined]>([
    ['temporal', 1024 * MiB, undefined],
    ['postgres', 544 * MiB, undefined],
    ['trino', 4096 * MiB, hardware.physicalCores === 1 ? '0' : `0-${hardware.physicalCores - 1}`],
  ])('%s runs with its memory, no swap beyond it, and its cores', async (service, memory, cpuset) => {
    const { HostConfig, State } = await inspect(service);
    expect(HostConfig).toMatchObject({ Memory: memory, MemorySwap: memory });
    if (cpuset !== undefined) expect(HostConfig.CpusetCpus).toBe(cpuset);
    expect(State.Running).toBe(true);
    expect(await groupLimit(State.CgroupPath)).toBe(memory);
  });
});

/** Limit in the kernel, which is what holds. */
async function groupLimit(path: string): Promise<number> {
  for (const file of [`/sys/fs/cgroup/memory${path}/memory.limit_in_bytes`, `/sys/fs/cgroup${path}/memory.max`]) {
    try {
      return Number(readFileSync(file, 'utf8'));
    } catch {
      // the other version of the interface
    }
  }
  throw new Error(`no memory limit below ${path}`);
}

describe('the numbers in force', () => {
  test('Trino: heap, and the pool that heap and headroom leave to queries', async () => {
    const status = (await (await fetch(`http://127.0.0.1:${ports.trino}/v1/status`)).json()) as {
      heapAvailable: number;
      memoryInfo: { pool: { maxBytes: number } };
      nodeVersion: { version: string };
    };
    expect(status.nodeVersion.version).toBe('476');
    expect(status.heapAvailable).toBe(hardware.trino.heapBytes);
    expect(status.memoryInfo.pool.maxBytes).toBe(hardware.trino.heapBytes - hardware.trino.heapHeadroomBytes);
  });

  test('PostgreSQL: every rendered setting, as the server says it', async () => {
    const { postgres } = hardware;
    const rows = await sql<{ name: string; value: string }>(
      `select name, case when unit in ('B','kB','8kB','MB') then pg_size_bytes(current_setting(name))::text else current_setting(name) end as value
       from pg_settings where name in ('shared_buffers','work_mem','maintenance_work_mem','autovacuum_work_mem','max_wal_size','checkpoint_timeout','wal_compression','synchronous_commit')`,
    );
    expect(Object.fromEntries(rows.map(({ name, value }) => [name, value]))).toEqual({
      shared_buffers: String(postgres.sharedBuffersBytes),
      work_mem: String(postgres.workMemBytes),
      maintenance_work_mem: String(postgres.maintenanceWorkMemBytes),
      autovacuum_work_mem: String(postgres.autovacuumWorkMemBytes),
      max_wal_size: String(postgres.maxWalSizeBytes),
      checkpoint_timeout: `${postgres.checkpointTimeoutMinutes}min`,
      wal_compression: 'lz4',
      synchronous_commit: 'on',
    });
  });

  /** A group of a kilobyte for each line, held until the last row was read. */
  const groups = (orders: number): string =>
    `select count(*) from (select orderkey, linenumber, rpad(comment, 1000, 'x'), count(*) from tpch.sf1.lineitem where orderkey <= ${orders} group by 1, 2, 3)`;
  test('a query below the memory of a node passes, one above it fails with that limit', async () => {
    const lines = await trino().short('select count(*) from tpch.sf1.lineitem where orderkey <= 600000');
    expect(await trino().short(groups(600_000), { withinMs: 120_000 })).toEqual(lines);
    await expect(trino().short(groups(6_000_000), { withinMs: 120_000 })).rejects.toMatchObject({
      message: expect.stringMatching(/per-node memory limit of 2GB/),
      details: { errorName: 'EXCEEDED_LOCAL_MEMORY_LIMIT' },
    });
  });

  test('EXPLAIN and a kill are answered within 2 s while a heavy query has the engine', async () => {
    const controller = new AbortController();
    const started = async (): Promise<Promise<string | undefined>[]> => {
      const heavy = runHeavy(controller.signal);
      await eventually(async () => (await trino().queriesBySource('rehearsal-heavy')).length > 0 || undefined);
      return [heavy]; // in a list: a promise alone would be waited for
    };
    let [heavy] = await started();
    const seconds: number[] = [];
    for (let round = 0; round < 5; round++) {
      const startedAtMs = Date.now();
      const plan = await trino().short('explain select count(*) from tpch.sf1.lineitem where orderkey < 10');
      seconds.push((Date.now() - startedAtMs) / 1000);
      expect(JSON.stringify(plan)).toContain('ScanFilterProject[table = tpch:sf1:lineitem');
    }
    expect(seconds.sort((a, b) => a - b)[2]).toBeLessThan(2);
    const kills: number[] = [];
    for (let round = 0; round < 3; round++) {
      if (round > 0) [heavy] = await started();
      const killedAtMs = Date.now();
      expect(await trino().killBySource('rehearsal-heavy')).toBe(1);
      kills.push((Date.now() - killedAtMs) / 1000);
      expect(await heavy).toBe('ADMINISTRATIVELY_KILLED');
    }
    expect(kills.sort((a, b) => a - b)[1]).toBeLessThan(2);
  });

  /** A query that the engine is busy with for minutes; answers the name of the error that ends it. */
  async function runHeavy(signal: AbortSignal): Promise<string | undefined> {
    const headers = { 'X-Trino-User': 'test', 'X-Trino-Source': 'rehearsal-heavy', 'X-Trino-Client-Tags': 'heavy' };
    const statement = `select count(*) from (select orderkey, linenumber, count(*) from tpch.sf10.lineitem group by 1, 2)`;
    type Page = { nextUri?: string; error?: { errorName: string } };
    const first = await fetch(`http://127.0.0.1:${ports.trino}/v1/statement`, {
      method: 'POST',
      body: statement,
      headers,
      signal,
    });
    let page = (await first.json()) as Page;
    while (page.nextUri !== undefined) page = (await (await fetch(page.nextUri, { headers, signal })).json()) as Page;
    return page.error?.errorName;
  }
});

test('the example runs against these servers, in a pool of 8 GiB', async () => {
  writeFileSync(
    join(stack.directory, 'rehearsal.config.json'),
    JSON.stringify({
      ...(JSON.parse(readFileSync(join(stack.directory, 'spillway.config.json'), 'utf8')) as object),
      hardware: 'epyc-768',
      scale: '1/64',
      scratch: join(folder, 'scratch'),
      temporal: { address: `127.0.0.1:${ports.temporal}` },
      trino: { default: { url: `http://127.0.0.1:${ports.trino}` } },
      postgres: {
        default: { url: `postgres://spillway@127.0.0.1:${ports.postgres}/spillway`, password: { secret: 'REHEARSAL' } },
      },
    }),
  );
  const config = ['--config', join(stack.directory, 'rehearsal.config.json')];
  const secrets = { ...stack.env, SPILLWAY_SECRET_REHEARSAL: PASSWORD };
  const worker = await stack.worker({ flags: config, env: secrets });
  const ran = await stack.spillway('run', ['dailyRevenue', '--input', '{"since":"1998-01-01"}', '--json', ...config], {
    env: secrets,
  });
  expect(ran).toMatchObject({ exit: 0 });
  const [loaded] = await sql<{ days: string }>('select count(distinct shipdate) as days from mart.daily_revenue');
  expect(Number(loaded?.days)).toBeGreaterThan(300);
  await worker.end();
});

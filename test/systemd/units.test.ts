import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import type { Client, Connection } from '@temporalio/client';
import { execa } from 'execa';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PipelineSpec } from '../../src/contracts/pipeline.ts';
import { PoolMessage, type PoolStatus, poolWorkflowId, TaskQueue } from '../../src/contracts/pool.ts';
import { connectPostgres } from '../../src/engines/postgres/connection.ts';
import { filesUnder } from '../../src/handoff/bytes-under.ts';
import { openCgroupTree, poolPath } from '../../src/host/cgroup-tree.ts';
import { bringUp } from '../../src/provision/bring-up.ts';
import { takeDown } from '../../src/provision/take-down.ts';
import { connect } from '../../src/worker/connect.ts';
import { cacheDir, hostHardware } from '../integration/provision-home.ts';
import { root } from '../integration/stack.ts';
import { eventually } from '../integration/stack-waiting.ts';

jest.setTimeout(900_000);

/** What `spillway render` writes for systemd, taken by it: the worker as a service in the slice, its steps in containers below. */
const UNITS = '/etc/systemd/system';
const PROJECT = '/srv/spillway';
const WORKER = 'spillway-worker.service';
const POOL = 'units';

let home: string;
let rendered: string;
let postgresUrl: string;
let passwordFile: string;
let client: Client;
let connection: Connection;

const systemctl = async (...args: string[]): Promise<string> => (await execa('systemctl', args)).stdout;
const property = (unit: string, name: string): Promise<string> => systemctl('show', '--value', `--property=${name}`, unit); // prettier-ignore
const log = async (): Promise<string> =>
  (await execa('journalctl', ['--no-pager', '--output=cat', `--unit=${WORKER}`])).stdout;
/** How often a worker said that it takes work. */
const starts = async (): Promise<number> => (await log()).split(`polls pool ${POOL}`).length - 1;
const startedAgain = (before: number): Promise<true> =>
  eventually(
    async () => {
      if ((await starts()) > before) return true as const;
      throw new Error(`no worker polls:\n${(await log()).split('\n').slice(-20).join('\n')}`);
    },
    { withinMs: 240_000, everyMs: 1_000 },
  );

beforeAll(async () => {
  home = mkdtempSync('/var/tmp/spillway-units-');
  rendered = join(home, 'rendered');
  const spillway = (...args: string[]): Promise<unknown> => execa(process.execPath, [join(root, 'bin', 'spillway.js'), ...args]); // prettier-ignore
  await spillway('render', '--hardware', 'auto', '--out', rendered);
  for (const unit of readdirSync(join(rendered, 'systemd'))) cpSync(join(rendered, 'systemd', unit), join(UNITS, unit));
  const { temporal, postgres } = await bringUp({
    ...{ home, cacheDir, hardware: hostHardware(), systemPackages: false, env: process.env },
    ...{ only: ['temporal', 'postgres', 'image'], report: () => undefined },
  });
  ({ client, connection } = await connect(temporal!));
  [postgresUrl, passwordFile] = [postgres!.url, postgres!.passwordFile!];

  mkdirSync(join(home, 'landing'));
  writeFileSync(join(home, 'landing', 'numbers.csv'), ['n', ...Array.from({ length: 4_000 }, (_, n) => n)].join('\n'));
  mkdirSync(join(PROJECT, 'node_modules'), { recursive: true });
  writeFileSync(
    join(PROJECT, 'spillway.config.json'),
    JSON.stringify({ home, pool: { name: POOL, hostLock: POOL }, directories: { landing: { path: join(home, 'landing') } } }), // prettier-ignore
  );
  symlinkSync(root, join(PROJECT, 'node_modules', 'spillway'));
  await systemctl('daemon-reload');
  await systemctl('start', WORKER);
  await startedAgain(0);
});
afterAll(async () => {
  await systemctl('stop', WORKER).catch(() => undefined);
  for (const unit of readdirSync(join(rendered, 'systemd'))) rmSync(join(UNITS, unit));
  await systemctl('daemon-reload');
  rmSync(PROJECT, { recursive: true });
  await connection?.close();
  await takeDown({ home });
  rmSync(home, { recursive: true });
});

/** Pairs each number with all: work for a container for as long as it is asked to. */
const pairs = (table: string, left: number): PipelineSpec => ({
  name: table,
  steps: [
    { step: 'numbers', verb: 'files', directory: 'landing', path: 'numbers.csv' },
    {
      ...{ step: 'paired', verb: 'datafusion.sql', from: { numbers: 'numbers' }, memory: '600 MB' },
      sql: `select (a.n * b.n * c.n) % 7 as rest, count(*) as pairs from numbers a cross join numbers b cross join numbers c where a.n < ${left} group by 1`,
    },
    { step: 'publish', verb: 'postgres.load', from: 'paired', into: `public.${table}`, key: ['rest'] },
  ],
});

async function start(table: string, left: number): Promise<() => Promise<number>> {
  const handle = await client.workflow.start('eltPipeline', {
    ...{ workflowId: table, taskQueue: TaskQueue.WORKFLOWS, args: [pairs(table, left)] },
  });
  return async () => {
    await handle.result();
    const postgres = await connectPostgres(postgresUrl, readFileSync(passwordFile, 'utf8').trim());
    try {
      const { rows } = await postgres.query<{ pairs: string }>(`select sum(pairs) as pairs from public.${table}`);
      return Number(rows[0]!.pairs);
    } finally {
      await postgres.end();
    }
  };
}

const status = (): Promise<PoolStatus> =>
  client.workflow.getHandle(poolWorkflowId(POOL)).query<PoolStatus>(PoolMessage.STATUS);
const containers = async (...filter: string[]): Promise<string[]> => {
  const { stdout } = await execa('podman', ['ps', '--all', '--filter', `label=spillway.pool=${POOL}`, ...filter, '--format', '{{.Names}}']); // prettier-ignore
  return stdout.split('\n').filter(Boolean);
};
const running = (): Promise<string> =>
  eventually(async () => (await containers('--filter', 'status=running'))[0], { withinMs: 240_000, what: 'a container of a step' }); // prettier-ignore

/** Containers, groups and files of steps. */
async function left(): Promise<string[]> {
  const tree = await openCgroupTree();
  if (tree.version !== 'v2') throw new Error(`these tests are for cgroup version 2 below systemd, not ${tree.version}`);
  const files = await filesUnder(join(home, 'scratch', 'runs'));
  return [...(await containers()), ...(await tree.children(poolPath(POOL))), ...files.map(({ path }) => path)];
}
const nothingIsLeft = (): Promise<true> =>
  eventually(
    async () => {
      const leases = (await status()).leases.filter(({ kind }) => kind === 'work').map(({ leaseId }) => leaseId);
      const found = [...(await left()), ...leases];
      if (found.length > 0) throw new Error(`left behind: ${found.join('; ')}`);
      return true as const;
    },
    { withinMs: 120_000, everyMs: 1_000 },
  );

describe('the rendered files', () => {
  test('are taken by systemd without a word', async () => {
    const units = readdirSync(join(rendered, 'systemd')).map((unit) => join(UNITS, unit));
    const { all } = await execa('systemd-analyze', ['verify', ...units], { all: true });
    expect(all).toBe('');
  });

  test('are taken by the generator of Quadlet, each as a service', async () => {
    const folder = join(rendered, 'quadlet');
    const { stdout } = await execa('/usr/libexec/podman/quadlet', ['-dryrun'], { env: { QUADLET_UNIT_DIRS: folder } });
    for (const file of readdirSync(folder)) expect(stdout).toContain(`---${file.replace('.container', '.service')}---`);
  });
});

describe('a worker as a service, in the slice', () => {
  const reads = (group: string, file: string): string => readFileSync(join('/sys/fs/cgroup', group, file), 'utf8').trim(); // prettier-ignore

  test('runs a heavy step in a container that is held to its lease, below the pool and the slice', async () => {
    const ended = await start('held', 5);
    const container = await running();
    const lease = (await status()).leases.find(({ step }) => step === 'paired')!;
    const { stdout: pid } = await execa('podman', ['inspect', '--format', '{{.State.Pid}}', container]);
    const [, slice, pool, step] = readFileSync(`/proc/${pid}/cgroup`, 'utf8').replace('0::', '').split('/');

    expect([slice, `/${pool}`]).toEqual(['spillway.slice', poolPath(POOL)]);
    expect(reads(`${slice}/${pool}/${step}`, 'memory.max')).toBe(String(lease.bytes));
    expect(reads(`${slice}/${pool}/${step}`, 'memory.swap.max')).toBe('0');
    expect(reads(slice!, 'memory.max')).toBe(await property(slice!, 'MemoryMax'));
    expect(Number(reads(`${slice}/${pool}`, 'memory.max'))).toBeLessThanOrEqual(Number(reads(slice!, 'memory.max')));
    expect(await property(WORKER, 'Slice')).toBe(slice);

    expect(await ended()).toBe(5 * 4_000 * 4_000);
    await nothingIsLeft();
  });

  test('is started again when it was killed, goes on with what it was at, and leaves nothing', async () => {
    const ended = await start('killed', 20);
    await running();
    const [before, pid] = [await starts(), await property(WORKER, 'MainPID')];
    await systemctl('kill', '--signal=SIGKILL', '--kill-whom=main', WORKER);
    await startedAgain(before);
    expect(await property(WORKER, 'MainPID')).not.toBe(pid);
    expect(await ended()).toBe(20 * 4_000 * 4_000);
    await nothingIsLeft();
  });

  test('stops when it is told to, and leaves no group of its own', async () => {
    await systemctl('stop', WORKER);
    expect(await property(WORKER, 'Result')).toBe('success');
    expect(await left()).toEqual([]);
  });
});

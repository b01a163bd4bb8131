import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { execa } from 'execa';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CgroupTree, openCgroupTree, poolPath } from '../../src/host/cgroup-tree.ts';
import { runningContainer } from '../integration/stack-containers.ts';
import { slowJob } from '../integration/stack-jobs.ts';
import { leftoversOf } from '../integration/stack-leftovers.ts';
import { eventually } from '../integration/stack-waiting.ts';
import { root, Stack } from '../integration/stack.ts';
import { sharedHome } from '../integration/provision-home.ts';

jest.setTimeout(600_000);

const UNITS = '/etc/systemd/system';
const PROJECT = '/srv/spillway';
const WORKER = 'spillway-worker.service';

let stack: Stack;
let tree: CgroupTree;
let rendered: string;

const systemctl = async (...args: string[]): Promise<string> => (await execa('systemctl', args)).stdout;
const property = async (unit: string, name: string): Promise<string> =>
  systemctl('show', '--value', `--property=${name}`, unit);
const log = async (): Promise<string> =>
  (await execa('journalctl', ['--no-pager', '--output=cat', `--unit=${WORKER}`])).stdout;
const polls = (times: number): Promise<true> =>
  eventually(async () => (await log()).split('polls pool').length > times || undefined, {
    withinMs: 120_000,
    what: `a worker that polls for the ${times}. time`,
  });

beforeAll(async () => {
  stack = await Stack.open('units');
  const found = await openCgroupTree();
  if (found.version !== 'v2')
    throw new Error(`these tests are for cgroup version 2 below systemd, not ${found.version}`);
  rendered = join(stack.directory, 'rendered');
  const ran = await stack.spillway('render', ['--hardware', 'auto', '--out', rendered]);
  if (ran.exit !== 0) throw new Error(ran.stderr);
  for (const unit of readdirSync(join(rendered, 'systemd'))) cpSync(join(rendered, 'systemd', unit), join(UNITS, unit));

  const config = JSON.parse(readFileSync(join(stack.directory, 'spillway.config.json'), 'utf8')) as object;
  const { pool } = stack;
  mkdirSync(join(PROJECT, 'node_modules'), { recursive: true });
  writeFileSync(
    join(PROJECT, 'spillway.config.json'),
    JSON.stringify({ ...config, home: sharedHome, hardware: 'auto', pool: { name: pool, hostLock: pool } }),
  );
  symlinkSync(root, join(PROJECT, 'node_modules', 'spillway'));
  await systemctl('daemon-reload');
  await systemctl('start', WORKER);
  await polls(1);
  tree = (await openCgroupTree()) as CgroupTree; // again: pools stand in the slice, now that it is there
}, 600_000);
afterAll(async () => {
  await systemctl('stop', WORKER);
  for (const unit of readdirSync(join(rendered, 'systemd'))) rmSync(join(UNITS, unit));
  await systemctl('daemon-reload');
  rmSync(PROJECT, { recursive: true });
  await stack.close();
}, 120_000);

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
  /** A file of a group, as it says it; `path` from the root of the hierarchy. */
  const reads = (path: string, file: string): string => readFileSync(join('/sys/fs/cgroup', path, file), 'utf8').trim();

  test('runs a heavy step in a container that is held to its lease, below the pool and the slice', async () => {
    const workflowId = await stack.startJob(slowJob(stack, 'held', 8_000));
    const container = await runningContainer(stack, 'paired');
    const { leases } = await stack.status();
    const lease = leases.find(({ step }) => step === 'paired')!;
    const { stdout: pid } = await execa('podman', ['inspect', '--format', '{{.State.Pid}}', container]);
    const group = reads(`../../../proc/${pid}`, 'cgroup').replace('0::', '');

    const pool = tree.fromRoot(poolPath(stack.pool));
    expect(pool).toBe(`/spillway.slice/${poolPath(stack.pool)}`);
    expect(group.startsWith(`${pool}/`)).toBe(true);
    const [step] = group.slice(pool.length + 1).split('/');
    expect(reads(join(pool, step!), 'memory.max')).toBe(String(lease.bytes));
    expect(reads(join(pool, step!), 'memory.swap.max')).toBe('0');
    expect(reads('/spillway.slice', 'memory.max')).toBe(await property('spillway.slice', 'MemoryMax'));
    expect(Number(reads(pool, 'memory.max'))).toBeLessThanOrEqual(Number(reads('/spillway.slice', 'memory.max')));
    expect(await property(WORKER, 'Slice')).toBe('spillway.slice');

    await stack.result(workflowId);
    await nothingIsLeft();
  });

  test('is started again when it was killed, goes on with what it was at, and leaves nothing', async () => {
    const workflowId = await stack.startJob(slowJob(stack, 'killed', 20_000));
    const first = await runningContainer(stack, 'paired');
    const before = (await log()).split('polls pool').length - 1;
    const pid = await property(WORKER, 'MainPID');
    await systemctl('kill', '--signal=SIGKILL', '--kill-whom=main', WORKER);
    await polls(before + 1);
    expect(await property(WORKER, 'MainPID')).not.toBe(pid);
    await stack.result(workflowId);
    const [row] = await stack.sql<{ pairs: string }>(`select sum(pairs) as pairs from ${stack.schema}.killed`);
    expect(Number(row?.pairs)).toBe(5_000 * 15_000);
    await nothingIsLeft();
    expect(first).toContain('paired');
  });

  test('stops within its time, and its pool goes with the run that holds it', async () => {
    await systemctl('stop', WORKER);
    expect(await property(WORKER, 'Result')).toBe('success');
    const pool = join('/sys/fs/cgroup', tree.fromRoot(poolPath(stack.pool)));
    expect(
      existsSync(pool) ? readdirSync(pool, { withFileTypes: true }).filter((one) => one.isDirectory()) : [],
    ).toEqual([]);
    await systemctl('start', WORKER);
  });

  const nothingIsLeft = (): Promise<boolean> =>
    eventually(
      async () => {
        const left = await leftoversOf(stack);
        if (left.length > 0) throw new Error(`left behind: ${left.join('; ')}`);
        return true;
      },
      { withinMs: 120_000, everyMs: 1_000 },
    );
});

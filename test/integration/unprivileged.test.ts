import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { execa } from 'execa';
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Parts } from '../../src/contracts/parts.ts';
import { connectPostgres } from '../../src/engines/postgres/connection.ts';
import { readProcessId } from '../../src/host/process-id.ts';
import { cacheDir, sharedParts } from './provision-home.ts';
import { root } from './stack.ts';
import { eventually } from './stack-waiting.ts';

/** A user who is not root, on a host without podman and docker: everything from a folder of their own. */
const USER = { uid: 65534, gid: 65534 };
let folder: string;
let home: string;
let env: Record<string, string>;
let worker: ReturnType<typeof spillway> | undefined;
beforeAll(async () => {
  await sharedParts(); // fills the cache
  folder = mkdtempSync(join(tmpdir(), 'spillway-unprivileged-'));
  await execa('chmod', ['755', folder]);
  home = join(folder, 'home');
  mkdirSync(home);
  chownSync(home, USER.uid, USER.gid);
  // The package and the downloads where another user may read them; links, so that it takes no time.
  const parts = ['package.json', 'bin', 'dist', 'provision', 'containers', 'node_modules'];
  await copied(
    parts.map((name) => join(root, name)),
    join(folder, 'package'),
  );
  await copied([cacheDir], home);
  // Folders are the copy's own; the files are not, and keep their owner.
  await execa('find', [home, '-type', 'd', '-exec', 'chown', `${USER.uid}:${USER.gid}`, '{}', '+']);
  await execa('find', [folder, '-type', 'd', '-exec', 'chmod', 'a+rx', '{}', '+']);
  const PATH = join(folder, 'programs');
  mkdirSync(PATH);
  // Not what is in a home that only its owner may enter.
  const reachable = (process.env['PATH'] ?? '').split(':').filter((at) => !at.startsWith(homedir()));
  for (const from of reachable) {
    for (const name of existsSync(from) ? readdirSync(from) : [])
      if (!/^(podman|docker|apt-get)$/.test(name) && !existsSync(join(PATH, name)))
        symlinkSync(join(from, name), join(PATH, name));
  }
  env = {
    ...{ PATH, HOME: home, LANG: 'C.UTF-8', SPILLWAY_HOME: home, SPILLWAY_POOL_NAME: 'unprivileged' },
    SPILLWAY_POOL_HOST_LOCK: `unprivileged-${process.pid}`,
  };
}, 600_000);
afterAll(async () => {
  worker?.kill('SIGTERM');
  await worker;
  await spillway('down');
  rmSync(folder, { recursive: true, force: true });
}, 120_000);

async function copied(from: string[], to: string): Promise<void> {
  mkdirSync(to, { recursive: true });
  const linked = await execa('cp', ['--archive', '--link', ...from, to], { reject: false });
  if (linked.exitCode !== 0) await execa('cp', ['--archive', ...from, to]); // another file system
}

const spillway = (command: string, args: string[] = []) =>
  execa(process.execPath, [join(folder, 'package', 'bin', 'spillway.js'), command, ...args], {
    ...{ ...USER, env, extendEnv: false, cwd: home, stdin: 'ignore', reject: false, timeout: 240_000 },
  });

test('brings everything up, is told what processes weaken, and runs a job through all engines', async () => {
  const up = await spillway('up', ['--json']);
  expect([up.exitCode, up.stderr]).toEqual([
    0,
    expect.stringMatching(
      /DataFusion runs in processes of this user, not in containers \(.*\): memory is looked at every 50 ms, network and files are not shut off/,
    ),
  ]);
  const parts = JSON.parse(up.stdout) as Parts;
  expect(parts.image.runtime).toBe('process');
  for (const name of ['temporal', 'trino', 'postgres'] as const)
    expect(readFileSync(`/proc/${parts[name].pid}/status`, 'utf8')).toMatch(/^Uid:\s+65534\s/m);

  worker = spillway('worker');
  let said = '';
  worker.stderr.on('data', (text: Buffer) => (said += text.toString()));
  worker.stdout.on('data', (text: Buffer) => (said += text.toString()));
  await eventually(async () => said.includes('polls pool') || undefined, { withinMs: 60_000, what: 'the worker' });
  const job = {
    name: 'unprivileged',
    steps: [
      { step: 'orders', verb: 'trino.query', sql: 'select orderkey, orderpriority from tpch.tiny.orders' },
      { step: 'counted', verb: 'datafusion.sql', from: { orders: 'orders' }, sql: 'select orderpriority, count(*) as orders from orders group by 1' }, // prettier-ignore
      { step: 'publish', verb: 'postgres.load', from: 'counted', into: 'mart.counted', key: ['orderpriority'] },
    ],
  };
  writeFileSync(join(home, 'job.json'), JSON.stringify(job));
  const ran = await spillway('run', ['job.json']);
  expect([ran.exitCode, ran.stderr]).toEqual([0, expect.stringContaining('counted: done: 5 rows')]);
  const client = await connectPostgres(parts.postgres.url, readFileSync(parts.postgres.passwordFile!, 'utf8').trim());
  try {
    const { rows } = await client.query<{ orders: string }>('select sum(orders) as orders from mart.counted');
    expect(rows[0]!.orders).toBe('15000');
  } finally {
    await client.end();
  }

  worker.kill('SIGTERM');
  expect((await worker).exitCode).toBe(0);
  expect((await spillway('down')).exitCode).toBe(0);
  for (const name of ['temporal', 'trino', 'postgres'] as const)
    expect(readProcessId(parts[name].pid!)).toBeUndefined();
}, 300_000);

import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type Options, execa } from 'execa';
import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readParts } from '../../src/config/parts-file.ts';
import { connectPostgres } from '../../src/engines/postgres/connection.ts';
import { takeDown } from '../../src/provision/take-down.ts';
import { cacheDir } from '../integration/provision-home.ts';
import { root } from '../integration/stack.ts';
import { eventually } from '../integration/stack-waiting.ts';

/** A project as `spillway init` writes it, with the tarball installed, as somebody has it five minutes after they heard of Spillway. */
let folder: string;
let home: string;
let project: string;
let env: Record<string, string>;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-scaffold-'));
  home = join(folder, 'home');
  project = join(folder, 'my-elt');
  mkdirSync(home);
  mkdirSync(cacheDir, { recursive: true });
  symlinkSync(cacheDir, join(home, 'cache'));
  env = {
    ...{ PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '/', LANG: 'C.UTF-8', SPILLWAY_HOME: home },
    ...{ SPILLWAY_POOL_NAME: 'scaffold', SPILLWAY_POOL_HOST_LOCK: `scaffold-${process.pid}` },
  };
  await execa(process.execPath, ['-e', `import('./scripts/bootstrap.mjs').then((all) => all.build())`], { cwd: root });
  const { stdout } = await execa('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], {
    cwd: root,
  });
  const [{ filename }] = JSON.parse(stdout) as [{ filename: string }];
  await execa(process.execPath, [join(root, 'bin', 'spillway.js'), 'init', project], { env, extendEnv: false });
  const quiet = ['--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error'];
  await execa('npm', ['install', ...quiet, join('..', filename)], { cwd: project });
}, 600_000);
afterAll(async () => {
  await takeDown({ home });
  rmSync(folder, { recursive: true, force: true });
}, 90_000);

/** Rows of a table that the project loaded. */
async function countOf(table: string): Promise<number> {
  const { url, passwordFile } = readParts(home)!.postgres!;
  const client = await connectPostgres(url, readFileSync(passwordFile!, 'utf8').trim());
  try {
    return (await client.query<{ rows: number }>(`select count(*)::int as rows from ${table}`)).rows[0]!.rows;
  } finally {
    await client.end();
  }
}

const run = (program: string, args: string[], options: Options = {}) =>
  execa(program, args, { cwd: project, env, extendEnv: false, reject: false, stdin: 'ignore', all: true, ...options });
const edit = (change: (text: string) => string): void => {
  const file = join(project, 'workflows.ts');
  // As many editors do: a new file that takes the name of the old one, which is another file to who watches.
  writeFileSync(`${file}~`, change(readFileSync(file, 'utf8')));
  renameSync(`${file}~`, file);
};

test('its test passes without a server, it compiles, and a wrong option of a verb does not', async () => {
  expect(existsSync(join(project, '.gitignore'))).toBe(true);
  expect(await run('npm', ['test'])).toMatchObject({ exitCode: 0 });
  expect(await run('npm', ['run', 'typecheck'])).toMatchObject({ exitCode: 0 });
  edit((text) => text.replace(`profile: 'S'`, `profil: 'S'`));
  const wrong = await run('npm', ['run', 'typecheck']);
  edit((text) => text.replace(`profil: 'S'`, `profile: 'S'`));
  expect(wrong.exitCode).not.toBe(0);
  expect(wrong.all).toMatch(/workflows\.ts.*'profil' does not exist/);
}, 120_000);

test('`spillway plan` says what it would be lent, and names a step that can never fit with both numbers', async () => {
  const input = ['ordersByDay', '--input', '{"since":"1998-01-01"}'];
  const plan = await run('npx', ['spillway', 'plan', ...input]);
  expect(plan).toMatchObject({ exitCode: 0 });
  expect(plan.all).toMatch(
    /feasible in pool[^]*orders +Trino[^]*daily +DataFusion[^]*named +TypeScript[^]*publish +PostgreSQL/,
  );
  edit((text) => text.replace(`profile: 'S'`, `memory: '4 TiB'`));
  const tooLarge = await run('npx', ['spillway', 'plan', ...input]);
  edit((text) => text.replace(`memory: '4 TiB'`, `profile: 'S'`));
  expect(tooLarge).toMatchObject({ exitCode: 2 });
  expect(tooLarge.all).toMatch(/daily\.memory must be at most [\d.]+ GiB \(what pool .* can lend\), got 4 TiB/);
}, 60_000);

test('`npm start` runs it; `spillway dev` runs it again after an edit', async () => {
  const started = await run('npm', ['start'], { timeout: 300_000 });
  const shown = expect.stringMatching(/publish +\S+\.light[^]*The run in the Temporal UI: http/);
  expect(started).toMatchObject({ exitCode: 0, all: shown });
  expect(await countOf('mart.orders_by_day')).toBeGreaterThan(200);
  // 1998-08-02, the last day of TPC-H, was a Sunday.
  expect(await countOf(`mart.orders_by_day where orderdate = date '1998-08-02' and weekday = 'Sunday'`)).toBe(1);

  let said = '';
  const dev = spawn('npx', ['spillway', 'dev'], {
    cwd: project,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const ended = new Promise((resolve) => dev.once('close', resolve));
  for (const stream of [dev.stdout, dev.stderr]) stream.on('data', (text: Buffer) => (said += text.toString()));
  const polls = (times: number) =>
    eventually(async () => (said.match(/polls pool/g) ?? []).length >= times || undefined, { what: `worker ${times}` });
  try {
    await polls(1);
    edit((text) => text.replaceAll('mart.orders_by_day', 'mart.edited'));
    await polls(2);
    const ran = await run('npx', ['spillway', 'run', 'ordersByDay', '--input', '{"since":"1998-08-01"}']);
    expect(ran).toMatchObject({ exitCode: 0 });
    expect(await countOf('mart.edited')).toBeGreaterThan(0);
    edit((text) => text.replaceAll('mart.edited', 'mart.edited_again'));
    await polls(3);
    edit((text) => `${text}\n`);
    await polls(4);
  } finally {
    process.kill(-dev.pid!, 'SIGTERM');
    await ended;
  }
  expect(said).toMatch(/workflows\.ts changed: another worker/);
}, 500_000);

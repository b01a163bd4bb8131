// `npm test`: all that CI needs, on this machine, from a fresh clone. Sets itself up, runs every layer, and looks for what was left behind.
// Layers may be named: `npm test -- unit workflows`.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { bootstrap, root } from './bootstrap.mjs';

const LAYERS = ['format', 'lint', 'types', 'unit', 'workflows', 'parts', 'integration', 'chaos'];
// A test that hangs ends the layer: its runner sets a single test no limit, as the other layers' does. Some 15 s are usual.
const UNIT_MS = 300_000;
const home = join(process.env.SPILLWAY_HOME ?? join(homedir(), '.cache', 'spillway'));
const testHome = join(home, 'test');
const bin = (name) => join(root, 'node_modules', ...name);

const startedAtMs = Date.now();
const seconds = (sinceMs) => Math.round((Date.now() - sinceMs) / 1000);

const counts = { passed: 0, failed: 0, skipped: 0 };
const failures = [];

function count(name, passed, failed, skipped = 0) {
  counts.passed += passed;
  counts.failed += failed;
  counts.skipped += skipped;
  if (failed > 0) failures.push(name);
}

/** Runs a program to its end, or for `timeout` ms, with our terminal unless `say` takes what it writes; answers its exit code. */
const run = (args, say, timeout = 0) =>
  new Promise((resolve) => {
    const io = say ? 'pipe' : 'inherit';
    const child = spawn(process.execPath, args, {
      cwd: root,
      stdio: ['ignore', io, io],
      timeout,
      killSignal: 'SIGKILL',
    });
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (text) => say(text));
    child.once('close', (code) => resolve(code ?? 1));
  });

async function check(name, args) {
  console.error(`\n── ${name}`);
  const code = await run(args);
  count(name, code === 0 ? 1 : 0, code === 0 ? 0 : 1);
}

async function jest(layer, extra = [], say = undefined) {
  const heard = say ?? ((text) => process.stderr.write(text));
  heard(`\n── ${layer}\n`);
  const sinceMs = Date.now();
  const report = join(results, `${layer}.json`);
  const code = await run(
    [
      ...(layer === 'unit'
        ? ['--import', './test/typescript/register.mjs', '--enable-source-maps']
        : ['--experimental-vm-modules']),
      '--no-warnings',
      bin(['jest', 'bin', 'jest.js']),
      ...['--selectProjects', layer, '--json', '--outputFile', report, '--passWithNoTests=false'],
      ...extra,
    ],
    say,
    layer === 'unit' ? UNIT_MS : 0,
  );
  try {
    const told = JSON.parse(readFileSync(report, 'utf8'));
    const broken = told.testResults.filter(
      (file) => file.status === 'failed' && file.assertionResults.length === 0,
    ).length;
    count(layer, told.numPassedTests, told.numFailedTests + broken, told.numPendingTests + told.numTodoTests);
    const slowest = told.testResults
      .map((file) => ({ name: relative(root, file.name), seconds: Math.round((file.endTime - file.startTime) / 1000) }))
      .sort((a, b) => b.seconds - a.seconds)
      .slice(0, 8);
    heard(
      `${layer} took ${seconds(sinceMs)} s; ${slowest.map((file) => `${file.name} ${file.seconds} s`).join(', ')}\n`,
    );
    if (code !== 0 && told.numFailedTests + broken === 0) count(layer, 0, 1);
  } catch {
    count(layer, 0, 1); // jest died before it could tell
  }
}

/** Layers one after the other, each test file by itself. */
async function inTurn(names, say = undefined) {
  for (const name of names) if (layers.includes(name)) await jest(name, ['--runInBand'], say);
}

/**
 * Two lines of layers side by side: most of a test's time is waiting for servers, and no layer of one line touches what one of the other does. What the
 * second writes is kept until the first is through.
 */
async function sideBySide(first, second) {
  const kept = [];
  await Promise.all([inTurn(first), inTurn(second, (text) => kept.push(text))]);
  for (const text of kept) process.stderr.write(text);
}

/** Brings up all parts in the tests' home while the quick layers run; the others find them running. */
async function bringUpParts() {
  const load = (path) => import(join(root, 'dist', 'src', path));
  const [{ bringUp }, { resolveHardware }, { readHostFacts }] = await Promise.all([
    load('provision/bring-up.js'),
    load('config/resolve-hardware.js'),
    load('config/host-facts.js'),
  ]);
  return bringUp({
    home: testHome,
    cacheDir: join(home, 'cache'),
    hardware: resolveHardware('auto', 1, readHostFacts(testHome)).hardware,
    systemPackages: true,
    env: process.env,
    report: ({ part, what, text }) => console.error(`${part} ${what}: ${text}`),
  });
}

/** Containers of ours, whoever runs them. */
function containers() {
  const listed = spawnSync('podman', ['ps', '--all', '--filter', 'label=spillway=1', '--format', '{{.Names}}'], {
    encoding: 'utf8',
  });
  return (listed.stdout ?? '').split('\n').filter(Boolean);
}

/** Processes that work in the tests' home, and containers of ours: none may outlive the tests. */
function leftovers() {
  const left = [];
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      if (command.includes(testHome) && Number(pid) !== process.pid)
        left.push(`process ${pid}: ${command.slice(0, 120)}`);
    } catch {
      // ended while we looked
    }
  }
  for (const name of containers()) if (!containersBefore.has(name)) left.push(`container ${name}`);
  return left;
}

const containersBefore = new Set(containers());
const asked = process.argv.slice(2);
const layers = asked.length > 0 ? LAYERS.filter((layer) => asked.includes(layer)) : LAYERS;
await bootstrap();
const results = mkdtempSync(join(tmpdir(), 'spillway-test-results-'));
try {
  const fetching = ['integration', 'parts', 'workflows', 'chaos'].some((layer) => layers.includes(layer))
    ? bringUpParts()
    : undefined;
  fetching?.catch(() => undefined); // told below
  if (layers.includes('format'))
    await check('format', [bin(['prettier', 'bin', 'prettier.cjs']), '--check', '--log-level', 'warn', '.']);
  if (layers.includes('lint')) await check('lint', [bin(['eslint', 'bin', 'eslint.js']), '.']);
  if (layers.includes('types')) await check('types', [bin(['typescript', 'bin', 'tsc']), '-p', 'tsconfig.json']);
  if (layers.includes('unit')) await jest('unit');
  await fetching?.catch((error) =>
    console.error(`the parts did not come up; the tests that need them will say so: ${error.message}`),
  );
  await sideBySide(['integration', 'chaos'], ['workflows', 'parts']);
} finally {
  rmSync(results, { recursive: true, force: true });
  await run([join(root, 'bin', 'spillway.js'), 'down', '--home', testHome]);
}
const left = leftovers();
for (const what of left) console.error(`left behind: ${what}`);
count('nothing is left behind', left.length === 0 ? 1 : 0, left.length === 0 ? 0 : 1);

console.error(`\nall of it took ${seconds(startedAtMs)} s`);
if (failures.length > 0) console.error(`\nfailed: ${failures.join(', ')}`);
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exitCode = counts.failed > 0 ? 1 : 0;

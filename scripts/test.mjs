// `npm test`: what to run at every change, on this machine, from a fresh clone. Sets itself up, runs every layer on real servers but for the files that
// take long, and looks for what was left behind. `npm test -- all` runs those as well, as CI does; layers may be named, and are run whole: `npm test -- unit workflows`.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { bootstrap, root } from './bootstrap.mjs';

const ON_SERVERS = ['integration', 'workflows', 'parts', 'chaos'];
/** In the order in which they are begun: what fails soonest first, and what takes as long as the others leave at the end. */
const LAYERS = ['types', 'format', 'unit', ...ON_SERVERS, 'lint'];
/** Files of half a minute and more, by layer. Some are run every time all the same: the main job, who is lent what, endings, replays, loads. */
const LONG = {
  workflows: ['load'],
  parts: [
    ...['conformance', 'container-runtime', 'datafusion-run', 'postgres-crashes', 'postgres-faults', 'process-runtime'],
    ...['provision-faults', 'provision-parts', 'scaffold', 'trino-statements', 'trino-unload'],
  ],
  integration: [
    ...['checkpoints', 'doctor', 'doors-and-errors', 'estimates', 'faults', 'fences', 'files', 'fused'],
    ...['handoff-shares', 'host-share', 'packed-package', 'process-steps', 'rehearsal', 'rows-in-memory'],
    ...['transform-parquet', 'transform-run', 'transform-steps', 'unprivileged', 'web-files'],
  ],
  chaos: ['chaos'],
};
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

/** Runs a program to its end, or for `timeout` ms; answers its exit code. `say` gets what it writes. */
const run = (args, say, timeout = 0) =>
  new Promise((resolve) => {
    const stdio = ['ignore', 'pipe', 'pipe'];
    const child = spawn(process.execPath, args, { cwd: root, stdio, timeout, killSignal: 'SIGKILL' });
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', say);
    child.once('close', (code) => resolve(code ?? 1));
  });

async function check(name, args, say) {
  const code = await run(args, say);
  count(name, code === 0 ? 1 : 0, code === 0 ? 0 : 1);
}

async function jest(layer, extra, say) {
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
      ...(process.stderr.isTTY ? ['--colors'] : []),
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
    say(`${layer} took ${seconds(sinceMs)} s; ${slowest.map((file) => `${file.name} ${file.seconds} s`).join(', ')}\n`);
    if (code !== 0 && told.numFailedTests + broken === 0) count(layer, 0, 1);
  } catch {
    count(layer, 0, 1); // jest died before it could tell
  }
}

/** What a layer does. Within one that needs servers each test file runs by itself; two layers may run at the same time, as none touches what another does. */
async function runLayer(layer, fetching, say) {
  say(`\n── ${layer}\n`);
  if (layer === 'format')
    return check(layer, [bin(['prettier', 'bin', 'prettier.cjs']), '--check', '--log-level', 'warn', '.'], say);
  if (layer === 'lint') return check(layer, [bin(['eslint', 'bin', 'eslint.js']), '.'], say);
  if (layer === 'types') return check(layer, [bin(['typescript', 'bin', 'tsc']), '-p', 'tsconfig.json'], say);
  if (layer === 'unit') return jest(layer, [], say);
  await fetching.catch((error) =>
    say(`the parts did not come up; the tests that need them will say so: ${error.message}\n`),
  );
  const long = isWhole || !LONG[layer] ? [] : ['--testPathIgnorePatterns', `/(${LONG[layer].join('|')})\\.test\\.ts$`];
  return jest(layer, ['--runInBand', ...long], say);
}

/** Runs acts in their order, two at a time: much of a test's time is waiting. One is heard at once; what another says meanwhile comes when that one is through. */
async function twoAtATime(acts) {
  const begun = [];
  let heard;
  const next = () => {
    for (const act of begun.filter(({ isOver }) => isOver)) process.stderr.write(act.kept.splice(0).join(''));
    heard = begun.find(({ isOver }) => !isOver);
    process.stderr.write(heard?.kept.splice(0).join('') ?? '');
  };
  const takeOn = async () => {
    for (let act; (act = acts.shift()) !== undefined;) {
      const own = { kept: [], isOver: false };
      begun.push(own);
      heard ??= own;
      await act((text) => (heard === own ? process.stderr.write(text) : own.kept.push(text)));
      own.isOver = true;
      if (heard === own) next();
    }
  };
  await Promise.all([takeOn(), takeOn()]);
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

/** What was asked for: layers, and whether their long files are run too. */
function asked(words) {
  const unknown = words.filter((word) => word !== 'all' && !LAYERS.includes(word));
  if (unknown.length > 0) {
    console.error(`npm test: no layer is called ${unknown.join(', ')}; name some of ${LAYERS.join(', ')}, or all`);
    process.exit(2);
  }
  for (const [layer, names] of Object.entries(LONG))
    for (const name of names)
      statSync(join(root, 'test', layer === 'workflows' ? 'temporal' : layer, `${name}.test.ts`));
  if (words.includes('all')) return { layers: LAYERS, isWhole: true };
  return words.length > 0
    ? { layers: LAYERS.filter((layer) => words.includes(layer)), isWhole: true }
    : { layers: LAYERS.filter((layer) => layer !== 'chaos'), isWhole: false };
}

const containersBefore = new Set(containers());
if (process.argv.includes('all')) process.env.SPILLWAY_POOL_SEQUENCES ??= '1200';
const { layers, isWhole } = asked(process.argv.slice(2));
await bootstrap();
const results = mkdtempSync(join(tmpdir(), 'spillway-test-results-'));
try {
  const fetching = ON_SERVERS.some((layer) => layers.includes(layer)) ? bringUpParts() : undefined;
  fetching?.catch(() => undefined); // told below
  await twoAtATime(layers.map((layer) => (say) => runLayer(layer, fetching, say)));
} finally {
  rmSync(results, { recursive: true, force: true });
  await run([join(root, 'bin', 'spillway.js'), 'down', '--home', testHome], (text) => process.stderr.write(text));
}
const left = leftovers();
for (const what of left) console.error(`left behind: ${what}`);
count('nothing is left behind', left.length === 0 ? 1 : 0, left.length === 0 ? 0 : 1);

if (!isWhole)
  console.error(
    `\nnot run: ${Object.values(LONG).flat().length} test files that take long; \`npm test -- all\` runs them too`,
  );
console.error(`\nall of it took ${seconds(startedAtMs)} s`);
if (failures.length > 0) console.error(`\nfailed: ${failures.join(', ')}`);
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exitCode = counts.failed > 0 ? 1 : 0;

// Makes a fresh clone ready to run: dependencies, then the build. Plain Node without dependencies, as it installs them.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of the package. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Folders that `npm run build` compiles, and the files that decide how. */
const SOURCES = [
  'src',
  'workflows',
  'activities',
  'bench',
  'tsconfig.json',
  'tsconfig.build.json',
  'package-lock.json',
];

/**
 * Installs what package-lock.json says when node_modules is missing or from another lock file. Answers whether it did.
 * The stamp lies inside node_modules, so that removing the folder removes it as well.
 */
export async function installDependencies(say = console.error, at = root) {
  const lock = readFileSync(join(at, 'package-lock.json'));
  const stamp = join(at, 'node_modules', '.spillway-stamp');
  const wanted = digest([lock, process.version.split('.')[0]]);
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return false;
  if (!existsSync(stamp) && matchesInstalled(at, lock)) {
    writeAtomically(stamp, wanted); // installed by hand with `npm ci`
    return false;
  }
  say('Installing dependencies (npm ci) …');
  await run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: at });
  writeAtomically(stamp, wanted);
  return true;
}

/** Compiles the sources when `dist` is missing or was made from other ones, told by content, not by time. */
export async function build(say = console.error, at = root) {
  const stamp = join(at, 'dist', '.spillway-stamp');
  const wanted = digest(SOURCES.flatMap((name) => tree(at, join(at, name))));
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return false;
  say('Building (tsc) …');
  // Aside and then in one rename: a running worker loads modules late, and an interrupted build leaves no half of one.
  const aside = join(at, 'node_modules', `.spillway-build-${process.pid}`);
  try {
    const compiler = join(at, 'node_modules', 'typescript', 'bin', 'tsc');
    await run(process.execPath, [compiler, '-p', 'tsconfig.build.json', '--outDir', aside], { cwd: at });
    writeAtomically(join(aside, '.spillway-stamp'), wanted);
    rmSync(join(at, 'dist'), { recursive: true, force: true });
    renameSync(aside, join(at, 'dist'));
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
  return true;
}

/** Both, in order; what `npm start` and `npm test` begin with. */
export async function bootstrap(say = console.error) {
  checkNode();
  await installDependencies(say);
  await build(say);
}

/** Ends the process with one line when this Node is too old for the dependencies. */
export function checkNode(version = process.versions.node) {
  const [major, minor] = version.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 3)) return;
  throw new Error(`Node ${version} is too old: 20.3 or newer is needed. Install a newer Node and start again.`);
}

/**
 * Runs a program with our terminal and resolves when it ends well; rejects with its exit code as `code`.
 * SIGINT and SIGTERM reach the program too, and it decides when to end.
 */
export function run(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: 'inherit', cwd: root, ...options });
    const pass = (signal) => child.kill(signal);
    // A terminal sends SIGINT to the whole group: here it only must not end us before the program ended.
    const wait = () => {};
    process.on('SIGINT', wait).on('SIGTERM', pass);
    const done = () => process.off('SIGINT', wait).off('SIGTERM', pass);
    child.once('error', (error) => {
      done();
      reject(error.code === 'ENOENT' ? new Error(`${command} is not on PATH. Install it and start again.`) : error);
    });
    child.once('close', (code, signal) => {
      done();
      if (code === 0) resolve();
      else
        reject(
          Object.assign(new Error(`${command} ${args[0] ?? ''} ended with ${signal ?? code}`), {
            code: code ?? 1,
            ran: true,
          }),
        );
    });
  });
}

/** Whether node_modules was installed from this very lock file: npm keeps its own copy of what it installed. */
function matchesInstalled(at, lock) {
  const installed = join(at, 'node_modules', '.package-lock.json');
  if (!existsSync(installed)) return false;
  const versions = ({ packages }) =>
    Object.entries(packages)
      .filter(([path]) => path !== '')
      .map(([path, { version, optional }]) => ({ path, version, optional }));
  const have = new Map(
    versions(JSON.parse(readFileSync(installed, 'utf8'))).map(({ path, version }) => [path, version]),
  );
  // Optional packages of other platforms are in the lock file and not on the disk.
  return versions(JSON.parse(lock.toString())).every(({ path, version, optional }) =>
    have.has(path) ? have.get(path) === version : optional === true,
  );
}

/** Names and contents of all files below a path, in order. */
function tree(at, path) {
  if (!existsSync(path)) return [];
  if (!statSync(path).isDirectory()) return [relative(at, path), readFileSync(path)];
  return readdirSync(path)
    .sort()
    .flatMap((name) => tree(at, join(path, name)));
}

function digest(parts) {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part).update('\0');
  return hash.digest('hex');
}

function writeAtomically(path, text) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.${process.pid}`, text);
  renameSync(`${path}.${process.pid}`, path);
}

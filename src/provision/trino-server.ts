import { mkdirSync, renameSync, rmSync } from 'node:fs';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { cached, sha256OfFile } from './cached.ts';
import type { Environment } from './command.ts';
import { run } from './command.ts';
import { findOnPath } from './find-program.ts';
import type { MavenArtifact } from './pins.ts';
import { PINS, TRINO_ARTIFACTS } from './pins.ts';
import type { Report } from './progress.ts';

/**
 * Directory of the pinned Trino server with the plugins tpch, memory and hive, from its Maven artifacts (about half a minute
 * once); each file is verified by its pinned sum before it is unpacked.
 */
export async function trinoServer(cache: string, env: Environment, report: Report): Promise<string> {
  const onBuild = (): void =>
    report({
      part: 'trino',
      what: 'fetching',
      text: `Trino ${PINS.trino}: fetching the server and three plugins (480 MB)`,
    });
  return cached(cache, `trino-${PINS.trino}`, (aside) => assemble(aside, env), onBuild);
}

async function assemble(aside: string, env: Environment): Promise<void> {
  if (findOnPath('mvn', env) === undefined) throw new Error('mvn is not on PATH. Install Maven');
  const downloads = join(aside, 'downloads');
  mkdirSync(downloads);
  const [server, ...plugins] = TRINO_ARTIFACTS;
  if (!server) throw new Error('no artifacts are pinned');
  // Side by side: each is one download and one unpacking.
  const [top] = await Promise.all([
    unpack(server, downloads, env),
    ...plugins.map((plugin) => unpack(plugin, downloads, env)),
  ]);
  for (const entry of readdirSync(top)) renameSync(join(top, entry), join(aside, entry));
  for (const { file, plugin } of plugins) {
    renameSync(await onlyFolder(join(downloads, `${file}.d`)), join(aside, 'plugin', plugin ?? file));
  }
  rmSync(downloads, { recursive: true });
}

/** Downloads and verifies one artifact, and answers the folder that was in it. */
async function unpack({ artifact, file, sha256 }: MavenArtifact, downloads: string, env: Environment): Promise<string> {
  const flags = ['--quiet', '--batch-mode', '--strict-checksums', 'dependency:copy'];
  await run('mvn', [...flags, `-Dartifact=${artifact}`, `-DoutputDirectory=${downloads}`], {
    env,
    cwd: downloads, // not in a folder with a pom.xml of somebody's
    timeoutMs: 20 * 60_000,
  });
  const path = join(downloads, file);
  const sum = await sha256OfFile(path);
  if (sum !== sha256) throw new Error(`${file} has the sum ${sum} instead of ${sha256}: it was not what was pinned`);
  const into = join(downloads, `${file}.d`);
  mkdirSync(into);
  if (file.endsWith('.zip')) await unzip(path, into, env);
  else await run('tar', ['-xzf', path, '-C', into], { env });
  rmSync(path);
  return onlyFolder(into);
}

async function unzip(path: string, into: string, env: Environment): Promise<void> {
  // Whoever has Maven has a JDK, and whoever has neither unzip nor jar has Python.
  if (findOnPath('unzip', env) !== undefined) await run('unzip', ['-q', path, '-d', into], { env });
  else if (findOnPath('jar', env) !== undefined) await run('jar', ['xf', path], { env, cwd: into });
  else await run('python3', ['-m', 'zipfile', '-e', path, into], { env });
}

async function onlyFolder(directory: string): Promise<string> {
  const [folder, ...others] = readdirSync(directory);
  if (folder === undefined || others.length > 0) throw new Error(`expected one folder in ${directory}`);
  return join(directory, folder);
}

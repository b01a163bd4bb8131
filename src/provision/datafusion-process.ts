import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PartSource } from '../contracts/parts.ts';
import { cached } from './cached.ts';
import type { Environment } from './command.ts';
import { run } from './command.ts';
import { findOnPath } from './find-program.ts';
import { PINS } from './pins.ts';
import { pipInstall } from './pip.ts';
import type { Report } from './progress.ts';
import { compileModules } from './python-bytecode.ts';
import { copyRunner, runnerHash, runnerRequirements } from './runner-sources.ts';

/** Versions of Python that the wheels are pinned for, the image's own first. */
const PYTHONS = ['3.11', '3.12', '3.13'];
/** Asks a Python for its version and its program. */
const WHO = 'import sys; print("%d.%d" % sys.version_info[:2], sys.executable)';

/**
 * The DataFusion runner for a host without containers: a directory whose `run` starts it, made once per runner, pins and Python.
 * @throws Error that names the way out when no fitting Python is there, or its wheels cannot be had
 */
export async function datafusionProcess(
  cache: string,
  env: Environment,
  report: Report,
): Promise<{ name: string; found: PartSource }> {
  const python = await findPython(env);
  const requirements = runnerRequirements();
  const script = startScript(python.path);
  const hash = runnerHash(script, readFileSync(requirements, 'utf8'), python.version);
  let found: PartSource = 'path';
  const name = await cached(
    cache,
    `datafusion-process-${hash}`,
    async (aside) => {
      await pipInstall(requirements, join(aside, 'wheels'), env, undefined, python.path);
      copyRunner(join(aside, 'runner'));
      const modules = [join(aside, 'wheels'), join(aside, 'runner')];
      await compileModules({ command: [python.path], env: {} }, modules, env);
      writeFileSync(join(aside, 'run'), script);
      chmodSync(join(aside, 'run'), 0o755);
    },
    () => {
      found = 'fetched';
      report({ part: 'image', what: 'fetching', text: `DataFusion ${PINS.datafusion} for Python ${python.version}` });
    },
  );
  return { name, found };
}

/** Starts the runner that lies beside it, with nothing of the host's own packages and variables. */
const startScript = (python: string): string =>
  [
    '#!/bin/sh',
    'here=$(dirname "$0")',
    `SPILLWAY_WHEELS=$here/wheels exec ${quoted(python)} -E -S -B -u "$here/runner/runner.py" "$@"`,
    '',
  ].join('\n');

async function findPython(env: Environment): Promise<{ path: string; version: string }> {
  const seen: string[] = [];
  for (const name of [...PYTHONS.map((version) => `python${version}`), 'python3']) {
    const path = findOnPath(name, env);
    if (path === undefined) continue;
    // The program itself: a version manager puts a script in its place, which takes longer to start than Python does.
    const said = await run(path, ['-c', WHO], { env }).catch(() => '');
    const [, version = '', program = ''] = /^(\d+\.\d+) (.+)$/.exec(said.trim()) ?? [];
    if (PYTHONS.includes(version)) return { path: program, version };
    seen.push(`${path} is ${version === '' ? 'broken' : `Python ${version}`}`);
  }
  const what = seen.length > 0 ? ` (${seen.join(', ')})` : '';
  throw new Error(`no Python ${PYTHONS[0]} to ${PYTHONS.at(-1)} found${what}. Install one of them with pip`);
}

const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

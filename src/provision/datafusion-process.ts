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
  const hash = runnerHash(`${PINS.imageRecipe}`, readFileSync(requirements, 'utf8'), python.path, python.version);
  let found: PartSource = 'path';
  const name = await cached(
    cache,
    `datafusion-process-${hash}`,
    async (aside) => {
      await pipInstall(requirements, join(aside, 'wheels'), env, undefined, python.path);
      copyRunner(join(aside, 'runner'));
      const modules = [join(aside, 'wheels'), join(aside, 'runner')];
      await compileModules({ command: [python.path], env: {} }, modules, env);
      const script = [
        '#!/bin/sh',
        'here=$(dirname "$0")',
        'SPILLWAY_WHEELS=$here/wheels PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \\',
        `  exec ${quoted(python.path)} "$here/runner/runner.py" "$@"`,
      ];
      writeFileSync(join(aside, 'run'), `${script.join('\n')}\n`);
      chmodSync(join(aside, 'run'), 0o755);
    },
    () => {
      found = 'fetched';
      report({ part: 'image', what: 'fetching', text: `DataFusion ${PINS.datafusion} for Python ${python.version}` });
    },
  );
  return { name, found };
}

async function findPython(env: Environment): Promise<{ path: string; version: string }> {
  const seen: string[] = [];
  for (const name of [...PYTHONS.map((version) => `python${version}`), 'python3']) {
    const path = findOnPath(name, env);
    if (path === undefined) continue;
    const text = await run(path, ['--version'], { env }).catch(() => '');
    const version = /^Python (\d+\.\d+)/.exec(text)?.[1] ?? '';
    if (PYTHONS.includes(version)) return { path, version };
    seen.push(`${path} is ${text || 'broken'}`);
  }
  const what = seen.length > 0 ? ` (${seen.join(', ')})` : '';
  throw new Error(`no Python ${PYTHONS[0]} to ${PYTHONS.at(-1)} found${what}. Install one of them with pip`);
}

const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { execa } from 'execa';
import { SpillwayError } from '../../src/contracts/errors.ts';
import { run, type Environment } from '../../src/provision/command.ts';
import { findOnPath } from '../../src/provision/find-program.ts';
import { packageRoot } from '../../src/provision/package-root.ts';
import type { Work } from './pipeline.ts';

const file = (name: string): string => join(packageRoot(), 'bench', 'end-to-end', name);
const INSTALL_MS = 10 * 60_000;

/** Packages of the script, as pinned: name → version. */
export function scriptVersions(): Record<string, string> {
  const pins = readFileSync(file('requirements.txt'), 'utf8').matchAll(/^([\w-]+)(?:\[\w+\])?==(\S+)$/gm);
  return Object.fromEntries([...pins].map(([, name, version]) => [name!, version!]));
}

/** Python with the script's packages, installed once into the cache. @throws SpillwayError `EngineUnreachable` */
export async function scriptPython(cache: string, env: Environment, say: (line: string) => void): Promise<string> {
  const requirements = file('requirements.txt');
  const directory = join(
    cache,
    `bench-python-${createHash('sha256').update(readFileSync(requirements)).digest('hex').slice(0, 12)}`,
  );
  const python = join(directory, 'bin', 'python');
  const ready = join(directory, '.ready');
  if (existsSync(ready)) return python;
  const system = findOnPath('python3', env);
  if (system === undefined)
    throw new SpillwayError(
      'EngineUnreachable',
      'The script to compare with needs Python: install python3 (3.10 or newer) with venv.',
    );
  say(`installing the script's packages into ${directory}`);
  mkdirSync(cache, { recursive: true });
  rmSync(directory, { recursive: true, force: true }); // left by an installation that was interrupted
  await run(system, ['-m', 'venv', directory], { env, timeoutMs: INSTALL_MS });
  await run(
    python,
    [
      '-m',
      'pip',
      'install',
      '--quiet',
      '--disable-pip-version-check',
      '--no-input',
      '--only-binary=:all:',
      '-r',
      requirements,
    ],
    {
      env,
      timeoutMs: INSTALL_MS,
    },
  );
  writeFileSync(ready, '');
  return python;
}

/** What one run of the script took. */
export interface ScriptRun {
  /** From the start of the process to its end. */
  wallSeconds: number;
  /** Phase → seconds, as the script took them; `inner` is all of it but the imports. */
  seconds: Record<string, number>;
  peakRssBytes: number;
}

export interface ScriptOrder {
  python: string;
  /** Address with the password; it goes by a file that only its owner reads. */
  postgres: string;
  trino: string;
  lakeRoot: string;
  work: Work;
  /** Schema of its tables. */
  into: string;
  /** Directory for the file with the order. */
  tmp: string;
  env: Environment;
  signal: AbortSignal;
}

/** Runs the hand-written script once. */
export async function runScript({ python, work, into, tmp, env, signal, ...servers }: ScriptOrder): Promise<ScriptRun> {
  const given = join(tmp, `script-${process.pid}.json`);
  const targets = work.targets.map((target) => ({ ...target, table: `${into}.${target.name}` }));
  writeFileSync(
    given,
    JSON.stringify({ ...servers, catalog: 'lake', unload: 'bench_unload', extract: work.extract, targets }),
    { mode: 0o600 },
  );
  const began = performance.now();
  try {
    const { stdout } = await execa(python, [file('hand-written.py'), given], {
      env: { ...env },
      extendEnv: false,
      stdin: 'ignore',
      cancelSignal: signal,
    });
    const wallSeconds = (performance.now() - began) / 1000;
    return { wallSeconds, ...(JSON.parse(stdout) as Omit<ScriptRun, 'wallSeconds'>) };
  } finally {
    rmSync(given, { force: true });
  }
}

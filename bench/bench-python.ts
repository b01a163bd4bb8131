import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SpillwayError } from '../src/contracts/errors.ts';
import { run, type Environment } from '../src/provision/command.ts';
import { findOnPath } from '../src/provision/find-program.ts';
import { packageRoot } from '../src/provision/package-root.ts';

/** A file beside a bench's sources that is not compiled. */
export const benchFile = (bench: string, name: string): string => join(packageRoot(), 'bench', bench, name);
const INSTALL_MS = 10 * 60_000;

/** Packages that a bench pins in its `requirements.txt`: name → version. */
export function pinnedVersions(bench: string): Record<string, string> {
  const text = readFileSync(benchFile(bench, 'requirements.txt'), 'utf8');
  return Object.fromEntries(
    [...text.matchAll(/^([\w-]+)(?:\[\w+\])?==(\S+)$/gm)].map(([, name, version]) => [name!, version!]),
  );
}

/** Python with a bench's packages, installed once into the cache. @throws SpillwayError `EngineUnreachable` */
export async function benchPython(
  bench: string,
  cache: string,
  env: Environment,
  say: (line: string) => void,
): Promise<string> {
  const requirements = benchFile(bench, 'requirements.txt');
  const hash = createHash('sha256').update(readFileSync(requirements)).digest('hex').slice(0, 12);
  const directory = join(cache, `bench-python-${hash}`);
  const python = join(directory, 'bin', 'python');
  const ready = join(directory, '.ready');
  if (existsSync(ready)) return python;
  const system = findOnPath('python3', env);
  if (system === undefined)
    throw new SpillwayError(
      'EngineUnreachable',
      'What it is compared with needs Python: install python3 (3.10 or newer) with venv.',
    );
  say(`installing packages of the bench into ${directory}`);
  mkdirSync(cache, { recursive: true });
  rmSync(directory, { recursive: true, force: true }); // left by an installation that was interrupted
  await run(system, ['-m', 'venv', directory], { env, timeoutMs: INSTALL_MS });
  const flags = ['--quiet', '--disable-pip-version-check', '--no-input', '--only-binary=:all:'];
  await run(python, ['-m', 'pip', 'install', ...flags, '-r', requirements], { env, timeoutMs: INSTALL_MS });
  writeFileSync(ready, '');
  return python;
}

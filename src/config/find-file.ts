import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SpillwayError } from '../contracts/errors.ts';
import { importDefault } from './import-module.ts';

const NAMES = ['ts', 'js', 'mjs', 'json'].map((ending) => `spillway.config.${ending}`);

/** The nearest `spillway.config.{ts,js,mjs,json}` in `cwd` or above it; undefined when there is none. */
export function findConfigFile(cwd: string): string | undefined {
  for (let at = resolve(cwd); ; at = dirname(at)) {
    for (const name of NAMES) if (existsSync(join(at, name))) return join(at, name);
    if (at === dirname(at)) return undefined;
  }
}

/** What a configuration file exports by default, unchecked; what it compiles to is kept in `compiledIn`. Raises `InvalidInput` when the file does not load. */
export async function loadConfigFile(file: string, compiledIn: string): Promise<unknown> {
  try {
    if (file.endsWith('.json')) return JSON.parse(readFileSync(file, 'utf8')) as unknown;
    const own = dirname(fileURLToPath(import.meta.url));
    return await importDefault(file, {
      compiledIn,
      anew: true, // a changed file is read again
      // A configuration needs defineConfig alone, and gets it where this package is not installed by name as well.
      alias: { spillway: join(own, existsSync(join(own, 'options.ts')) ? 'options.ts' : 'options.js') },
    });
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('\n')[0] : String(error);
    throw new SpillwayError(
      'InvalidInput',
      `${file} could not be loaded: ${reason}. Correct it, or name another with --config.`,
      {
        cause: error,
      },
    );
  }
}

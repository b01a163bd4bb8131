import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * The folder of this package, where `provision/` and `containers/` lie: the nearest one above this module with both a
 * `package.json` and `provision/`. The same from sources and from the build.
 */
export function packageRoot(): string {
  for (let at = dirname(fileURLToPath(import.meta.url)); ; at = dirname(at)) {
    if (existsSync(join(at, 'package.json')) && existsSync(join(at, 'provision'))) return at;
    if (at === dirname(at)) throw new Error('the folder provision/ is missing from this installation of spillway');
  }
}

/** A file or folder of `provision/`. */
export const provisionFile = (...path: string[]): string => join(packageRoot(), 'provision', ...path);

/** Version of this package. */
export const packageVersion = (): string =>
  (JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as { version: string }).version;

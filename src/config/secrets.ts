import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { SpillwayError } from '../contracts/errors.ts';
import type { ResolvedSecret } from './resolved.ts';

/**
 * Reads a secret on this host: from `SPILLWAY_SECRET_<NAME>`, else from a file of that name in one of the directories.
 *
 * The file must be for its owner alone (mode 600 or 400); a trailing line end is left out. Raises `InvalidInput` with both
 * places, never with the value. Call it where the secret is used and keep it out of inputs, logs and arguments.
 */
export function readSecret(
  secret: ResolvedSecret,
  env: Readonly<Record<string, string | undefined>>,
  secretDirs: readonly string[],
): string {
  if ('literal' in secret) return secret.literal;
  const variable = `SPILLWAY_SECRET_${secret.secret.toUpperCase()}`;
  const fromEnvironment = env[variable];
  if (fromEnvironment !== undefined && fromEnvironment !== '') return fromEnvironment;
  for (const directory of secretDirs) {
    const file = join(directory, secret.secret);
    let mode: number;
    try {
      mode = statSync(file).mode;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue;
      throw unreadable(file, error);
    }
    if ((mode & 0o077) !== 0) {
      const octal = (mode & 0o777).toString(8);
      throw new SpillwayError('InvalidInput', `${file} may be read by others (mode ${octal}). Run: chmod 600 ${file}`);
    }
    try {
      return readFileSync(file, 'utf8').replace(/\r?\n$/, '');
    } catch (error) {
      throw unreadable(file, error);
    }
  }
  const files = secretDirs.map((directory) => join(directory, secret.secret)).join(' or ');
  throw new SpillwayError(
    'InvalidInput',
    `The secret ${secret.secret} is nowhere. Set ${variable}${files === '' ? '' : `, or write it to ${files}`}.`,
  );
}

function unreadable(file: string, cause: unknown): SpillwayError {
  return new SpillwayError('InvalidInput', `${file} cannot be read by this user. Give it to the user of the worker.`, {
    cause,
  });
}

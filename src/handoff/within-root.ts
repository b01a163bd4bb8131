import { mkdir, realpath, rm } from 'node:fs/promises';
import { dirname, resolve, sep } from 'node:path';
import { SpillwayError } from '../contracts/errors.ts';
import { ignoreMissing } from './ignore-missing.ts';

/**
 * Removes a file or directory under the root; says whether there was one. Links are removed, never followed.
 * Raises InvalidInput for a path whose parent, links resolved, lies outside of the root.
 */
export async function removeWithin(root: string, path: string): Promise<boolean> {
  const parent = await realpath(dirname(path)).catch(ignoreMissing);
  if (parent === undefined) return false;
  refuseOutside(root, parent, path);
  try {
    // Another process may remove or still write the same files: retries meet both.
    await rm(path, { recursive: true, maxRetries: 5, retryDelay: 50 });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      await rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
      return false;
    }
    throw error;
  }
}

/** Makes a directory under the root, its parents too. Raises InvalidInput when links lead it outside. */
export async function makeWithin(root: string, path: string): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      await mkdir(path, { recursive: true });
      break;
    } catch (error) {
      // Somebody dropped the run's last attempt, and its empty directory with it, between two steps of mkdir.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || attempt === 5) throw error;
    }
  }
  refuseOutside(root, await realpath(path), path);
}

function refuseOutside(root: string, real: string, path: string): void {
  if (real !== root && !resolve(real).startsWith(root + sep)) {
    throw new SpillwayError(
      'InvalidInput',
      `Remove the link that leads out of the scratch root ${root}: ${path} is really under ${real}.`,
    );
  }
}

import { createHash, randomUUID } from 'node:crypto';
import { createReadStream, existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { withLock } from './lock.ts';

/**
 * A directory of the cache, made once: `build` fills a directory aside, which then gets its name in one rename. An
 * interrupted build leaves nothing under the name, and what it left aside is removed by the next one. Several processes
 * that want the same directory build it once. `onBuild` is called before a build, not when the directory was there.
 */
export async function cached(
  cache: string,
  name: string,
  build: (aside: string) => Promise<void>,
  onBuild?: () => void,
): Promise<string> {
  const target = join(cache, name);
  if (existsSync(target)) return target;
  mkdirSync(cache, { recursive: true, mode: 0o700 });
  return withLock(target, async () => {
    if (existsSync(target)) return target;
    onBuild?.();
    for (const left of readdirSync(cache)) {
      if (left.startsWith(`${name}.making-`)) rmSync(join(cache, left), { recursive: true, force: true });
    }
    const aside = join(cache, `${name}.making-${randomUUID().slice(0, 8)}`);
    mkdirSync(aside, { recursive: true, mode: 0o755 });
    try {
      await build(aside);
      renameSync(aside, target);
    } catch (error) {
      rmSync(aside, { recursive: true, force: true });
      throw error;
    }
    return target;
  });
}

/** SHA-256 of a file, in hexadecimal. */
export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

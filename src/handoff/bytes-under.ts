import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** A regular file under a directory. */
export interface FoundFile {
  path: string;
  bytes: number;
}

/** Regular files under a path, at any depth, by path; none when it is not there. Links are not followed. */
export async function filesUnder(path: string): Promise<FoundFile[]> {
  const found: FoundFile[] = [];
  const waiting = [path];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const here = next;
    // Files may vanish while we look; what is gone has no bytes.
    const stat = await lstat(here).catch(ignoreGone);
    if (stat?.isFile()) found.push({ path: here, bytes: stat.size });
    if (stat?.isDirectory())
      waiting.push(...((await readdir(here).catch(ignoreGone)) ?? []).map((name) => join(here, name)));
  }
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Bytes of all regular files under a path; 0 when it is not there. */
export async function bytesUnder(path: string): Promise<number> {
  return (await filesUnder(path)).reduce((sum, file) => sum + file.bytes, 0);
}

function ignoreGone(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw error;
}

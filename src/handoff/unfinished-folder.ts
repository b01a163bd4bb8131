import { readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { attemptName, safeName, type Attempt } from './attempt.ts';

const PREFIX = '.spillway-';
/** Follows the folder's own name where it holds what was there before. */
const BEFORE = '.before.';

/** Where an attempt makes a folder that takes its name only when it is whole: beside it, so that this is one act of the file system. */
export const unfinishedFolder = (beside: string, attempt: Attempt): string =>
  join(beside, `${PREFIX}${safeName(attempt.run)}.${attemptName(attempt)}`);

/** Where the folder that is replaced is for a moment. */
export const replacedFolder = (unfinished: string, name: string): string => `${unfinished}${BEFORE}${name}`;

/** Removes what an attempt left there; what it was about to replace is put back when nothing has taken its place. */
export async function removeUnfinished(beside: string, attempt: Attempt): Promise<void> {
  const unfinished = unfinishedFolder(beside, attempt);
  const before = `${unfinished}${BEFORE}`;
  for (const path of (await readdir(beside).catch(() => [])).map((name) => join(beside, name))) {
    if (!path.startsWith(before)) continue;
    const name = join(beside, path.slice(before.length));
    if (await stat(name).catch(() => undefined)) await rm(path, { recursive: true, force: true });
    else await rename(path, name);
  }
  await rm(unfinished, { recursive: true, force: true });
}

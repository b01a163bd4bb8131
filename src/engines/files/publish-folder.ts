import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, readdir, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { SpillwayError } from '../../contracts/errors.ts';
import type { HandoffPart } from '../../contracts/handoff.ts';
import type { Attempt } from '../../handoff/attempt.ts';
import { syncToDisk } from '../../handoff/sync-to-disk.ts';
import { replacedFolder, unfinishedFolder } from '../../handoff/unfinished-folder.ts';
import { MiB } from '../../policy/sizes.ts';
import { ignoreMissing } from '../../handoff/ignore-missing.ts';

/** In each folder that was written; readers of lakes pass over names that begin with `_`. */
export const WRITTEN = '_spillway.json';

/** What a folder says of who wrote it. */
interface Written extends Attempt {
  version: 1;
  rows: number;
  bytes: number;
}

export interface PublishOptions {
  attempt: Attempt;
  parts: readonly HandoffPart[];
  signal: AbortSignal;
  onProgress?: (bytes: number) => void;
}

/** The folder that will be written, links resolved; its parent is made. Raises InvalidInput when it lies outside, or was not written by a step. */
export async function prepareFolder(root: string, path: string): Promise<string> {
  const real = await realpath(root).catch((cause: unknown) => {
    throw new SpillwayError('InvalidInput', `Make the directory ${root}, or configure another: it is not there.`, { cause }); // prettier-ignore
  });
  const wanted = join(real, path);
  // Checked before anything is made: a link on the way would have folders made elsewhere.
  for (let above = dirname(wanted); above.length >= real.length; above = dirname(above)) {
    const there = await realpath(above).catch(ignoreMissing);
    if (there === undefined) continue;
    if (there !== real && !there.startsWith(real + sep))
      throw new SpillwayError('InvalidInput', `${above} leads to ${there}, outside of ${root}. Remove the link, or configure that directory.`); // prettier-ignore
    break;
  }
  await mkdir(dirname(wanted), { recursive: true });
  const folder = join(await realpath(dirname(wanted)), basename(wanted));
  const found = await stat(folder).catch(ignoreMissing);
  if (found && (!found.isDirectory() || ((await readdir(folder)).length > 0 && !(await readWritten(folder)))))
    throw new SpillwayError('InvalidInput', `${folder} is there and was written by no step. Choose another path, or move it away.`); // prettier-ignore
  return folder;
}

/**
 * Puts files into a folder, under names of their own, and has it take its place when every byte is on disk. One that is there is replaced; whoever lists the
 * folder in between sees, for the time of one rename, none. An attempt that comes again publishes the same rows again.
 *
 * @throws SpillwayError `LeaseLost` when a later attempt has published, `ScratchFull` when the disk of the directory is full
 */
export async function publishFolder(folder: string, options: PublishOptions): Promise<void> {
  const { attempt, parts, signal, onProgress } = options;
  const making = unfinishedFolder(dirname(folder), attempt);
  await rm(making, { recursive: true, force: true });
  try {
    await mkdir(making);
    let bytes = 0;
    for (const [place, part] of parts.entries()) {
      const to = join(making, `part-${String(place).padStart(5, '0')}.${part.kind}`);
      await pipeline(
        createReadStream(fileURLToPath(part.uri), { highWaterMark: MiB }),
        createWriteStream(to, { flags: 'wx' }),
        { signal },
      );
      await syncToDisk(to);
      bytes += part.bytes;
      onProgress?.(bytes);
    }
    const { run, step, token } = attempt;
    const written: Written = { version: 1, run, step, token, rows: parts.reduce((sum, { rows }) => sum + rows, 0), bytes }; // prettier-ignore
    await writeFile(join(making, WRITTEN), JSON.stringify(written));
    await syncToDisk(join(making, WRITTEN));
    await syncToDisk(making);
    await take(folder, making, attempt);
  } catch (error) {
    await rm(making, { recursive: true, force: true });
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOSPC' || code === 'EDQUOT')
      throw new SpillwayError('ScratchFull', `Free space under ${dirname(folder)}: it became full while ${attempt.step} was written.`, { cause: error }); // prettier-ignore
    throw error;
  }
}

async function take(folder: string, making: string, { run, token }: Attempt): Promise<void> {
  const before = await readWritten(folder);
  // Tokens follow the clock: what was published with a higher one is newer, whichever run it is of.
  if (before && before.token > token)
    throw new SpillwayError('LeaseLost', `${folder} was written by a later attempt (run ${before.run}, token ${before.token}); run ${run} has token ${token}.`); // prettier-ignore
  const aside = replacedFolder(making, basename(folder));
  await rename(folder, aside).catch(ignoreMissing);
  try {
    await rename(making, folder);
  } catch (error) {
    await rename(aside, folder).catch(ignoreMissing);
    throw error;
  }
  await syncToDisk(dirname(folder));
  await rm(aside, { recursive: true, force: true });
}

async function readWritten(folder: string): Promise<Written | undefined> {
  const text = await readFile(join(folder, WRITTEN), 'utf8').catch(ignoreMissing);
  if (text === undefined) return undefined;
  try {
    const written = JSON.parse(text) as Written;
    return written.version === 1 ? written : undefined;
  } catch {
    return undefined; // somebody else's
  }
}

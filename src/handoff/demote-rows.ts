import { chmod, copyFile, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isOpenAnywhere } from '../host/open-files.ts';
import { formatBytes } from '../policy/sizes.ts';
import type { Attempt } from './attempt.ts';
import { DEMOTED } from './read-rows.ts';
import { isMarked, markDemoting, unmarkDemoting } from './row-marks.ts';
import type { ScratchLedger } from './scratch-ledger.ts';

/** What became of rows that were to go from memory; `scratchBytes` are those of their files on scratch now. */
export interface DemotedRows {
  outcome: 'moved' | 'dropped' | 'busy';
  scratchBytes: number;
  because: string;
}

/**
 * Takes the rows of an attempt out of memory. They are copied to scratch before, if they may be; where the disk has no room for them they are dropped,
 * and whoever reads them later raises `HandoffLost`. Nothing is done while somebody reads them. May be called again after it was killed at any point.
 *
 * @param mayMove whether scratch is charged for them
 */
export async function demoteRows(scratch: ScratchLedger, rows: Attempt, mayMove: boolean): Promise<DemotedRows> {
  const to = join(scratch.root, scratch.relativeDirectory(rows), DEMOTED);
  // Without its directory on scratch there is nowhere to put a mark, or rows; what is in memory goes all the same.
  const hasDirectory = await markDemoting(scratch, rows);
  try {
    if (await isMarked(scratch, rows, 'reading')) return { outcome: 'busy', scratchBytes: 0, because: 'a step reads them' }; // prettier-ignore
    const from = scratch.memoryDirectory(rows);
    const files = (await readdir(from).catch(ignoreMissing)).filter((name) => !name.startsWith('.'));
    const failed = files.length > 0 && mayMove && hasDirectory ? await copyAll(scratch, files, from, to) : undefined;
    // The container of a worker that was killed may still have them mapped: their bytes would not come free.
    const isOpen = await anyOpen(files.map((name) => join(from, name)));
    // Files that are gone from memory were moved before, and that copy is all there is of them.
    if (files.length > 0 && (isOpen || failed !== undefined || !mayMove))
      await rm(to, { recursive: true, force: true });
    if (isOpen) return { outcome: 'busy', scratchBytes: 0, because: 'a process has them open' };
    await scratch.dropFromMemory(rows);
    const scratchBytes = await sizeOf(to);
    if (scratchBytes > 0)
      return { outcome: 'moved', scratchBytes, because: `${formatBytes(scratchBytes)} went to disk` };
    return { outcome: 'dropped', scratchBytes, because: failed ?? (mayMove ? 'they were gone' : 'the pool has no scratch for them') }; // prettier-ignore
  } finally {
    await unmarkDemoting(scratch, rows);
  }
}

async function anyOpen(paths: string[]): Promise<boolean> {
  for (const path of paths) if (await isOpenAnywhere(path)) return true;
  return false;
}

/** Copies files, each whole or not at all; answers why that could not be. */
async function copyAll(scratch: ScratchLedger, files: string[], from: string, to: string): Promise<string | undefined> {
  const bytes = await sizeOf(from);
  const free = await scratch.freeBytes();
  if (free < bytes) return `the disk has ${formatBytes(Math.max(0, free))} free above the floor, ${formatBytes(bytes)} are needed`; // prettier-ignore
  try {
    await mkdir(to).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
    await chmod(to, 0o755); // containers read it as another user
    for (const name of files) {
      const aside = join(to, `.${name}`);
      await copyFile(join(from, name), aside);
      const copy = await open(aside, 'r');
      await copy.sync().finally(() => copy.close());
      await chmod(aside, 0o644);
      await rename(aside, join(to, name));
    }
    return undefined;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return 'they were dropped meanwhile';
    if (code === 'ENOSPC' || code === 'EDQUOT') return 'the disk became full';
    throw error;
  }
}

async function sizeOf(folder: string): Promise<number> {
  let bytes = 0;
  for (const name of (await readdir(folder).catch(ignoreMissing)).filter((found) => !found.startsWith('.')))
    bytes += (await stat(join(folder, name))).size;
  return bytes;
}

function ignoreMissing(error: NodeJS.ErrnoException): string[] {
  if (error.code === 'ENOENT') return [];
  throw error;
}

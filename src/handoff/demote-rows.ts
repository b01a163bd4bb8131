import { chmod, copyFile, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
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

/** How long readers are waited for, and how often they are looked for, in ms. */
const READERS = { withinMs: 20_000, everyMs: 250 } as const;

/**
 * Takes the rows of an attempt out of memory. They are copied to scratch before, if they may be; where the disk has no room for them they are dropped,
 * and whoever reads them later raises `HandoffLost`. Waits a while for whoever reads them, and does nothing while they do. May be called again after it
 * was killed at any point.
 *
 * @param mayMove whether scratch is charged for them
 * @param waitMs how long readers are waited for
 */
export async function demoteRows(
  scratch: ScratchLedger,
  rows: Attempt,
  mayMove: boolean,
  waitMs: number = READERS.withinMs,
): Promise<DemotedRows> {
  for (const until = Date.now() + waitMs; ;) {
    // Without its directory on scratch there is nowhere to put a mark, or rows; what is in memory goes all the same.
    const hasDirectory = await markDemoting(scratch, rows);
    try {
      const because = await whyBusy(scratch, rows);
      if (because === undefined) return await take(scratch, rows, mayMove && hasDirectory);
      if (Date.now() >= until) return { outcome: 'busy', scratchBytes: 0, because };
    } finally {
      await unmarkDemoting(scratch, rows); // who comes meanwhile may read them
    }
    await sleep(READERS.everyMs);
  }
}

/** Who keeps the rows in memory. The container of a worker that was killed has no mark that counts, and may still have them mapped. */
async function whyBusy(scratch: ScratchLedger, rows: Attempt): Promise<string | undefined> {
  if (await isMarked(scratch, rows, 'reading')) return 'a step reads them';
  const memory = scratch.memoryDirectory(rows);
  return (await anyOpen(await filesIn(memory))) ? 'a process has them open' : undefined;
}

async function take(scratch: ScratchLedger, rows: Attempt, mayMove: boolean): Promise<DemotedRows> {
  const to = join(scratch.root, scratch.relativeDirectory(rows), DEMOTED);
  const files = await filesIn(scratch.memoryDirectory(rows));
  const failed = files.length > 0 && mayMove ? await copyAll(scratch, files, to) : undefined;
  const isOpen = await anyOpen(files); // again, as copying takes a while: unlinked then, their bytes would not come free
  // Files that are gone from memory were moved before, and that copy is all there is of them.
  if (files.length > 0 && (isOpen || failed !== undefined || !mayMove)) await rm(to, { recursive: true, force: true });
  if (isOpen) return { outcome: 'busy', scratchBytes: 0, because: 'a process has them open' };
  await scratch.dropFromMemory(rows);
  const scratchBytes = await sizeOf(await filesIn(to));
  if (scratchBytes > 0) return { outcome: 'moved', scratchBytes, because: `${formatBytes(scratchBytes)} went to disk` };
  return { outcome: 'dropped', scratchBytes, because: failed ?? (mayMove ? 'they were gone' : 'there is no scratch for them') }; // prettier-ignore
}

async function anyOpen(paths: string[]): Promise<boolean> {
  for (const path of paths) if (await isOpenAnywhere(path)) return true;
  return false;
}

/** Copies files, each whole or not at all; answers why that could not be. */
async function copyAll(scratch: ScratchLedger, files: string[], to: string): Promise<string | undefined> {
  const bytes = await sizeOf(files);
  const free = await scratch.freeBytes();
  if (free < bytes) return `the disk has ${formatBytes(Math.max(0, free))} free above the floor, ${formatBytes(bytes)} are needed`; // prettier-ignore
  try {
    await mkdir(to).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
    await chmod(to, 0o755); // containers read it as another user
    for (const file of files) {
      const aside = join(to, `.${basename(file)}`);
      await copyFile(file, aside);
      const copy = await open(aside, 'r');
      await copy.sync().finally(() => copy.close());
      await chmod(aside, 0o644);
      await rename(aside, join(to, basename(file)));
    }
    return undefined;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return 'they were dropped meanwhile';
    if (code === 'ENOSPC' || code === 'EDQUOT') return 'the disk became full';
    throw error;
  }
}

/** Whole files of a directory; none where there is no directory. */
async function filesIn(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  return names.filter((name) => !name.startsWith('.')).map((name) => join(folder, name));
}

async function sizeOf(files: string[]): Promise<number> {
  const found = await Promise.all(files.map((file) => stat(file)));
  return found.reduce((sum, { size }) => sum + size, 0);
}

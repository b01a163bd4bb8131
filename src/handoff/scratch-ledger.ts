import { lstat, mkdir, readdir, realpath, rm, rmdir, statfs } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { SpillwayError } from '../contracts/errors.ts';
import { memoryRootOf } from '../host/tmpfs.ts';
import { GiB, formatBytes } from '../policy/sizes.ts';
import { attemptName, parseAttemptName, safeName } from './attempt.ts';
import type { Attempt } from './attempt.ts';
import { bytesUnder } from './bytes-under.ts';
import { readEntry, writeEntry } from './ledger-entry.ts';
import type { LedgerEntry } from './ledger-entry.ts';
import { removeUnfinished } from './unfinished-folder.ts';
import { makeWithin, removeWithin } from './within-root.ts';

/**
 * Layout under the scratch root. An entry is on disk before its directory is made, and goes after it:
 *   runs/<run>/<step>-<token>/            files of one attempt
 *   ledger/<run>.<step>-<token>.json      that the attempt may have files
 * Under the memory root, if there is one, lie `runs/…` alike: rows that are kept in memory.
 */
const RUNS = 'runs';
const LEDGER = 'ledger';

export interface ReserveOptions {
  /** Scratch bytes lent to the attempt; they must fit above the floor. @defaultValue 0 */
  scratchBytes?: number;
  /** Not for writers that insist on making it themselves, as Trino does. @defaultValue true */
  makeDirectory?: boolean;
  /** Makes its directory in memory as well. @defaultValue false */
  inMemory?: boolean;
  /** Step whose attempt, of the same token, writes it beside its own rows. */
  within?: string;
  /** Folder outside of scratch where the attempt makes one of its own, see {@link unfinishedFolder}. */
  outside?: string;
}

/** What dropping removed. */
export interface Dropped {
  bytes: number;
  directories: string[];
}

/** The scratch root. Every method may be called twice, and by two processes at once. */
export interface ScratchLedger {
  readonly root: string;
  /** Path of an attempt's directory relative to the root, with `/` between its parts. */
  relativeDirectory(attempt: Attempt): string;
  /** An attempt's directory in memory. Raises a TypeError where nothing can be kept in memory. */
  memoryDirectory(attempt: Attempt): string;
  /** Bytes that can still be kept in memory on this host; 0 where nothing can, or where the memory root is somebody else's. */
  memoryFreeBytes(): Promise<number>;
  /** Roots below which `runs/<run>/<step>-<token>/` may lie; the scratch root first. */
  readonly roots: readonly string[];
  /** Writes the attempt down, then makes its directory. Raises ScratchFull when the disk is too full for it. */
  reserveAttempt(attempt: Attempt, options?: ReserveOptions): Promise<LedgerEntry>;
  /** Records the bytes that the attempt left. Raises HandoffLost when the attempt was dropped meanwhile. */
  sealAttempt(attempt: Attempt): Promise<LedgerEntry>;
  /** Removes everything of a run. */
  dropRun(run: string): Promise<Dropped>;
  /** Removes all attempts of these steps. */
  dropSteps(run: string, steps: readonly string[]): Promise<Dropped>;
  /** Removes the attempts of a step that came before this one. */
  dropLowerTokens(attempt: Attempt): Promise<Dropped>;
  /** Removes one attempt. */
  dropAttempt(attempt: Attempt): Promise<Dropped>;
  /** Removes what an attempt wrote for other steps. */
  dropBeside(attempt: Attempt): Promise<Dropped>;
  /** Removes what an attempt has in memory; what it has on disk stays. */
  dropFromMemory(attempt: Attempt): Promise<Dropped>;
  /** Bytes on disk now: of an attempt, or of all of a run. */
  bytesOf(of: Attempt | { run: string }): Promise<number>;
  listEntries(): Promise<LedgerEntry[]>;
  /** Bytes that are free above the floor; negative when the disk is below it. */
  freeBytes(): Promise<number>;
}

export interface ScratchOptions {
  /** Absolute path of the scratch root; made when it is not there. */
  root: string;
  /** Free space that no reservation may touch, in bytes. @defaultValue 1 GiB */
  floorBytes?: number;
  /** Absolute path of a directory on tmpfs, there as long as rows are kept in it. @defaultValue nothing is kept in memory */
  memoryRoot?: string;
}

/** Opens the ledger of this host's scratch root, with rows in memory on its tmpfs where it has one. */
export async function openHostScratch(root: string): Promise<ScratchLedger> {
  const memoryRoot = await memoryRootOf(root);
  return openScratch({ root, ...(memoryRoot !== undefined && { memoryRoot }) });
}

/** Opens the ledger of a scratch root. */
export async function openScratch({ root, floorBytes = GiB, memoryRoot }: ScratchOptions): Promise<ScratchLedger> {
  for (const folder of [RUNS, LEDGER]) await mkdir(join(root, folder), { recursive: true });
  const real = await realpath(root);
  const paths = scratchPaths(real);
  const memory = memoryRoot && join(await realpath(dirname(memoryRoot)), basename(memoryRoot));
  const inMemory = memory === undefined ? undefined : scratchPaths(memory);
  const roots = memory === undefined ? [real] : [real, memory];
  const free = async (): Promise<number> => {
    const disk = await statfs(real);
    return disk.bavail * disk.bsize - floorBytes;
  };
  const dropDirectory = async (root: string, target: Attempt, dropped: Dropped): Promise<void> => {
    const directory = scratchPaths(root).directory(target);
    const bytes = await bytesUnder(directory);
    if (!(await removeWithin(root, directory))) return;
    dropped.bytes += bytes;
    dropped.directories.push(directory);
  };
  /** The memory root is there only while rows are. */
  const tidyMemory = async (): Promise<void> => {
    if (memory !== undefined) for (const path of [join(memory, RUNS), memory]) await rmdir(path).catch(ignoreStillUsed);
  };
  const drop = async (targets: Attempt[]): Promise<Dropped> => {
    const dropped: Dropped = { bytes: 0, directories: [] };
    for (const target of targets) {
      const outside = (await readEntry(paths.entry(target)))?.outside;
      if (outside !== undefined) await removeUnfinished(outside, target);
      for (const root of roots) await dropDirectory(root, target, dropped);
      // Last, so that a crash in between leaves the entry and the next drop ends the work.
      await rm(paths.entry(target), { force: true });
      for (const root of roots) await rmdir(dirname(scratchPaths(root).directory(target))).catch(ignoreStillUsed);
      await tidyMemory();
    }
    return dropped;
  };
  /** Attempts of a run that have an entry or a directory, under their safe names. */
  const attemptsOf = async (run: string): Promise<Attempt[]> => {
    const prefix = `${safeName(run)}.`;
    const entries = (await readdir(join(real, LEDGER))).filter(
      (name) => name.startsWith(prefix) && name.endsWith('.json'),
    );
    const names = new Set(entries.map((name) => name.slice(prefix.length, -'.json'.length)));
    for (const root of roots)
      for (const name of await readdir(join(root, RUNS, safeName(run))).catch(() => [])) names.add(name);
    return [...names].flatMap((name) => {
      const parsed = parseAttemptName(name);
      return parsed ? [{ run, ...parsed }] : [];
    });
  };
  const listEntries = async (): Promise<LedgerEntry[]> => {
    const names = (await readdir(join(real, LEDGER))).filter((name) => name.endsWith('.json'));
    const entries = await Promise.all(names.map((name) => readEntry(join(real, LEDGER, name))));
    return entries.filter((entry) => entry !== undefined);
  };

  return {
    root: real,
    roots,
    memoryDirectory: (attempt) => {
      if (!inMemory) throw new TypeError('nothing can be kept in memory on this host');
      return inMemory.directory(attempt);
    },
    memoryFreeBytes: async () => {
      if (memory === undefined || (await isForeign(memory))) return 0;
      const tmpfs = await statfs(dirname(memory));
      return tmpfs.bavail * tmpfs.bsize;
    },
    relativeDirectory: (attempt) => paths.relative(attempt),
    freeBytes: free,
    reserveAttempt: async (
      attempt,
      { scratchBytes = 0, makeDirectory = true, inMemory: keeps = false, within, outside } = {},
    ) => {
      const have = await free();
      if (have < scratchBytes) throw scratchFull(real, have, scratchBytes, floorBytes);
      const known = await readEntry(paths.entry(attempt));
      const entry: LedgerEntry = known ?? {
        ...{ version: 1, run: attempt.run, step: attempt.step, token: attempt.token },
        ...{
          directory: paths.directory(attempt),
          reservedAtMs: Date.now(),
          scratchBytes,
          ...(within !== undefined && { within }),
          ...(outside !== undefined && { outside }),
        },
      };
      if (!known) await writeEntry(paths.entry(attempt), entry);
      if (makeDirectory) await makeWithin(real, paths.directory(attempt));
      if (keeps && memory !== undefined) {
        await mkdir(memory, { mode: 0o700 }).catch(ignoreThere);
        await makeWithin(memory, inMemory!.directory(attempt));
      }
      return entry;
    },
    sealAttempt: async (attempt) => {
      const entry = await readEntry(paths.entry(attempt));
      if (!entry) {
        throw new SpillwayError(
          'HandoffLost',
          `Run the step again: ${paths.relative(attempt)} was dropped while it was written.`,
        );
      }
      const sealed = { ...entry, sealedBytes: await bytesUnder(paths.directory(attempt)), sealedAtMs: Date.now() };
      await writeEntry(paths.entry(attempt), sealed);
      return sealed;
    },
    dropRun: async (run) => {
      const dropped = await drop(await attemptsOf(run));
      // What is left has no name of ours; it still belongs to the run.
      for (const root of roots) {
        const rest = join(root, RUNS, safeName(run));
        const bytes = await bytesUnder(rest);
        if (await removeWithin(root, rest)) dropped.bytes += bytes;
      }
      return dropped;
    },
    dropSteps: async (run, steps) => {
      const wanted = new Set(steps.map(safeName));
      return drop((await attemptsOf(run)).filter(({ step }) => wanted.has(step)));
    },
    dropLowerTokens: async (attempt) => {
      const step = safeName(attempt.step);
      return drop(
        (await attemptsOf(attempt.run)).filter((other) => other.step === step && other.token < attempt.token),
      );
    },
    dropAttempt: (attempt) => drop([attempt]),
    dropBeside: async ({ run, step, token }) =>
      drop(
        (await listEntries()).filter((entry) => entry.run === run && entry.within === step && entry.token === token),
      ),
    dropFromMemory: async (attempt) => {
      const dropped: Dropped = { bytes: 0, directories: [] };
      if (memory === undefined) return dropped;
      await dropDirectory(memory, attempt, dropped);
      await rmdir(dirname(inMemory!.directory(attempt))).catch(ignoreStillUsed);
      await tidyMemory();
      return dropped;
    },
    bytesOf: (of) => bytesUnder('step' in of ? paths.directory(of) : join(real, RUNS, safeName(of.run))),
    listEntries,
  };
}

/** Where things of an attempt lie. Names are made safe here and nowhere else, so nothing can climb out of the root. */
function scratchPaths(root: string): Record<'directory' | 'entry' | 'relative', (attempt: Attempt) => string> {
  const relative = (attempt: Attempt): string => `${RUNS}/${safeName(attempt.run)}/${attemptName(attempt)}`;
  return {
    relative,
    directory: (attempt) => join(root, relative(attempt)),
    entry: (attempt) => join(root, LEDGER, `${safeName(attempt.run)}.${attemptName(attempt)}.json`),
  };
}

function scratchFull(root: string, have: number, wanted: number, floorBytes: number): SpillwayError {
  return new SpillwayError(
    'ScratchFull',
    `Free disk space under ${root} or lend the step less scratch: ${formatBytes(wanted)} asked, ${formatBytes(have)} free above the floor of ${formatBytes(floorBytes)}.`,
    { details: { freeBytes: have, scratchBytes: wanted, floorBytes } },
  );
}

/** On tmpfs, where everybody may write, somebody may have been there first: with a directory, or a link to one. */
async function isForeign(path: string): Promise<boolean> {
  const found = await lstat(path).catch(() => undefined);
  return found !== undefined && (!found.isDirectory() || found.uid !== process.getuid?.());
}

function ignoreThere(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EEXIST') throw error;
}

function ignoreStillUsed(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST' && error.code !== 'ENOENT') throw error;
}

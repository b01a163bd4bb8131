import { open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { syncToDisk } from './sync-to-disk.ts';
import type { Attempt } from './attempt.ts';
import { ignoreMissing } from './ignore-missing.ts';

/** What the ledger knows of an attempt. `run` and `step` are the true names, the paths hold safe ones. */
export interface LedgerEntry extends Attempt {
  version: 1;
  /** Absolute path of the attempt's directory. */
  directory: string;
  reservedAtMs: number;
  /** Scratch bytes that were lent to the attempt. */
  scratchBytes: number;
  /** What the finished attempt left on disk; absent while it works. */
  sealedBytes?: number;
  sealedAtMs?: number;
  /** Step whose attempt, of the same token, writes it beside its own rows. */
  within?: string;
  /** Folder outside of scratch in which the attempt makes another one. */
  outside?: string;
}

/** Reads an entry; undefined when it is not there, or not whole. */
export async function readEntry(path: string): Promise<LedgerEntry | undefined> {
  const text = await readFile(path, 'utf8').catch(ignoreMissing);
  if (text === undefined) return undefined;
  try {
    const entry = JSON.parse(text) as LedgerEntry;
    return entry.version === 1 && typeof entry.run === 'string' ? entry : undefined;
  } catch {
    // Not one of ours: entries are renamed into place whole. The janitor removes it with its directory.
    return undefined;
  }
}

let written = 0;

/** The process that began to write an entry, by the name of what it writes first; undefined of other names. */
export function writerOf(name: string): number | undefined {
  const pid = /\.json\.(\d+)-\d+\.tmp$/.exec(name)?.[1];
  return pid === undefined ? undefined : Number(pid);
}

/** Writes an entry whole: on disk, and findable there after a power cut, when this returns. */
export async function writeEntry(path: string, entry: LedgerEntry): Promise<void> {
  written += 1;
  const aside = `${path}.${process.pid}-${written}.tmp`;
  const file = await open(aside, 'w');
  try {
    await file.writeFile(JSON.stringify(entry));
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(aside, path);
  await syncToDisk(dirname(path));
}

import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { attemptName, safeName } from './attempt.ts';
import { readProcessId } from '../host/process-id.ts';
import { bytesUnder } from './bytes-under.ts';
import { writerOf } from './ledger-entry.ts';
import type { ScratchLedger } from './scratch-ledger.ts';
import { removeWithin } from './within-root.ts';

export interface SweepOptions {
  /** `originalExecutionRunId` of every run that is open. */
  liveRuns: readonly string[];
  /** When `liveRuns` was listed, in epoch ms: what was reserved later belongs to runs that the list cannot know. */
  listedAtMs: number;
  /** Directories without an entry, and broken entries, younger than this are spared, in ms. @defaultValue 3600000 */
  orphanAgeMs?: number;
  /** Only says what would go. @defaultValue false */
  dryRun?: boolean;
}

/** Something the janitor removed, or would remove. */
export interface Swept {
  path: string;
  bytes: number;
  because: string;
}

/** What a sweep did. Failures do not stop it. */
export interface SweepReport {
  removed: Swept[];
  failed: { path: string; error: string }[];
}

/** A report, and what removes things and notes in it how that went. A failure does not stop a sweep. */
export function openSweep(dryRun: boolean): {
  report: SweepReport;
  act: (swept: Swept, remove: () => Promise<unknown>) => Promise<void>;
} {
  const report: SweepReport = { removed: [], failed: [] };
  return {
    report,
    async act(swept, remove) {
      try {
        if (!dryRun) await remove();
        report.removed.push(swept);
      } catch (error) {
        report.failed.push({ path: swept.path, error: error instanceof Error ? error.message : String(error) });
      }
    },
  };
}

/** An entry that a process was killed while writing goes after this; one of a process that we cannot see, in a container of its own, is whole long before. */
const BROKEN_AGE_MS = 10_000;

/** Removes from the scratch root what belongs to no live run. Two sweeps at once do no harm. */
export async function sweepScratch(scratch: ScratchLedger, options: SweepOptions): Promise<SweepReport> {
  const { liveRuns, listedAtMs, orphanAgeMs = 3_600_000, dryRun = false } = options;
  const live = new Set(liveRuns.map(safeName));
  const { report, act } = openSweep(dryRun);
  const tooYoung = async (path: string, ageMs = orphanAgeMs): Promise<boolean> => {
    const found = await stat(path).catch(() => undefined);
    // Files are stamped more finely than our clock tells: what is of this very millisecond is not of the next.
    return !found || Math.floor(Math.max(found.mtimeMs, found.ctimeMs)) > Date.now() - ageMs;
  };

  const known = new Set<string>();
  const entryNames = new Set<string>();
  for (const entry of await scratch.listEntries()) {
    // Names are worked out again: a path written in a file is not to be trusted with a removal.
    const paths = scratch.roots.map((root) => join(root, scratch.relativeDirectory(entry)));
    for (const path of paths) known.add(path);
    const [path] = paths as [string];
    entryNames.add(`${safeName(entry.run)}.${attemptName(entry)}.json`);
    if (live.has(safeName(entry.run)) || entry.reservedAtMs >= listedAtMs) continue;
    const bytes = (await Promise.all(paths.map(bytesUnder))).reduce((sum, more) => sum + more, 0);
    await act({ path, bytes, because: `run ${entry.run} is not open` }, () => scratch.dropAttempt(entry));
  }
  for (const root of scratch.roots) {
    for (const run of await readdir(join(root, 'runs')).catch(() => [])) {
      // A live run removes its own directories when it ends.
      if (live.has(run)) continue;
      const folder = join(root, 'runs', run);
      for (const name of await readdir(folder).catch(() => [])) {
        const path = join(folder, name);
        if (known.has(path) || (await tooYoung(path))) continue;
        const bytes = await bytesUnder(path);
        await act({ path, bytes, because: 'no entry in the ledger' }, () => removeWithin(root, path));
      }
      if (!(await tooYoung(folder)) && (await readdir(folder).catch(() => ['?'])).length === 0) {
        await act({ path: folder, bytes: 0, because: 'empty' }, () => removeWithin(root, folder));
      }
    }
  }
  for (const name of await readdir(join(scratch.root, 'ledger'))) {
    const path = join(scratch.root, 'ledger', name);
    const writer = writerOf(name);
    const isBroken = writer !== undefined && readProcessId(writer) === undefined;
    if (entryNames.has(name) || (await tooYoung(path, isBroken ? Math.min(BROKEN_AGE_MS, orphanAgeMs) : orphanAgeMs))) continue; // prettier-ignore
    await act({ path, bytes: 0, because: 'not an entry of the ledger' }, () => removeWithin(scratch.root, path));
  }
  return report;
}

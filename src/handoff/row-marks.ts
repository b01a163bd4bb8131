import { mkdir, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ProcessId } from '../contracts/pool.ts';
import { isAlive, ownProcessId } from '../host/process-id.ts';
import { attemptName, type Attempt } from './attempt.ts';
import type { ScratchLedger } from './scratch-ledger.ts';

/**
 * Marks that processes of a host set beside rows in memory, so that nobody takes them away from under a reader: empty files named after who set them,
 * in the attempt's directory on scratch. Whoever sets one looks for the others' only then, so of two that come at once at least one sees the other.
 * Marks of processes that are gone count for nothing.
 */
export type Mark = { kind: 'reading'; reader: string; process: ProcessId } | { kind: 'demoting'; process: ProcessId };

const nameOf = (mark: Mark): string =>
  [mark.kind, ...(mark.kind === 'reading' ? [mark.reader] : []), mark.process.pid, mark.process.startedAt].join('.');

function markOf(name: string): Mark | undefined {
  const fields = name.split('.');
  const [pid, startedAt] = fields.slice(-2).map(Number) as [number, number];
  const process = { pid, startedAt };
  if (fields.length === 4 && fields[0] === 'reading') return { kind: 'reading', reader: fields[1]!, process };
  return fields.length === 3 && fields[0] === 'demoting' ? { kind: 'demoting', process } : undefined;
}

const folderOf = (scratch: ScratchLedger, rows: Attempt): string =>
  join(scratch.root, scratch.relativeDirectory(rows), 'marks');

/** Says that `reader` reads these rows from now on. False when they were dropped. */
export const markReading = (scratch: ScratchLedger, rows: Attempt, reader: Attempt): Promise<boolean> =>
  set(folderOf(scratch, rows), { kind: 'reading', reader: attemptName(reader), process: ownProcessId() });

/** Says that these rows are about to go from memory. False when they were dropped. */
export const markDemoting = (scratch: ScratchLedger, rows: Attempt): Promise<boolean> =>
  set(folderOf(scratch, rows), { kind: 'demoting', process: ownProcessId() });

async function set(folder: string, mark: Mark): Promise<boolean> {
  try {
    // Not its parents: the rows may have been dropped, and must not come back as an empty directory.
    await mkdir(folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
    await (await open(join(folder, nameOf(mark)), 'w')).close();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/** Takes back what {@link markReading} set. */
export const unmarkReading = (scratch: ScratchLedger, rows: Attempt, reader: Attempt): Promise<void> =>
  unset(folderOf(scratch, rows), { kind: 'reading', reader: attemptName(reader), process: ownProcessId() });

/** Takes back what {@link markDemoting} set. */
export const unmarkDemoting = (scratch: ScratchLedger, rows: Attempt): Promise<void> =>
  unset(folderOf(scratch, rows), { kind: 'demoting', process: ownProcessId() });

const unset = (folder: string, mark: Mark): Promise<void> => rm(join(folder, nameOf(mark)), { force: true });

/** Whether a process that is alive has set such a mark. */
export async function isMarked(scratch: ScratchLedger, rows: Attempt, kind: Mark['kind']): Promise<boolean> {
  const names = await readdir(folderOf(scratch, rows)).catch(() => []);
  return names.some((name) => {
    const mark = markOf(name);
    return mark?.kind === kind && isAlive(mark.process);
  });
}

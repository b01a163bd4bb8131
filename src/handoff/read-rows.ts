import { stat } from 'node:fs/promises';
import { basename, dirname, join, relative, sep } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { HandoffPart, HandoffRef } from '../contracts/handoff.ts';
import { parseAttemptName, type Attempt } from './attempt.ts';
import { isMarked, markReading, unmarkReading } from './row-marks.ts';
import type { ScratchLedger } from './scratch-ledger.ts';

/** A reader that finds its rows on their way to disk looks again this often. */
const LOOK_AGAIN_MS = 100;

/** Where rows lie that were taken out of memory, in the directory of the attempt that wrote them. */
export const DEMOTED = 'demoted';

/** Rows that stay where they are until they are released. */
export interface RowsInUse {
  inputs: Record<string, HandoffRef>;
  release: () => Promise<void>;
}

/**
 * Keeps rows in memory there while an attempt reads them; answers where they are now: such as were taken out of memory before are read from disk. Waits
 * for those that are on their way. What is nowhere is left as it is, for the reader to miss.
 */
export async function useRows(
  scratch: ScratchLedger,
  inputs: Record<string, HandoffRef>,
  reader: Attempt,
  signal: AbortSignal,
): Promise<RowsInUse> {
  const marked: Attempt[] = [];
  const release = async (): Promise<void> => {
    for (const rows of marked) await unmarkReading(scratch, rows, reader);
  };
  try {
    for (const rows of writersInMemory(scratch, inputs))
      if (await keepThere(scratch, rows, reader, signal)) marked.push(rows);
    const now: Record<string, HandoffRef> = {};
    for (const [table, ref] of Object.entries(inputs))
      now[table] = { ...ref, parts: await Promise.all(ref.parts.map((part) => whereItIs(scratch, part))) };
    return { inputs: now, release };
  } catch (error) {
    await release();
    throw error;
  }
}

async function keepThere(
  scratch: ScratchLedger,
  rows: Attempt,
  reader: Attempt,
  signal: AbortSignal,
): Promise<boolean> {
  for (;;) {
    if (!(await markReading(scratch, rows, reader))) return false;
    if (!(await isMarked(scratch, rows, 'demoting'))) return true;
    await unmarkReading(scratch, rows, reader);
    await sleep(LOOK_AGAIN_MS, undefined, { signal });
  }
}

/** Attempts that wrote what these handoffs keep in memory. */
function writersInMemory(scratch: ScratchLedger, inputs: Record<string, HandoffRef>): Attempt[] {
  const writers = new Map<string, Attempt>();
  for (const { parts } of Object.values(inputs))
    for (const part of parts) {
      const below = belowMemory(scratch, part);
      const [, run, attempt] = below?.split(sep) ?? [];
      const parsed = attempt === undefined ? undefined : parseAttemptName(attempt);
      if (run !== undefined && parsed) writers.set(dirname(below!), { run, ...parsed });
    }
  return [...writers.values()];
}

/** `runs/<run>/<step>-<token>/<file>` of a part in memory; undefined for any other. */
function belowMemory({ roots: [, memory] }: ScratchLedger, part: HandoffPart): string | undefined {
  if (!part.inMemory || memory === undefined) return undefined;
  const below = relative(memory, fileURLToPath(part.uri));
  return below.startsWith('..') ? undefined : below;
}

async function whereItIs(scratch: ScratchLedger, part: HandoffPart): Promise<HandoffPart> {
  const below = belowMemory(scratch, part);
  if (below === undefined || (await isThere(fileURLToPath(part.uri)))) return part;
  const path = join(scratch.root, dirname(below), DEMOTED, basename(below));
  if (!(await isThere(path))) return part;
  const { kind, rows, bytes } = part;
  return { kind, uri: pathToFileURL(path).href, rows, bytes };
}

const isThere = (path: string): Promise<boolean> => stat(path).then(() => true, () => false); // prettier-ignore

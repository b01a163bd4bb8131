import type { HandoffPart } from '../contracts/handoff.ts';

/** The kernel holds files on tmpfs in whole pages. */
const PAGE_BYTES = 4096;

/** What the files of a dataset hold until they are gone: memory in whole pages, and disk. */
export function keptRows(parts: readonly HandoffPart[]): { bytes: number; scratchBytes: number } {
  let bytes = 0;
  let scratchBytes = 0;
  for (const part of parts) {
    if (part.inMemory) bytes += Math.ceil(part.bytes / PAGE_BYTES) * PAGE_BYTES;
    else scratchBytes += part.bytes;
  }
  return { bytes, scratchBytes };
}

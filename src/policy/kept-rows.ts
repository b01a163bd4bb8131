import { type HandoffChoice, HandoffMode, type HandoffPart } from '../contracts/handoff.ts';
import { formatBytes } from './sizes.ts';

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

/** How rows that were to stay in memory are handed over after all: what found no place there is on disk. */
export function handedOver(
  choice: HandoffChoice,
  onDisk: number,
  memory: { asked: number; had: number },
): HandoffChoice {
  if (choice.mode !== HandoffMode.SHM || onDisk === 0) return choice;
  const why = memory.had < memory.asked ? `only ${formatBytes(memory.had)} were free on the host's tmpfs` : 'more came than was expected'; // prettier-ignore
  return {
    mode: HandoffMode.ARROW,
    because: `${choice.because}; ${why}, and ${formatBytes(onDisk)} of it are on disk`,
  };
}

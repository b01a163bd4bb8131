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

/**
 * How rows are handed over after all: those that found no place in memory are on disk, and those past what Arrow may take are Parquet.
 * @param unfit columns because of which they stayed Arrow
 */
export function handedOver(
  { parquetPastBytes, ...choice }: HandoffChoice,
  parts: readonly HandoffPart[],
  memory: { asked: number; had: number },
  unfit: readonly string[] = [],
): HandoffChoice {
  const bytesOf = (kind: HandoffPart['kind']): number =>
    parts.reduce((sum, part) => sum + (part.kind === kind ? part.bytes : 0), 0);
  if (choice.mode !== HandoffMode.PARQUET && parts.some(({ kind }) => kind === 'parquet')) {
    const [arrow, parquet, limit] = [bytesOf('arrow'), bytesOf('parquet'), parquetPastBytes ?? 0].map(formatBytes);
    const inMemory = parts.reduce((sum, part) => sum + (part.inMemory ? part.bytes : 0), 0);
    const ofIt = inMemory > 0 ? `, ${formatBytes(inMemory)} of that in memory` : '';
    const because = `${choice.because}; more came than the ${limit} that Arrow may take: ${arrow} of it are Arrow${ofIt}, ${parquet} Parquet`;
    return { mode: HandoffMode.PARQUET, because };
  }
  if (choice.mode === HandoffMode.PARQUET && unfit.length > 0)
    return { mode: HandoffMode.ARROW, because: `${choice.because}; Parquet has no place for ${unfit.join(', ')}` };
  const onDisk = keptRows(parts).scratchBytes;
  if (choice.mode !== HandoffMode.SHM || onDisk === 0) return choice;
  const why = memory.had < memory.asked ? `only ${formatBytes(memory.had)} were free on the host's tmpfs` : 'more came than was expected'; // prettier-ignore
  return {
    mode: HandoffMode.ARROW,
    because: `${choice.because}; ${why}, and ${formatBytes(onDisk)} of it are on disk`,
  };
}

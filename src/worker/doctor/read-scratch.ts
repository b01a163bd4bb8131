import { lstat, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { diskFreeBytes, isTmpfs } from '../../host/machine.ts';
import type { ScratchReading } from '../../policy/doctor/scratch.ts';
import { MiB } from '../../policy/sizes.ts';

const CHUNK = Buffer.alloc(4 * MiB, 0xa5);
const CHUNKS = 16;

/** Looks at the scratch root; writes 64 MiB to it, which no name leads to, and syncs them. */
export async function readScratch(path: string): Promise<ScratchReading> {
  const stats = await lstat(path).catch(() => undefined);
  if (!stats) return { there: false, path };
  return {
    there: true,
    path,
    freeBytes: await diskFreeBytes(path),
    isTmpfs: await isTmpfs(path),
    isLink: stats.isSymbolicLink(),
    own:
      (stats.uid === process.getuid?.() || process.getuid?.() === 0) &&
      (stats.isSymbolicLink() || (stats.mode & 0o022) === 0),
    writeBytesPerSecond: await writeSpeed(path),
  };
}

async function writeSpeed(folder: string): Promise<number> {
  const path = join(folder, `.doctor-${process.pid}`);
  const file = await open(path, 'w', 0o600);
  await rm(path, { force: true }); // without a name it is gone with this process, however that ends
  try {
    const startedAtMs = performance.now();
    for (let chunk = 0; chunk < CHUNKS; chunk++) await file.write(CHUNK);
    await file.datasync();
    return (CHUNKS * CHUNK.length) / ((performance.now() - startedAtMs) / 1000);
  } finally {
    await file.close();
  }
}

import { createHash } from 'node:crypto';
import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { isTmpfs } from './machine.ts';

/** Where Linux systems mount it, by the Filesystem Hierarchy Standard. */
const MOUNT = '/dev/shm';

/** Directory on tmpfs for rows that are kept in memory, one for each scratch root and user; undefined where there is no tmpfs. */
export async function memoryRootOf(scratch: string): Promise<string | undefined> {
  if (!(await isTmpfs(MOUNT).catch(() => false))) return undefined;
  const own = createHash('sha256').update(scratch).digest('hex').slice(0, 12);
  return join(MOUNT, `spillway-${process.getuid?.() ?? 0}-${own}`);
}

/** Room on the host's tmpfs, in bytes; 0 where there is none. */
export const tmpfsFreeBytes = (): Promise<number> => blocks('bavail');

/** Size of the host's tmpfs, in bytes; 0 where there is none. */
export const tmpfsSizeBytes = (): Promise<number> => blocks('blocks');

async function blocks(of: 'bavail' | 'blocks'): Promise<number> {
  if (!(await isTmpfs(MOUNT).catch(() => false))) return 0;
  const found = await statfs(MOUNT);
  return found[of] * found.bsize;
}

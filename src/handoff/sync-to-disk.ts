import { open } from 'node:fs/promises';

/** Has a file, or the names in a folder, on disk when it resolves. */
export async function syncToDisk(path: string): Promise<void> {
  const file = await open(path, 'r');
  await file.sync().finally(() => file.close());
}

import { chmodSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { randomUUID } from 'node:crypto';

/** Writes a file so that a reader sees the old text or the new, never a part; for its owner alone unless `mode` says else. */
export function writeFileAtomically(path: string, text: string, mode = 0o600): void {
  mkdirSync(dirname(path), { recursive: true });
  const aside = `${path}.${randomUUID().slice(0, 8)}.tmp`;
  writeFileSync(aside, text, { mode });
  chmodSync(aside, mode); // a umask may have taken bits away
  renameSync(aside, path);
}

/** A JSON file that we wrote; undefined when it is absent or was cut short by another program. */
export function readJson(path: string): unknown {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

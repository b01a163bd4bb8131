import { expect } from '@jest/globals';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of the package. */
export const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');

/** Holds rendered files to the ones in the repository; `UPDATE_GOLDEN=1` writes them instead, to be read in the diff. */
export function expectGolden(files: Record<string, string>, folder: string): void {
  for (const [name, text] of Object.entries(files)) {
    const path = join(root, folder, name);
    if (process.env['UPDATE_GOLDEN'] === '1') {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, text);
    }
    expect({ name, text }).toEqual({ name, text: readFileSync(path, 'utf8') });
  }
}

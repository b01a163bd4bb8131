import { partsPath } from '../config/parts-file.ts';
import type { SomeParts } from '../config/parts-file.ts';
import { writeFileAtomically } from './atomic-file.ts';

/** Writes the parts file of a home in one act; readers see the old one or the new one. */
export function writeParts(home: string, parts: SomeParts): void {
  writeFileAtomically(partsPath(home), `${JSON.stringify(parts, undefined, 2)}\n`);
}

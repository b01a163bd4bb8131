import type { PartName, Parts } from '../contracts/parts.ts';
import { PART_NAMES } from '../contracts/parts.ts';
import { readJson, writeFileAtomically } from './atomic-file.ts';
import type { Places } from './places.ts';
import { partsFile } from './places.ts';

/** Parts as far as they are there; the scratch root always is. */
export type SomeParts = Partial<Pick<Parts, PartName>> & Pick<Parts, 'scratch'>;

/** What the last `spillway up` of this home wrote; undefined when there was none. */
export function readParts(places: Pick<Places, 'run'>): SomeParts | undefined {
  const value = readJson(partsFile(places));
  return typeof value === 'object' && value !== null && 'scratch' in value ? (value as SomeParts) : undefined;
}

/** Writes the parts file in one act; readers see the old one or the new one. */
export function writeParts(places: Pick<Places, 'run'>, parts: SomeParts): void {
  writeFileAtomically(partsFile(places), `${JSON.stringify(parts, undefined, 2)}\n`);
}

/** Whether every part is there. */
export function isComplete(parts: SomeParts): parts is Parts {
  return PART_NAMES.every((name) => parts[name] !== undefined);
}

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PartName, Parts } from '../contracts/parts.ts';

/** Parts as far as they are there; the scratch root always is. */
export type SomeParts = Partial<Pick<Parts, PartName>> & Pick<Parts, 'scratch'>;

/** `run/parts.json` of a home. */
export const partsPath = (home: string): string => join(home, 'run', 'parts.json');

/** What the last `spillway up` of this home wrote; undefined when there was none. */
export function readParts(home: string): SomeParts | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(partsPath(home), 'utf8'));
    return typeof value === 'object' && value !== null && 'scratch' in value ? (value as SomeParts) : undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

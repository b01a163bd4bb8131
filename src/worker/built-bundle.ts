import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { SpillwayError } from '../contracts/errors.ts';

/** Releases that a bundle holds code of. The worker that runs it must be of the same. */
export interface BuiltWith {
  spillway: string;
  temporal: string;
}

const MARK = '// spillway bundle ';

/** Writes a bundle, whole or not at all; its first line says what it is. */
export function writeBuilt(path: string, code: string, builtWith: BuiltWith): void {
  mkdirSync(dirname(path), { recursive: true });
  const aside = `${path}.${process.pid}`;
  writeFileSync(aside, `${MARK}${JSON.stringify({ ...builtWith, sha256: sha256(code) })}\n${code}`);
  renameSync(aside, path);
}

/** Reads a bundle. @throws SpillwayError `InvalidInput` when it is none, was cut or changed, or is of another release */
export function readBuilt(path: string, wanted: BuiltWith): { code: string } {
  const refuse = (why: string): never => {
    throw new SpillwayError('InvalidInput', `bundle ${path} ${why}. Write it again with \`spillway bundle --out\`.`);
  };
  const text = readFileSync(path, 'utf8');
  const end = text.indexOf('\n');
  if (!text.startsWith(MARK) || end < 0) return refuse('was not written by `spillway bundle`');
  const { sha256: sum, ...found } = JSON.parse(text.slice(MARK.length, end)) as BuiltWith & { sha256: string };
  const code = text.slice(end + 1);
  if (sha256(code) !== sum) return refuse('was cut or changed since it was written');
  for (const part of ['spillway', 'temporal'] as const) {
    if (found[part] !== wanted[part])
      return refuse(`was built with ${part} ${found[part]}, this worker has ${wanted[part]}`);
  }
  return { code };
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

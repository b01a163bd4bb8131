import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { SpillwayError } from '../contracts/errors.ts';
import type { HandoffChoice, HandoffColumn, HandoffPart, HandoffRef } from '../contracts/handoff.ts';
import type { Parameter } from '../contracts/pipeline.ts';

/** What decides the rows of a dataset. */
export interface FingerprintOf {
  sql: string;
  params?: readonly Parameter[];
  /** Name in the statement → fingerprint of the dataset it reads. */
  inputs?: Readonly<Record<string, string>>;
}

/** SHA-256, in hex, of query, parameters and inputs; the order of `inputs` does not matter. */
export function fingerprintOf({ sql, params = [], inputs = {} }: FingerprintOf): string {
  const ordered = Object.entries(inputs).sort(([a], [b]) => (a < b ? -1 : 1));
  return createHash('sha256')
    .update(JSON.stringify([sql, params, ordered]))
    .digest('hex');
}

/** Builds the address of a dataset from its files; rows and bytes are the sums of its parts. */
export function handoffRef(of: {
  choice: HandoffChoice;
  parts: HandoffPart[];
  schema: HandoffColumn[];
  host: string;
  fingerprint: string;
  dataId?: string;
}): HandoffRef {
  return {
    ...of.choice,
    parts: of.parts,
    schema: of.schema,
    rows: of.parts.reduce((sum, part) => sum + part.rows, 0),
    bytes: of.parts.reduce((sum, part) => sum + part.bytes, 0),
    host: of.host,
    fingerprint: of.fingerprint,
    ...(of.dataId === undefined ? {} : { dataId: of.dataId }),
  };
}

/** What is wrong with the files of a handoff, naming the first that is not there with the bytes it had; undefined when nothing is. */
export async function whyLost(ref: HandoffRef): Promise<string | undefined> {
  for (const part of ref.parts) {
    const path = fileURLToPath(part.uri);
    const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
      throw error;
    });
    if (found?.size !== part.bytes)
      return `${path} ${found ? `has ${found.size} bytes instead of ${part.bytes}` : 'is gone'}`;
  }
  return undefined;
}

/** Looks whether all files of a step's inputs are there with the bytes they had. Raises HandoffLost, with the names of those that are not as `lost`. */
export async function checkHandoffs(inputs: Readonly<Record<string, HandoffRef>>): Promise<void> {
  const lost: Record<string, string> = {};
  for (const [name, ref] of Object.entries(inputs)) {
    const why = await whyLost(ref);
    if (why !== undefined) lost[name] = why;
  }
  if (Object.keys(lost).length === 0) return;
  throw new SpillwayError('HandoffLost', `Run the step that wrote it again: ${Object.values(lost).join(', ')}.`, {
    details: { lost: Object.keys(lost) },
  });
}

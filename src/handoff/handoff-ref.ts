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

/** Looks whether all files of a handoff are there with the bytes they had. Raises HandoffLost, naming the first that is not. */
export async function checkHandoff(ref: HandoffRef): Promise<void> {
  for (const part of ref.parts) {
    const path = fileURLToPath(part.uri);
    const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
      throw error;
    });
    if (found?.size === part.bytes) continue;
    throw new SpillwayError(
      'HandoffLost',
      `Run the step that wrote it again: ${path} ${found ? `has ${found.size} bytes instead of ${part.bytes}` : 'is gone'}.`,
      { details: { uri: part.uri, bytes: part.bytes, foundBytes: found?.size ?? null } },
    );
  }
}

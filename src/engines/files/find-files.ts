import { realpath, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import { glob } from 'tinyglobby';
import { SpillwayError } from '../../contracts/errors.ts';
import type { HandoffPart } from '../../contracts/handoff.ts';
import { MOST_FILES } from '../../contracts/pipeline.ts';
import { readArrowRows } from '../../handoff/arrow-footer.ts';
import { readParquetFooter } from '../../handoff/parquet-footer.ts';

/** Which files a step reads. */
export interface FilesWanted {
  /** The configured directory. */
  root: string;
  paths: readonly string[];
  format: HandoffPart['kind'];
}

/**
 * Files below a directory that patterns name, in the order of their paths, with the rows that their footers tell.
 *
 * @throws SpillwayError `InvalidInput` when there are none, or too many, when a link leads outside, or when one is not of the format
 */
export async function findFiles({ root, paths, format }: FilesWanted): Promise<HandoffPart[]> {
  const real = await realpath(root).catch((cause: unknown) => {
    throw new SpillwayError('InvalidInput', `Make the directory ${root}, or configure another: it is not there.`, { cause }); // prettier-ignore
  });
  // Of the user's files; what others are just writing has a leading dot.
  const found = (await glob([...paths], { cwd: real, onlyFiles: true, expandDirectories: false })).sort();
  if (found.length === 0)
    throw new SpillwayError('InvalidInput', `No file of ${root} is called ${paths.join(' or ')}.`);
  if (found.length > MOST_FILES)
    throw new SpillwayError('InvalidInput', `${found.length} files of ${root} are called ${paths.join(' or ')}, and a step reads at most ${MOST_FILES}. Name fewer, or merge them.`); // prettier-ignore
  const parts: HandoffPart[] = [];
  for (const name of found) {
    const path = await realpath(join(real, name));
    if (!path.startsWith(real + sep))
      throw new SpillwayError('InvalidInput', `${join(root, name)} leads to ${path}, outside of the directory. Remove the link, or configure that directory.`); // prettier-ignore
    const { size } = await stat(path);
    parts.push({ kind: format, uri: pathToFileURL(path).href, rows: await rowsOf(path, format), bytes: size });
  }
  return parts;
}

/** Rows that the footer of a file tells; 0 for CSV, which has none. Raises `InvalidInput`, with the name that its user knows, when it is not of the format. */
export async function rowsOf(path: string, format: HandoffPart['kind'], name = path): Promise<number> {
  try {
    if (format === 'csv') return 0;
    return format === 'parquet' ? (await readParquetFooter(path)).rows : await readArrowRows(path);
  } catch (error) {
    if (!(error instanceof SpillwayError)) throw error;
    throw new SpillwayError('InvalidInput', `${name} cannot be read as ${format}: ${error.message}`, { cause: error });
  }
}

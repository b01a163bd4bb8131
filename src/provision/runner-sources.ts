import { createHash } from 'node:crypto';
import { cpSync, existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot, provisionFile } from './package-root.ts';

/** Files that a Containerfile or a test needs, not the runner. */
const NOT_THE_RUNNER = /^(Containerfile.*|__pycache__|tests?|.*\.md)$/;

/** Folder of the DataFusion runner in the package. */
export const runnerFolder = (): string => join(packageRoot(), 'containers', 'datafusion');

/** Pinned wheels of the runner. */
export const runnerRequirements = (): string => provisionFile('python', 'datafusion.txt');

/** Copies what runs, and nothing else. */
export function copyRunner(to: string): void {
  const from = runnerFolder();
  cpSync(from, to, {
    recursive: true,
    filter: (path) => path === from || !NOT_THE_RUNNER.test(path.slice(from.length + 1).split('/')[0] ?? ''),
  });
}

/** Twelve hexadecimal digits that change with the runner, or with any of `more`. */
export const runnerHash = (...more: readonly string[]): string => hashOf([...more, ...readTree(runnerFolder())]);

/** Names and texts of the files that run, in order. */
function readTree(directory: string): string[] {
  if (!existsSync(directory)) return [];
  const entries: string[] = [];
  for (const name of readdirSync(directory).sort()) {
    if (NOT_THE_RUNNER.test(name)) continue;
    const path = join(directory, name);
    entries.push(name, ...(statSync(path).isDirectory() ? readTree(path) : [readFileSync(path, 'utf8')]));
  }
  return entries;
}

/** Twelve hexadecimal digits of texts. */
export function hashOf(texts: readonly string[]): string {
  const hash = createHash('sha256');
  for (const text of texts) hash.update(text).update('\0');
  return hash.digest('hex').slice(0, 12);
}

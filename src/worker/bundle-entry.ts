import { createHash } from 'node:crypto';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface BundleModules {
  /** Module of the user's workflows; absent when there are none. */
  workflows?: string;
  registered: string;
  interceptor: string;
}

/**
 * Writes the module that the workflow bundle starts from: the user's workflows, ours beside them, and as the default what answers
 * a type that nobody registered. The user's own module stays as it is.
 */
export function writeBundleEntry(directory: string, modules: BundleModules): string {
  const text = entryText(modules);
  mkdirSync(directory, { recursive: true });
  const path = join(directory, `workflows-${createHash('sha256').update(text).digest('hex').slice(0, 12)}.mjs`);
  const aside = `${path}.${process.pid}`;
  writeFileSync(aside, text);
  renameSync(aside, path); // two workers of one configuration may write it at once
  return path;
}

/** Text of the entry; see {@link writeBundleEntry}. */
export function entryText({ workflows, registered, interceptor }: BundleModules): string {
  const quote = (path: string): string => JSON.stringify(path);
  const own =
    workflows === undefined ? [] : [`import * as own from ${quote(workflows)};`, `export * from ${quote(workflows)};`];
  return [
    `import { unknownWorkflow } from ${quote(interceptor)};`,
    `import * as registered from ${quote(registered)};`,
    `export * from ${quote(registered)};`,
    ...own,
    `const names = (module) => Object.keys(module).filter((name) => name !== 'default' && typeof module[name] === 'function');`,
    `export default unknownWorkflow([...names(registered)${workflows === undefined ? '' : ', ...names(own)'}]);`,
    '',
  ].join('\n');
}

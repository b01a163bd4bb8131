import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './stack.ts';

/** One place of the built package that is changed; `from` stands there exactly once. */
export interface Patch {
  file: string;
  from: string;
  to: string;
}

/** The pool grants everything at once, whatever is lent. */
export const LEDGER_OFF: Patch = {
  file: 'dist/src/policy/pool/admission.js',
  from: 'function lacking(state, wanted, now, takesBytes) {',
  to: 'function lacking(state, wanted, now, takesBytes) {\n    if (state.limitBytes > 0 && !state.leases[wanted.leaseId]) return undefined;',
};

/** A worker polls for four heavy steps at once. */
export const FOUR_HEAVY_SLOTS: Patch = {
  file: 'dist/src/worker/serve-queues.js',
  from: 'maxConcurrentActivityTaskExecutions: 1 }',
  to: 'maxConcurrentActivityTaskExecutions: 4 }',
};

/** Copies the built package with faults that nobody can configure; answers its program. */
export function patchedPackage(folder: string, patches: readonly Patch[]): string {
  mkdirSync(folder, { recursive: true });
  for (const part of ['package.json', 'bin', 'dist', 'provision', 'containers', 'schemas', 'templates'])
    cpSync(join(root, part), join(folder, part), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  for (const { file, from, to } of patches) {
    const at = join(folder, file);
    const text = readFileSync(at, 'utf8');
    if (text.split(from).length !== 2) throw new Error(`${file} has not one '${from}': say anew what to patch`);
    writeFileSync(at, text.replace(from, to));
  }
  return join(folder, 'bin', 'spillway.js');
}

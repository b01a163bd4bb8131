import { execa } from 'execa';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { sharedHome } from './provision-home.ts';

/** The example's workflows, built ahead as `spillway bundle` does, once for all files: most workers of the tests start from it. */
export async function exampleBundle(root: string, workflows: string): Promise<string> {
  const made = createHash('sha256')
    .update(readFileSync(join(root, 'dist', '.spillway-stamp')))
    .update(readFileSync(workflows))
    .digest('hex');
  const folder = join(sharedHome, 'bundles');
  const out = join(folder, `${made.slice(0, 16)}.js`);
  if (existsSync(out)) return out;
  mkdirSync(folder, { recursive: true });
  const args = ['bundle', '--home', sharedHome, '--workflows', workflows, '--out', out];
  await execa(process.execPath, [join(root, 'bin', 'spillway.js'), ...args], { cwd: folder });
  return out;
}

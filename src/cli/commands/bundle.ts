import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { ResolvedConfig } from '../../config/resolved.ts';
import { formatBytes } from '../../policy/sizes.ts';
import { buildAhead } from '../../worker/bundles.ts';
import { Exit } from '../exit.ts';
import type { Output } from '../output.ts';

/** Builds the workflows of the configuration into a file that workers start from. */
export async function bundleCommand(config: ResolvedConfig, { out }: { out: string }, output: Output): Promise<Exit> {
  const path = resolve(out);
  await buildAhead(config, path);
  output.out(`${out} ${formatBytes(statSync(path).size)}`);
  return Exit.OK;
}

import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { WorkflowBundle } from '@temporalio/worker';
import type { ResolvedConfig } from '../../src/config/resolved.ts';
import { buildAhead, bundlePool, bundleWorkflows } from '../../src/worker/bundles.ts';
import { sharedHome } from '../integration/provision-home.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
/** All that the bundles of a stage may be made of. */
const MADE_OF = ['src', 'workflows', 'test/temporal', 'package-lock.json'];
/** Home of the bundles that test files share. */
const home = join(sharedHome, 'bundles');

/** The pool's bundle, made once for all test files: it takes seconds. */
export const poolBundle = (): Promise<WorkflowBundle> => bundlePool({ home });

/** The bundle of a stage's workflows, made once for all test files with the same. */
export async function stageBundle(config: ResolvedConfig): Promise<WorkflowBundle> {
  const bundle = join(home, `stage-${contentHash(config.workflows ?? '')}.js`);
  if (!existsSync(bundle)) await buildAhead(config, bundle);
  return bundleWorkflows({ ...config, bundle });
}

function contentHash(workflows: string): string {
  const hash = createHash('sha256').update(workflows);
  const add = (name: string): void => {
    const path = join(root, name);
    if (statSync(path).isDirectory()) for (const one of readdirSync(path).sort()) add(join(name, one));
    else hash.update(`\0${name}\0`).update(readFileSync(path));
  };
  for (const name of MADE_OF) add(name);
  return hash.digest('hex').slice(0, 16);
}

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SpillwayError } from '../contracts/errors.ts';
import { importModule } from '../config/import-module.ts';
import { nearestName } from '../policy/nearest-name.ts';

/** A workflow as its module exports it. */
export type WorkflowFunction = (...args: unknown[]) => Promise<unknown>;

/**
 * Loads one exported workflow of a module, outside of Temporal's isolate.
 * @throws SpillwayError `InvalidInput` when the module does not load or exports no function of that name
 */
export async function loadWorkflow(file: string, name: string): Promise<WorkflowFunction> {
  const own = join(dirname(fileURLToPath(import.meta.url)), '..');
  const sdk = join(own, 'sdk', existsSync(join(own, 'sdk', 'index.ts')) ? 'index.ts' : 'index.js');
  // The module gets this package's verbs, wherever it would find others: both speak to the same run.
  let module: Record<string, unknown>;
  try {
    module = await importModule(file, { alias: { 'spillway/workflow': sdk }, anew: true });
  } catch (error) {
    throw new SpillwayError('InvalidInput', `${file} does not load: ${(error as Error).message.split('\n')[0]}.`, {
      cause: error,
    });
  }
  const found = module[name];
  if (typeof found === 'function') return found as WorkflowFunction;
  const known = Object.keys(module).filter((key) => typeof module[key] === 'function');
  const near = nearestName(name, known);
  throw new SpillwayError(
    'InvalidInput',
    `${file} exports no workflow '${name}'. ${near === undefined ? `It exports: ${known.join(', ') || 'none'}.` : `Did you mean ${near}?`}`,
  );
}

import { homedir } from 'node:os';
import { join } from 'node:path';
import { readHostFacts } from '../../src/config/host-facts.ts';
import { resolveHardware } from '../../src/config/resolve-hardware.ts';
import type { ResolvedHardware } from '../../src/config/resolved.ts';
import type { Parts } from '../../src/contracts/parts.ts';
import { bringUp } from '../../src/provision/bring-up.ts';
import type { Report } from '../../src/provision/progress.ts';

/** Where downloads lie: the home that `npm start` uses as well, or the one of SPILLWAY_HOME. */
const home = process.env['SPILLWAY_HOME'] ?? join(homedir(), '.cache', 'spillway');
export const cacheDir = join(home, 'cache');

/** Home of the parts that all integration tests share; `takeDown({ home: sharedHome })` ends them. */
export const sharedHome = join(home, 'test');

/** What `auto` means on this host. */
export function hostHardware(): ResolvedHardware {
  return resolveHardware('auto', 1, readHostFacts(sharedHome)).hardware;
}

let shared: Promise<Parts> | undefined;

/**
 * All real parts in the home that integration tests share: the first caller starts them, later callers and later test files
 * find them running. Tests keep apart by names of their own (schemas, queues, directories).
 */
export function sharedParts(report: Report = () => undefined): Promise<Parts> {
  shared ??= bringUp({
    home: sharedHome,
    cacheDir,
    hardware: hostHardware(),
    systemPackages: true,
    env: process.env,
    report,
  });
  return shared;
}

import { once } from 'node:events';
import { createServer } from 'node:net';
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

/** Those that servers take where nobody else has them. */
const CUSTOMARY_PORTS = [7233, 8233, 8080, 5432];

/**
 * Does something while customary ports are taken. Servers that start meanwhile get others, and keep them: a test that stops one for a while finds its port
 * free again, though tests with servers of their own, which take a customary port as soon as they can, run beside it.
 */
export async function withoutCustomaryPorts<T>(act: () => Promise<T>): Promise<T> {
  const held = CUSTOMARY_PORTS.map((port) => createServer().listen({ port, host: '127.0.0.1', exclusive: true }));
  try {
    // A port that somebody has is taken as well.
    await Promise.all(held.map((server) => once(server, 'listening').catch(() => undefined)));
    return await act();
  } finally {
    for (const server of held) server.close();
  }
}

let shared: Promise<Parts> | undefined;

/**
 * All real parts in the home that integration tests share: the first caller starts them, later callers and later test files
 * find them running. Tests keep apart by names of their own (schemas, queues, directories).
 */
export function sharedParts(report: Report = () => undefined): Promise<Parts> {
  shared ??= withoutCustomaryPorts(() =>
    bringUp({
      home: sharedHome,
      cacheDir,
      hardware: hostHardware(),
      systemPackages: true,
      env: process.env,
      report,
    }),
  );
  return shared;
}

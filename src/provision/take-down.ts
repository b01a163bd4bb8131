import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ProcessId } from '../contracts/pool.ts';
import { withLock } from './lock.ts';
import { partsPath, readParts } from '../config/parts-file.ts';
import { writeParts } from './parts-file.ts';
import type { ServerName } from './places.ts';
import { homePlaces } from './places.ts';
import { stopPart } from './server-part.ts';
import { STOP_ORDERS } from './stop-orders.ts';

/** One server that was stopped. */
export interface Stopped {
  readonly part: ServerName;
  readonly process: ProcessId;
  /** `killed`: it did not end by its signal. */
  readonly how: 'ended' | 'killed';
}

/**
 * Stops the servers that `bringUp` started for this home, and nothing else: each is told by pid and start time, asked by
 * its signal, killed when it does not go, and seen gone. Configured parts and images stay. Answers what was stopped;
 * nothing when nothing ran, however often it is called. Data, logs and remembered ports stay.
 */
export async function takeDown(options: { readonly home: string }): Promise<Stopped[]> {
  const places = homePlaces(options.home);
  return withLock(join(places.home, 'up'), async () => {
    const names = Object.keys(STOP_ORDERS) as ServerName[];
    const stopped = await Promise.all(
      names.map(async (part): Promise<Stopped[]> => {
        const gone = await stopPart(places, part, STOP_ORDERS[part]);
        return gone ? [{ part, ...gone }] : [];
      }),
    );
    const parts = readParts(places.home);
    if (parts) {
      for (const name of names) if (parts[name]?.found !== 'configured') delete parts[name];
      if (names.some((name) => parts[name]) || parts.image) writeParts(places.home, parts);
      else rmSync(partsPath(places.home), { force: true });
    }
    return stopped.flat();
  });
}

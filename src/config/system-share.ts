import { GiB, MiB } from '../policy/sizes.ts';
import type { ChargeTo, ResolvedHardware, ServersHere } from './resolved.ts';

/** Limit of a Temporal dev server with its database file. */
export const TEMPORAL_SERVER_BYTES = 1 * GiB;
/** Sessions that sort at the same time: loads, dashboards, autovacuum beside them. */
const SORTING_SESSIONS = 16;
const INDEX_BUILDS = 2;
const POSTGRES_BASE_BYTES = 128 * MiB;

/** What a PostgreSQL takes: shared buffers, two index builds, sorts of sixteen sessions, and the server itself. */
export const postgresServerBytes = ({ postgres }: Pick<ResolvedHardware, 'postgres'>): number =>
  postgres.sharedBuffersBytes +
  INDEX_BUILDS * postgres.maintenanceWorkMemBytes +
  SORTING_SESSIONS * postgres.workMemBytes +
  POSTGRES_BASE_BYTES;

/** What the operating system keeps: 1/32 of the RAM, from 256 MiB to 16 GiB. */
const systemReserveBytes = (ramBytes: number): number => Math.min(Math.max(ramBytes / 32, 256 * MiB), 16 * GiB);

interface Share {
  readonly what: string;
  readonly bytes: number;
}

/** A server whose memory somebody pays for. */
export interface ServerShare extends Share {
  readonly part: 'postgres' | 'temporal';
}

function servers(hardware: ResolvedHardware, here: ServersHere, chargeTo: ChargeTo): ServerShare[] {
  const shares: ServerShare[] = [];
  if (here.postgres && hardware.postgres.chargeTo === chargeTo) {
    shares.push({ part: 'postgres', what: 'PostgreSQL', bytes: postgresServerBytes(hardware) });
  }
  if (here.temporal && hardware.temporal.chargeTo === chargeTo) {
    shares.push({ part: 'temporal', what: 'Temporal', bytes: TEMPORAL_SERVER_BYTES });
  }
  return shares;
}

/** The parts of the memory beside the pool that are spoken for. */
export function systemShare(hardware: ResolvedHardware, here: ServersHere): Share[] {
  const system = { what: 'the system', bytes: systemReserveBytes(hardware.ramBytes) };
  return [system, ...servers(hardware, here, 'system')];
}

/** Servers that the pool pays for, as standing charges. */
export const chargedServers = (hardware: ResolvedHardware, here: ServersHere): ServerShare[] =>
  servers(hardware, here, 'pool');

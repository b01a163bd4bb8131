import type { ResolvedHardware } from '../config/resolved.ts';
import type { Setting } from './settings-text.ts';
import { comment, engineSize } from './settings-text.ts';

/** Where one PostgreSQL listens. */
export interface PostgresPlace {
  readonly port: number;
  /** Overrides the profile's choice where the server was built without lz4. */
  readonly walCompression?: 'lz4' | 'on';
}

/**
 * The part of `postgresql.conf` that a hardware profile decides, to be included by the main file.
 * The same input gives the same text. Loopback only; never loosens durability for anything but a loading session.
 */
export function renderPostgres(hardware: ResolvedHardware, place: PostgresPlace): string {
  const settings: Setting[] = [
    { key: 'listen_addresses', value: "'127.0.0.1'" },
    { key: 'port', value: String(place.port) },
    {
      key: 'unix_socket_directories',
      value: "''",
      why: 'Loopback TCP only: a socket would need a directory outside of the data.',
    },
    ...postgresSettings(hardware, place.walCompression),
  ];
  const lines = settings.map(({ key, value, why }) => `${why === undefined ? '' : comment(why)}${key} = ${value}\n`);
  return `${comment('PostgreSQL. Rendered from the hardware profile.')}\n${lines.join('')}`;
}

/** The settings that a hardware profile decides, wherever the server listens. */
export function postgresSettings({ postgres }: ResolvedHardware, known?: 'lz4' | 'on'): Setting[] {
  const walCompression = known ?? postgres.walCompression;
  return [
    {
      key: 'shared_buffers',
      value: engineSize(postgres.sharedBuffersBytes, 'kB'),
      why: 'Enough for indexes of the target tables; bulk loads go through a ring buffer and gain nothing from more.',
    },
    { key: 'work_mem', value: engineSize(postgres.workMemBytes, 'kB'), why: 'Per sort or hash of a query.' },
    {
      key: 'maintenance_work_mem',
      value: engineSize(postgres.maintenanceWorkMemBytes, 'kB'),
      why: 'Index builds at the end of a load sort in this.',
    },
    {
      key: 'autovacuum_work_mem',
      value: engineSize(postgres.autovacuumWorkMemBytes, 'kB'),
      why: 'Set, or each of the autovacuum workers takes maintenance_work_mem.',
    },
    {
      key: 'wal_compression',
      value: walCompression,
      why:
        walCompression === 'lz4' ? 'Fewer bytes of full pages for little CPU.' : 'This server was built without lz4.',
    },
    {
      key: 'checkpoint_timeout',
      value: `${postgres.checkpointTimeoutMinutes}min`,
      why: 'Rarer checkpoints: fewer full pages in the log of a long load.',
    },
    {
      key: 'max_wal_size',
      value: engineSize(postgres.maxWalSizeBytes, 'kB'),
      why: 'A load must not force checkpoints by its size.',
    },
    {
      key: 'synchronous_commit',
      value: 'on',
      why: 'Durable for everybody; only a loading session sets it off for itself.',
    },
  ];
}

import type { ResolvedHardware } from '../config/resolved.ts';
import { formatBytes, MiB } from '../policy/sizes.ts';
import { postgresSettings } from './postgres.ts';
import { comment } from './settings-text.ts';
import { renderTrino } from './trino.ts';

/** Versions that the images carry, and names that the server must know. */
export interface ComposePins {
  readonly temporalCli: string;
  readonly trino: number;
  readonly postgres: number;
  readonly searchAttributes: readonly string[];
}

/** Where Trino's files lie, relative to the compose file. */
const TRINO_FILES = './provision/compose/trino';

/**
 * A compose file with the servers of one hardware profile, and the files that it mounts, as relative path → text.
 * Works with `docker compose` and `podman-compose`. All ports are published on loopback; the heavy engines stand behind the
 * profile `heavy`, so that `up` alone starts the light parts.
 */
export function renderCompose(hardware: ResolvedHardware, pins: ComposePins): Record<string, string> {
  const trinoFiles = renderTrino(hardware, {
    version: pins.trino,
    httpPort: 8080,
    nodeId: 'spillway-1',
    etcDir: '/etc/trino',
    dataDir: '/data/trino',
    pluginDir: '/usr/lib/trino/plugin',
    scratch: '/scratch',
    tmpDir: '/tmp',
    network: 'container',
  });
  const files = Object.entries(trinoFiles).map(([name, text]) => [`${TRINO_FILES.slice(2)}/${name}`, text]);
  return {
    'docker-compose.yml': composeText(hardware, pins),
    ...(Object.fromEntries(files) as Record<string, string>),
  };
}

function composeText(hardware: ResolvedHardware, pins: ComposePins): string {
  const cores = hardware.physicalCores;
  // Beside its shared buffers a PostgreSQL needs sorts of some sessions and one index build.
  const postgresBytes =
    hardware.postgres.sharedBuffersBytes +
    2 * hardware.postgres.maintenanceWorkMemBytes +
    16 * hardware.postgres.workMemBytes +
    128 * MiB;
  const settings = postgresSettings(hardware).flatMap(({ key, value }) => ['-c', `${key}=${value}`]);
  const temporalCommand = [
    ...[
      'server',
      'start-dev',
      '--ip',
      '0.0.0.0',
      '--db-filename',
      `/data/temporal-${pins.temporalCli}.db`,
      '--log-level',
      'warn',
    ],
    ...pins.searchAttributes.flatMap((name) => ['--search-attribute', `${name}=Keyword`]),
    ...['--dynamic-config-value', 'history.transferProcessorMaxPollRPS=2000'],
    ...['--dynamic-config-value', 'history.timerProcessorMaxPollRPS=2000'],
  ];
  const header = comment(
    `The servers Spillway works with, sized for the hardware profile ${hardware.profile} with ${formatBytes(hardware.ramBytes)} of RAM and ${cores} cores.\n` +
      'Light parts: docker compose up --wait. With the engines: docker compose --profile heavy up --wait.\n' +
      'Set SPILLWAY_SCRATCH to the scratch root; Trino and the containers of steps share it. Rendered; a test holds it to the profile.',
  );
  return `${header}
name: spillway

services:
  temporal:
    image: temporalio/temporal:${pins.temporalCli}
    command:${list(temporalCommand)}
    ports:
      - '127.0.0.1:\${SPILLWAY_TEMPORAL_PORT:-7233}:7233'
      - '127.0.0.1:\${SPILLWAY_TEMPORAL_UI_PORT:-8233}:8233'
    volumes:
      - temporal:/data
    mem_limit: 1g
    healthcheck:
      test: ['CMD', 'temporal', 'operator', 'cluster', 'health']
      interval: 5s
      timeout: 5s
      retries: 12
    restart: unless-stopped

  postgres:
    image: postgres:${pins.postgres}
    command:${list(['postgres', ...settings])}
    environment:
      POSTGRES_USER: spillway
      POSTGRES_DB: spillway
      # Asked for, never defaulted: an account with a known password does not belong on any host.
      POSTGRES_PASSWORD: \${SPILLWAY_POSTGRES_PASSWORD:?set SPILLWAY_POSTGRES_PASSWORD}
      POSTGRES_INITDB_ARGS: --encoding=UTF8 --locale=C
    ports:
      - '127.0.0.1:\${SPILLWAY_POSTGRES_PORT:-5432}:5432'
    volumes:
      - postgres:/var/lib/postgresql
    # ${formatBytes(hardware.postgres.sharedBuffersBytes)} of shared buffers, two index builds, and sorts of sixteen sessions.
    mem_limit: ${mebibytes(postgresBytes)}
    shm_size: 256m
    healthcheck:
      test: ['CMD', 'pg_isready', '-U', 'spillway']
      interval: 5s
      timeout: 5s
      retries: 12
    restart: unless-stopped

  trino:
    profiles: [heavy]
    image: trinodb/trino:${pins.trino}
    ports:
      - '127.0.0.1:\${SPILLWAY_TRINO_PORT:-8080}:8080'
    volumes:
      - ${TRINO_FILES}:/etc/trino:ro
      - \${SPILLWAY_SCRATCH:-/opt/tmp/spillway}:/scratch
    # Heap ${formatBytes(hardware.trino.heapBytes)} and what is not heap; without swap, so that the limit is one.
    mem_limit: ${mebibytes(hardware.trino.containerBytes)}
    memswap_limit: ${mebibytes(hardware.trino.containerBytes)}
    cpus: ${cores}
    stop_grace_period: 20s
    healthcheck:
      # A scan, not a look at the front page: a coordinator answers seconds before it has a node.
      test: ['CMD', 'trino', '--execute', 'select count(*) from tpch.tiny.region']
      interval: 10s
      timeout: 20s
      start_period: 120s
      retries: 6
    restart: unless-stopped

  # The runner of DataFusion steps: Spillway starts a container of it for each step; here it is only built:
  # docker compose build datafusion
  datafusion:
    profiles: [image]
    image: spillway-datafusion
    build:
      context: .
      dockerfile: containers/datafusion/Containerfile
    network_mode: none
    read_only: true
    entrypoint: ['/usr/bin/env', 'true']

volumes:
  temporal:
  postgres:
`;
}

/** A list, one item a line, quoted so that YAML takes nothing in it for its own. */
const list = (items: readonly string[]): string =>
  items.map((item) => `\n      - '${item.replaceAll("'", "''")}'`).join('');

const mebibytes = (bytes: number): string => `${Math.ceil(bytes / MiB)}m`;

import type { ResolvedHardware } from '../config/resolved.ts';
import { postgresServerBytes, TEMPORAL_SERVER_BYTES } from '../config/system-share.ts';
import { formatBytes, MiB } from '../policy/sizes.ts';
import { postgresSettings } from './postgres.ts';
import { renderTrino } from './trino.ts';

/** Versions that the images carry, and names that the server must know. */
export interface ServicePins {
  readonly temporalCli: string;
  readonly trino: number;
  readonly postgres: number;
  readonly searchAttributes: readonly string[];
}

/** A published port: always on loopback; the variable moves it. */
export interface PublishedPort {
  readonly variable: string;
  readonly host: number;
  readonly container: number;
}

/** A server in a container, as every kind of file that we render needs it. */
export interface Service {
  readonly name: 'temporal' | 'postgres' | 'trino';
  /** Image by its whole name, registry included; the variable names another one. */
  readonly image: { readonly variable: string; readonly registry: string; readonly name: string };
  readonly command?: readonly string[];
  readonly environment?: readonly { readonly name: string; readonly value: string; readonly why?: string }[];
  readonly ports: readonly PublishedPort[];
  /** `name:/path` or `./folder:/path:ro`. */
  readonly volumes: readonly string[];
  /** Limit of the container. Swap is none beyond it, so that the limit is one. */
  readonly memoryBytes: number;
  readonly memoryWhy: string;
  readonly shmBytes?: number;
  /** Cores it is bound to, as `0-15`; absent: all. */
  readonly cpuset?: string;
  readonly health: {
    readonly test: readonly string[];
    readonly why?: string;
    readonly interval: string;
    readonly timeout: string;
    readonly startPeriod?: string;
    readonly retries: number;
  };
  readonly stopSeconds?: number;
  /** Brought up only when asked for: it takes a large part of the host. */
  readonly heavy: boolean;
}

/** Where the folder of Trino's files lies in the container. */
const ETC = '/etc/trino';
/** Variable with the scratch root, and its default. */
export const SCRATCH = { variable: 'SPILLWAY_SCRATCH', path: '/opt/tmp/spillway' } as const;

/** Cores 0 to n-1: Linux numbers the first thread of each physical core first. */
export const cpusetOf = (cores: number): string => (cores === 1 ? '0' : `0-${cores - 1}`);

/** Trino's files for its container, as relative name → text. */
export function containerTrino(hardware: ResolvedHardware, pins: ServicePins): Record<string, string> {
  return renderTrino(hardware, {
    version: pins.trino,
    httpPort: 8080,
    nodeId: 'spillway-1',
    etcDir: ETC,
    dataDir: '/data/trino',
    pluginDir: '/usr/lib/trino/plugin',
    scratch: '/scratch',
    tmpDir: '/tmp',
    network: 'container',
  });
}

/**
 * The servers of one hardware profile. `trinoFiles` is the folder of {@link containerTrino}'s files beside the rendered file,
 * for example `./trino`. The same input gives the same services.
 */
export function services(hardware: ResolvedHardware, pins: ServicePins, trinoFiles: string): Service[] {
  const { postgres, trino } = hardware;
  return [
    {
      name: 'temporal',
      image: {
        variable: 'SPILLWAY_TEMPORAL_IMAGE',
        registry: 'docker.io',
        name: `temporalio/temporal:${pins.temporalCli}`,
      },
      command: [
        ...['server', 'start-dev', '--ip', '0.0.0.0', '--db-filename', `/data/temporal-${pins.temporalCli}.db`],
        ...['--log-level', 'warn'],
        ...pins.searchAttributes.flatMap((name) => ['--search-attribute', `${name}=Keyword`]),
        ...['--dynamic-config-value', 'history.transferProcessorMaxPollRPS=2000'],
        ...['--dynamic-config-value', 'history.timerProcessorMaxPollRPS=2000'],
      ],
      ports: [
        { variable: 'SPILLWAY_TEMPORAL_PORT', host: 7233, container: 7233 },
        { variable: 'SPILLWAY_TEMPORAL_UI_PORT', host: 8233, container: 8233 },
      ],
      volumes: ['temporal:/data'],
      memoryBytes: TEMPORAL_SERVER_BYTES,
      memoryWhy: 'The server, and what it caches of its database file.',
      health: {
        test: ['CMD', 'temporal', 'operator', 'cluster', 'health'],
        interval: '5s',
        timeout: '5s',
        retries: 12,
      },
      heavy: false,
    },
    {
      name: 'postgres',
      image: { variable: 'SPILLWAY_POSTGRES_IMAGE', registry: 'docker.io', name: `library/postgres:${pins.postgres}` },
      command: ['postgres', ...postgresSettings(hardware).flatMap(({ key, value }) => ['-c', `${key}=${value}`])],
      environment: [
        { name: 'POSTGRES_USER', value: 'spillway' },
        { name: 'POSTGRES_DB', value: 'spillway' },
        {
          name: 'POSTGRES_PASSWORD',
          value: '${SPILLWAY_POSTGRES_PASSWORD:?set SPILLWAY_POSTGRES_PASSWORD}',
          why: 'Asked for, never defaulted: an account with a known password does not belong on any host.',
        },
        { name: 'POSTGRES_INITDB_ARGS', value: '--encoding=UTF8 --locale=C' },
      ],
      ports: [{ variable: 'SPILLWAY_POSTGRES_PORT', host: 5432, container: 5432 }],
      volumes: ['postgres:/var/lib/postgresql'],
      memoryBytes: postgresServerBytes(hardware),
      memoryWhy: `${formatBytes(postgres.sharedBuffersBytes)} of shared buffers, two index builds, and sorts of sixteen sessions.`,
      shmBytes: 256 * MiB,
      health: { test: ['CMD', 'pg_isready', '-U', 'spillway'], interval: '5s', timeout: '5s', retries: 12 },
      heavy: false,
    },
    {
      name: 'trino',
      image: { variable: 'SPILLWAY_TRINO_IMAGE', registry: 'docker.io', name: `trinodb/trino:${pins.trino}` },
      ports: [{ variable: 'SPILLWAY_TRINO_PORT', host: 8080, container: 8080 }],
      volumes: [`${trinoFiles}:${ETC}:ro`, `\${${SCRATCH.variable}:-${SCRATCH.path}}:/scratch`],
      memoryBytes: trino.containerBytes,
      memoryWhy: `Heap ${formatBytes(trino.heapBytes)} and what is not heap; without swap, so that the limit is one.`,
      cpuset: cpusetOf(hardware.physicalCores),
      health: {
        test: ['CMD', 'trino', '--execute', 'select count(*) from tpch.tiny.region'],
        why: 'A scan, not a look at the front page: a coordinator answers seconds before it has a node.',
        interval: '10s',
        timeout: '20s',
        startPeriod: '120s',
        retries: 6,
      },
      stopSeconds: 20,
      heavy: true,
    },
  ];
}

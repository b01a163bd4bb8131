import type { HardwareProfile } from './profile-names.ts';

/** A size: `512GB`, `1.5 GiB`, `600m`, or whole bytes. Units are binary, as in the engines. */
export type Size = string | number;
/** A duration: `2 hours`, `90s`, or whole milliseconds. */
export type Duration = string | number;
/** A secret by name, read on the host from `SPILLWAY_SECRET_<NAME>` or a file of the secrets directory. */
export interface Secret {
  secret: string;
}

/** A Trino that queries may name. */
export interface TrinoOptions {
  /** For example `http://127.0.0.1:8080`. */
  url: string;
  /** User that queries run as. @defaultValue 'spillway' */
  user?: string;
  /** Names the user's password. */
  password?: Secret;
  /** `resident`: its memory is the pool's; `external`: it is not. @defaultValue 'external' */
  residence?: 'resident' | 'external';
  /** Catalog that unloads into the shared scratch. @defaultValue 'lake' */
  lakeCatalog?: string;
}

/** A PostgreSQL that loads may name. */
export interface PostgresOptions {
  /** For example `postgres://loader@db.internal:5432/mart`, without a password. */
  url: string;
  /** Names the password of the user in `url`. */
  password?: Secret;
}

/** A directory of the host that steps may name. */
export interface DirectoryOptions {
  /** Absolute, or relative to this file. */
  path?: string;
  /** Instead of `path`: address below which a web server has files; `files` downloads them. */
  url?: string;
  /** `write`: steps may put folders there. @defaultValue 'read' */
  access?: 'read' | 'write';
  /** Of `url`: files that a step downloads at a time, 1 to 64. @defaultValue 4 */
  maxConnections?: number;
  /** Of `url`: sent to that server as a bearer token. @defaultValue none */
  token?: Secret;
}

/**
 * What `spillway.config.ts` may say. Every key is optional; what is not set comes from the hardware profile, or from what
 * `spillway up` started.
 */
export interface SpillwayOptions {
  /** Where the numbers come from: `auto` from this host, `ram-8` … `ram-128` for a host with that many GiB, or a named machine. @defaultValue 'auto' */
  hardware?: HardwareProfile;
  /** Divides the profile's bytes for a rehearsal, for example `1/64`. Sizes set here stand as written. @defaultValue '1/1' */
  scale?: string;
  /** Folder of `spillway up`: downloads, data, logs. @defaultValue '~/.cache/spillway' */
  home?: string;
  /** The one scratch root, on fast disk. @defaultValue `scratch` in the home; `/opt/tmp/spillway` for `epyc-768` */
  scratch?: string;
  pool?: {
    /** Names the pool and its queues; letters, digits, `-` and `_`. @defaultValue 'default' */
    name?: string;
    /** Bytes lent to steps, standing charges included. @defaultValue half of the RAM; `epyc-768`: 512 GiB */
    limit?: Size;
    /** Scratch disk lent to steps. @defaultValue half of what is free, rounded down to a power of two; `epyc-768`: 3 TiB */
    scratchLimit?: Size;
    /** Scratch of a step that declares none. @defaultValue an eighth of `scratchLimit`; `epyc-768`: 100 GiB */
    stepScratch?: Size;
    /** Name of the lock that keeps a second pool off this host. @defaultValue 'spillway-host' */
    hostLock?: string;
  };
  /** Shares of what can be lent, rows in memory counted, at which an intermediate goes elsewhere. */
  handoff?: {
    /** Past it, to Arrow files instead of staying in memory; 0.4 to 0.5. @defaultValue 0.5 */
    arrowAbove?: number;
    /** Past it, to Parquet; 0.6 to 0.95. @defaultValue 0.8 */
    parquetAbove?: number;
    /** Past it, to Parquet, while another run's heavy step runs or waits; 0.2 to 0.5. @defaultValue 0.4 */
    parquetAboveWhenContended?: number;
  };
  checkpoints?: {
    /** Scratch disk for checkpoints, beside what is lent; those not used for longest go first. @defaultValue an eighth of `pool.scratchLimit`; `epyc-768`: 384 GiB */
    limit?: Size;
    /** A checkpoint that was not used for that long goes; 1 minute to 365 days. @defaultValue '7 days' */
    ttl?: Duration;
  };
  temporal?: {
    /** `host:port`. @defaultValue what `spillway up` started, else `127.0.0.1:7233` */
    address?: string;
    /** Namespace of runs, pool and steps. @defaultValue 'default' */
    namespace?: string;
    /**
     * Profile of `temporal.toml`, as Temporal's own tools know it: address, namespace, TLS, API key. Address and namespace set here stand above it.
     * @defaultValue none; `default` when `configFile` is set
     */
    profile?: string;
    /** That file. @defaultValue where Temporal's own tools look for it, such as `~/.config/temporalio/temporal.toml` */
    configFile?: string;
    /** Address of the UI, for links. */
    ui?: string;
    /** `pool`: the memory of the Temporal that `spillway up` started is a standing charge of the pool. @defaultValue 'system' */
    chargeTo?: 'system' | 'pool';
  };
  /** Trinos by name; steps use `default`. @defaultValue `default` is what `spillway up` started */
  trino?: Record<string, TrinoOptions>;
  /** PostgreSQLs by name; loads use `default`. @defaultValue `default` is what `spillway up` started */
  postgres?: Record<string, PostgresOptions>;
  /** Directories by name, of the pool's host or of a web server, which `files` reads and `write.parquet` and `write.arrow` write; steps use `default`. @defaultValue none */
  directories?: Record<string, DirectoryOptions>;
  /** How DataFusion jobs are run. @defaultValue what `spillway up` found */
  runtime?: {
    /** What runs them; `process`: no container, but a process of the worker's user, limited in memory only. */
    kind?: 'podman' | 'docker' | 'process';
    /** Flags of `run` without which no container starts here. */
    flags?: string[];
    /** Image of the DataFusion runner; for `process` its directory. */
    image?: string;
  };
  /** Module that exports your workflows, relative to this file. */
  workflows?: string;
  /** File that `spillway bundle` wrote of them: the worker starts from it and builds nothing. @defaultValue none: built at each start */
  bundle?: string;
  /** Module that exports `defineTransforms({ … })` by default, relative to this file. */
  transforms?: string;
  light?: {
    /** Light steps at a time. @defaultValue 4; `epyc-768`: 8 */
    slots?: number;
    /** What one light step may use without a lease. @defaultValue 1/96 of the RAM, 128 MiB to 2 GiB */
    stepBytes?: Size;
    /** Rows of a batch that a transform gets at most. @defaultValue that of the nearest profile which is not larger: 1,000 at 8 GiB, 50,000 at 32, 100,000 at 64, 200,000 at 128 */
    batchRows?: number;
  };
  worker?: {
    /** Worker process without any step. @defaultValue 400 MiB; `epyc-768`: 1 GiB */
    baseline?: Size;
    /** How long running steps get to end after SIGTERM; 1 s to 1 hour. @defaultValue '30s' */
    drain?: Duration;
  };
  /** Engine settings that the hardware profile decides; change one only with a reason. */
  engines?: {
    trino?: {
      /** Memory of the container or process. @defaultValue heap + 500 MiB or 1/8 */
      container?: Size;
      /** `-Xmx`. @defaultValue 1/12 of the RAM; `epyc-768`: 192 GiB */
      heap?: Size;
      /** What an idle Trino keeps: its standing charge. @defaultValue 1000 MiB; `epyc-768`: 4 GiB */
      floor?: Size;
      /** `query.max-memory-per-node`. @defaultValue 4/5 of `maxTotalMemory` */
      maxMemoryPerNode?: Size;
      /** `query.max-total-memory`. @defaultValue heap - headroom */
      maxTotalMemory?: Size;
      /** `memory.heap-headroom-per-node`. @defaultValue 1/6 of the heap, at least 500 MiB */
      heapHeadroom?: Size;
      /** `max-spill-per-node`. @defaultValue a quarter of the scratch limit; `epyc-768`: 512 GiB */
      spill?: Size;
    };
    postgres?: {
      /** `shared_buffers`. @defaultValue 1/64 of the RAM, 128 MiB to 16 GiB */
      sharedBuffers?: Size;
      /** `work_mem`. @defaultValue 1/1024 of the RAM, 4 MiB to 128 MiB */
      workMem?: Size;
      /** `maintenance_work_mem`. @defaultValue 1/128 of the RAM, 64 MiB to 4 GiB */
      maintenanceWorkMem?: Size;
      /** `autovacuum_work_mem`. @defaultValue 1/512 of the RAM, 16 MiB to 1 GiB */
      autovacuumWorkMem?: Size;
      /** `max_wal_size`. @defaultValue 1/12 of the RAM, 1 GiB to 16 GiB */
      maxWal?: Size;
      /** `checkpoint_timeout`, in minutes. @defaultValue 20; `epyc-768`: 30 */
      checkpointTimeoutMinutes?: number;
      /** `pool`: the memory of the PostgreSQL that `spillway up` started is a standing charge of the pool. @defaultValue 'system' */
      chargeTo?: 'system' | 'pool';
    };
    datafusion?: {
      /** Partitions of a statement, and so its threads at most. @defaultValue physical cores */
      partitions?: number;
      /** Disk limit where a step declares no scratch. @defaultValue an eighth of the scratch limit; `epyc-768`: 100 GiB */
      spill?: Size;
    };
  };
}

/**
 * Gives the options back as they are, with their types: for `export default defineConfig({ … })` in `spillway.config.ts`.
 *
 * @example
 * export default defineConfig({ workflows: './workflows/index.ts', pool: { limit: '48GB' } });
 */
export function defineConfig(options: SpillwayOptions): SpillwayOptions {
  return options;
}

import type { TLSConfig } from '@temporalio/client';
import type { HandoffThresholds } from '../policy/handoff-mode.ts';
import type { StepRuntime } from '../contracts/parts.ts';
import type { HardwareProfile } from './profile-names.ts';

/** Where a value came from, lowest precedence first. */
export type Origin = 'default' | 'hardware' | 'provisioned' | 'file' | 'environment' | 'flag';

/** Whose memory a server takes: what is beside the pool, or the pool's, as a standing charge. */
export type ChargeTo = 'system' | 'pool';

/** Servers of this host, by whether they run here at all; somebody else's memory is nobody's business here. */
export interface ServersHere {
  readonly postgres: boolean;
  readonly temporal: boolean;
}

/** What a server lends and how its engines are set. Bytes are whole bytes. Nothing here is optional. */
export interface ResolvedHardware {
  readonly profile: HardwareProfile;
  /** Divisor of a rehearsal: 64 for `--scale 1/64`, 1 otherwise. */
  readonly scaleDivisor: number;
  readonly ramBytes: number;
  readonly physicalCores: number;
  /** Bytes lent to steps, standing charges included: RAM/2, `epyc-768` 2/3. */
  readonly poolBytes: number;
  /** Scratch disk lent to steps. */
  readonly scratchBytes: number;
  /** Scratch of a step that declares none. */
  readonly stepScratchBytes: number;
  /** Scratch disk for checkpoints, beside what is lent. */
  readonly checkpointBytes: number;
  /** Sizes of the rungs: absolute bytes, or shares of what can be lent. */
  readonly rungs: { readonly kind: 'bytes' | 'share'; readonly S: number; readonly M: number; readonly L: number };
  readonly lightSlots: number;
  /** What one light step may use without a lease. */
  readonly lightStepBytes: number;
  /** Rows of a batch that a transform gets at most. */
  readonly batchRows: number;
  /** What DataFusion runs in unless the configuration or the host says otherwise. */
  readonly stepsRunAs: 'container' | 'process';
  /** Worker process without any step. */
  readonly workerBaselineBytes: number;
  readonly trino: {
    readonly containerBytes: number;
    readonly heapBytes: number;
    /** What an idle Trino keeps: its standing charge. */
    readonly floorBytes: number;
    readonly maxMemoryPerNodeBytes: number;
    readonly maxTotalMemoryBytes: number;
    readonly heapHeadroomBytes: number;
    readonly spillBytes: number;
  };
  readonly postgres: {
    readonly sharedBuffersBytes: number;
    readonly workMemBytes: number;
    readonly maintenanceWorkMemBytes: number;
    readonly autovacuumWorkMemBytes: number;
    readonly maxWalSizeBytes: number;
    readonly checkpointTimeoutMinutes: number;
    readonly walCompression: 'lz4' | 'on';
    readonly chargeTo: ChargeTo;
  };
  readonly temporal: { readonly chargeTo: ChargeTo };
  readonly datafusion: {
    readonly partitions: number;
    /** Disk manager limit where a step declares no scratch. */
    readonly spillBytes: number;
  };
}

/** A secret is named in the configuration and read on the host: never in inputs, history, logs or process lists. */
export type ResolvedSecret =
  | { readonly secret: string }
  | { readonly literal: string; /** Only for accounts that `spillway up` made. */ readonly provisioned: true };

export interface ResolvedTrino {
  readonly url: string;
  readonly user: string;
  readonly password?: ResolvedSecret;
  /** `resident`: started by `spillway up`; `external`: somebody else's, its memory is not the pool's. */
  readonly residence: 'resident' | 'external';
  /** Catalog that unloads into the shared scratch. */
  readonly lakeCatalog: string;
  /** Directory that the lake catalog calls `local:///`; it must be the scratch root. */
  readonly lakeRoot: string;
}

export interface ResolvedPostgres {
  readonly url: string;
  readonly password?: ResolvedSecret;
}

/** A directory of the host that steps may name. */
export interface HostDirectory {
  readonly path: string;
  readonly access: 'read' | 'write';
}

/** Files of a web server, which steps may name as if they were a directory. */
export interface WebDirectory {
  readonly url: string;
  readonly access: 'read';
  readonly maxConnections: number;
  readonly token?: ResolvedSecret;
}
export type ResolvedDirectory = HostDirectory | WebDirectory;

export interface ResolvedTemporal {
  readonly address: string;
  readonly namespace: string;
  readonly ui?: string;
  /** Profile and file that were asked for. */
  readonly profile?: string;
  readonly configFile?: string;
  /** What the server asks of its clients. Holds secrets: never printed, never in a history. Absent for a server that asks for nothing. */
  readonly access?: {
    readonly apiKey?: string;
    readonly tls?: boolean | TLSConfig;
    readonly metadata?: Readonly<Record<string, string>>;
  };
}

/** The configuration in force. Nothing past `src/config` reads `process.env`. */
export interface ResolvedConfig {
  /** Directory that relative paths of the file stand against. */
  readonly root: string;
  /** Path of the configuration file; absent when there is none. */
  readonly file?: string;
  readonly home: string;
  readonly pool: { readonly name: string; readonly hostLock: string };
  readonly temporal: ResolvedTemporal;
  readonly hardware: ResolvedHardware;
  /** Servers that are this host's, as nobody configured them elsewhere. */
  readonly serversHere: ServersHere;
  readonly scratch: string;
  readonly runtime: { readonly kind: StepRuntime; readonly flags: readonly string[]; readonly image: string };
  readonly trino: Readonly<Record<string, ResolvedTrino>>;
  readonly postgres: Readonly<Record<string, ResolvedPostgres>>;
  readonly directories: Readonly<Record<string, ResolvedDirectory>>;
  /** Module that exports the user's workflows; absent when only `eltPipeline` is used. */
  readonly workflows?: string;
  /** Workflows that were built ahead; absent when the worker builds them. */
  readonly bundle?: string;
  /** Module with the user's transforms. */
  readonly transforms?: string;
  /** Shares of what can be lent, at which the mode of a handoff changes. */
  readonly handoff: HandoffThresholds;
  /** A checkpoint that was not used for that long goes. */
  readonly checkpointTtlMs: number;
  readonly drainMs: number;
  /** Dotted key → where its value came from. */
  readonly origins: Readonly<Record<string, Origin>>;
  /** Dotted key → why its value is not what the profile, divided by the scale, says. */
  readonly because?: Readonly<Record<string, string>>;
}

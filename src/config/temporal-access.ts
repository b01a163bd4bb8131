import {
  loadClientConnectConfig,
  type ClientConnectConfig,
  type LoadClientProfileOptions,
} from '@temporalio/envconfig';
import type { ResolvedConfig } from './resolved.ts';

/** What a server asks of its clients beside an address. Holds secrets: never printed, never in a history. */
export type TemporalAccess = NonNullable<ResolvedConfig['temporal']['access']>;

/** What a Temporal profile says of a server. */
export interface TemporalProfile {
  readonly address?: string;
  readonly namespace?: string;
  /** Absent when the server asks for nothing. */
  readonly access?: TemporalAccess;
}

/** Which profile is asked for, and where from. */
export interface ProfileRequest {
  /** Name in the file. @defaultValue 'default' when only a file is named */
  readonly profile?: string;
  /** Path of the file. @defaultValue where Temporal's own tools look for `temporal.toml` */
  readonly configFile?: string;
  /** `TEMPORAL_API_KEY`, `TEMPORAL_TLS…` and `TEMPORAL_GRPC_META_…` stand above the file. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

/**
 * Reads a profile as Temporal's command line does. Without a profile and a file only the environment is read: a file that somebody keeps for
 * another cluster does not change what `spillway up` started.
 * @throws Error of the file: not there, no TOML, unknown keys, certificates that cannot be read
 */
export function readTemporalProfile({ profile, configFile, env }: ProfileRequest): TemporalProfile {
  const options = {
    ...(profile !== undefined && { profile }),
    ...(configFile !== undefined && { configSource: { path: configFile } }),
    disableFile: profile === undefined && configFile === undefined,
    overrideEnvVars: set(env),
  };
  const { connectionOptions, namespace } = load(options, profile ?? 'default');
  const { address, apiKey, tls, metadata } = connectionOptions;
  const access: TemporalAccess = {
    ...(typeof apiKey === 'string' && { apiKey }),
    ...(tls !== undefined && tls !== null && { tls }),
    ...(metadata !== undefined && { metadata: metadata as Record<string, string> }),
  };
  return {
    ...(address !== undefined && { address }),
    ...(namespace !== undefined && { namespace }),
    ...(Object.keys(access).length > 0 && { access }),
  };
}

/** Keys that the client does not know are refused in the profile that is used; another one is nobody's business here. */
function load(options: LoadClientProfileOptions, profile: string): ClientConnectConfig {
  try {
    return loadClientConnectConfig({ ...options, configFileStrict: true });
  } catch (error) {
    const strict = /unrecognized in profile\.([^:]+?)(\.tls|\.codec)?:/.exec((error as Error).message);
    if (strict === null || strict[1] === profile) throw error;
    return loadClientConnectConfig(options);
  }
}

/** The address and namespace of the environment are a layer of the configuration; here they would stand for the file's. */
function set(env: ProfileRequest['env']): Record<string, string> {
  const layered = new Set(['TEMPORAL_ADDRESS', 'TEMPORAL_NAMESPACE', 'TEMPORAL_PROFILE', 'TEMPORAL_CONFIG_FILE']);
  return Object.fromEntries(
    Object.entries(env).filter(
      (entry): entry is [string, string] => entry[1] !== undefined && entry[1] !== '' && !layered.has(entry[0]),
    ),
  );
}

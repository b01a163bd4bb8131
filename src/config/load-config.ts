// Longer than most: it is the one place where all layers meet, read from top to bottom.
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { listProblems, SpillwayError } from '../contracts/errors.ts';
import type { StepRuntime } from '../contracts/parts.ts';
import { DEFAULT_THRESHOLDS, type HandoffThresholds } from '../policy/handoff-mode.ts';
import { parseDurationMs } from '../policy/sizes.ts';
import { findConfigFile, loadConfigFile } from './find-file.ts';
import { machineOf } from './hardware-profiles.ts';
import type { HardwareProfile } from './profile-names.ts';
import type { HostFacts } from './host-facts.ts';
import { readHostFacts } from './host-facts.ts';
import type { CheckedLayer, Layer, SetValue } from './layers.ts';
import { environmentLayer, fileLayer, flagLayer, mergeLayers } from './layers.ts';
import { HARDWARE_KEYS, overrideHardware } from './override-hardware.ts';
import type { SomeParts } from './parts-file.ts';
import { readParts } from './parts-file.ts';
import { resolveHardware } from './resolve-hardware.ts';
import type {
  Origin,
  ResolvedConfig,
  ResolvedDirectory,
  ResolvedPostgres,
  ResolvedSecret,
  ResolvedTrino,
} from './resolved.ts';
import { ruleProblems } from './rules.ts';
import { parseScale } from './schema.ts';
import { readTemporalProfile, type TemporalAccess } from './temporal-access.ts';

export interface LoadOptions {
  /** Where the search for a file starts. */
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Dotted key → text, as given on the command line; `config` names a file. @defaultValue none */
  readonly flags?: Readonly<Record<string, string | undefined>>;
  /** Facts of the host. @defaultValue read from it */
  readonly facts?: HostFacts;
  /** `profile`: judge against the machine that the profile is named after, to render its files elsewhere. @defaultValue 'here' */
  readonly machine?: 'here' | 'profile';
  /** Workflows are built from their sources: a bundle need not be there, and is not used. @defaultValue false */
  readonly fromSources?: boolean;
}

/**
 * The configuration in force: defaults < hardware profile < what `spillway up` started < file < environment < flags.
 *
 * Raises one `SpillwayError('InvalidInput')` with a line for every problem of every layer. Connections that nobody named
 * and `spillway up` did not start are absent from `trino` and `postgres`; an image that nobody named is the empty text.
 */
export async function loadConfig(options: LoadOptions): Promise<ResolvedConfig> {
  const { cwd, env, flags = {} } = options;
  const { config: named, ...flagged } = flags;
  const asked = named ?? env['SPILLWAY_CONFIG'];
  const file = asked === undefined ? findConfigFile(cwd) : resolve(cwd, asked);
  const root = file === undefined ? resolve(cwd) : dirname(file);

  const checked: CheckedLayer[] = [
    ...(file === undefined ? [] : [fileLayer(await loadConfigFile(file, compiledIn(env)), basename(file))]),
    environmentLayer(env),
    flagLayer(flagged),
  ];
  const asSet = mergeLayers(checked.map(({ values }) => values));
  const problems = checked.flatMap((layer) => layer.problems);
  // A relative path of the file stands against the file; of the environment or a flag, against the working directory.
  const pathOf = (key: string, value: string): string => resolve(asSet.get(key)?.origin === 'file' ? root : cwd, value);
  const temporal = temporalProfile(asSet, pathOf, env, problems);
  const set = mergeLayers([temporal.layer, asSet]);
  const origins: Record<string, Origin> = {};
  for (const [key, { origin }] of set) origins[key] = origin;
  const textOf = (key: string): string | undefined => set.get(key)?.value as string | undefined;
  const orElse = (key: string, ...others: readonly (readonly [Origin, string | undefined])[]): string => {
    const value = textOf(key);
    if (value !== undefined) return value;
    const found = others.find((other) => other[1] !== undefined);
    origins[key] = found?.[0] ?? 'default';
    return found?.[1] ?? '';
  };

  const profile = orElse('hardware', ['default', 'auto']) as HardwareProfile;
  const divisor = parseScale(orElse('scale', ['default', '1/1'])) ?? 1;
  const home = pathOf('home', orElse('home', ['default', join(cacheHome(env), 'spillway')]));
  const parts = readParts(home);
  const scratch = pathOf(
    'scratch',
    orElse(
      'scratch',
      ['provisioned', parts?.scratch],
      ['hardware', profile === 'epyc-768' && divisor === 1 ? '/opt/tmp/spillway' : undefined],
      ['default', join(home, 'scratch')],
    ),
  );
  const host = options.facts ?? readHostFacts(scratch);
  const facts = options.machine === 'profile' && divisor === 1 ? machineOf(profile, host) : host;
  const profiled = resolveHardware(profile, divisor, facts);
  const hardware = overrideHardware(profiled.hardware, set);
  for (const key of Object.keys(HARDWARE_KEYS)) origins[key] ??= 'hardware';
  const because = Object.fromEntries(Object.entries(profiled.because).filter(([key]) => origins[key] === 'hardware'));

  const trino = trinos(set, parts, scratch, origins, problems);
  const postgres = postgreses(set, parts, origins, problems);
  const directories = directoriesOf(set, pathOf, problems);
  const residentTrinos = Object.values(trino).filter(({ residence }) => residence === 'resident').length;
  const serversHere = { postgres: !set.has('postgres.default.url'), temporal: !set.has('temporal.address') };
  problems.push(
    ...ruleProblems({ hardware, set, freeDiskBytes: facts.freeDiskBytes, residentTrinos, here: serversHere }),
  );
  const fileOf = (key: 'workflows' | 'bundle' | 'transforms', otherwise: string): string | undefined => {
    const value = textOf(key);
    if (value === undefined) return undefined;
    const path = pathOf(key, value);
    if (!existsSync(path)) {
      problems.push(
        `${key} must be a file that exists, got ${value} (${set.get(key)?.source}). Looked for ${path}.${otherwise}`,
      );
    }
    return path;
  };
  const workflows = fileOf('workflows', '');
  const bundle =
    options.fromSources === true ? undefined : fileOf('bundle', ' Write it with `spillway bundle --out FILE`.');
  const transforms = fileOf('transforms', '');
  if (problems.length > 0) throw new SpillwayError('InvalidInput', listProblems(problems), { details: { problems } });

  const ui = textOf('temporal.ui') ?? (set.has('temporal.address') ? undefined : parts?.temporal?.ui);
  if (ui !== undefined) origins['temporal.ui'] ??= 'provisioned';
  const flagsOf = set.get('runtime.flags')?.value as string[] | undefined;
  origins['runtime.flags'] ??= parts?.image ? 'provisioned' : 'default';
  return {
    root,
    ...(file === undefined ? {} : { file }),
    home,
    pool: {
      name: orElse('pool.name', ['default', 'default']),
      hostLock: orElse('pool.hostLock', ['default', 'spillway-host']),
    },
    temporal: {
      address: orElse('temporal.address', ['provisioned', parts?.temporal?.address], ['default', '127.0.0.1:7233']),
      namespace: orElse('temporal.namespace', ['provisioned', parts?.temporal?.namespace], ['default', 'default']),
      ...(ui === undefined || ui === '' ? {} : { ui }),
      ...temporal.asked,
      // Keys and certificates are for the server that somebody named, not for the one that `spillway up` started.
      ...(temporal.access !== undefined && set.has('temporal.address') && { access: temporal.access }),
    },
    hardware,
    serversHere,
    scratch,
    runtime: {
      kind: orElse('runtime.kind', ['provisioned', parts?.image?.runtime], ['default', 'podman']) as StepRuntime,
      flags: flagsOf ?? parts?.image?.flags ?? [],
      image: orElse('runtime.image', ['provisioned', parts?.image?.name]),
    },
    trino,
    postgres,
    directories,
    ...(workflows === undefined ? {} : { workflows }),
    ...(bundle === undefined ? {} : { bundle }),
    ...(transforms === undefined ? {} : { transforms }),
    handoff: thresholds(set),
    checkpointTtlMs: parseDurationMs(orElse('checkpoints.ttl', ['default', '7 days'])) ?? 7 * 86_400_000,
    drainMs: parseDurationMs(orElse('worker.drain', ['default', '30s'])) ?? 30_000,
    origins,
    because,
  };
}

/** Where caches of this user lie, by the usual convention. */
function cacheHome(env: LoadOptions['env']): string {
  return env['XDG_CACHE_HOME'] ?? join(env['HOME'] ?? homedir(), '.cache');
}

/** Where it is kept what configuration files compile to: before one is read, no other home is known. */
const compiledIn = (env: LoadOptions['env']): string => resolve(env['SPILLWAY_HOME'] ?? join(cacheHome(env), 'spillway'), 'run', 'compiled'); // prettier-ignore

interface AskedProfile {
  layer: Layer;
  asked: Pick<ResolvedConfig['temporal'], 'profile' | 'configFile'>;
  access?: TemporalAccess;
}

/** What the Temporal profile sets, as the lowest of the layers that people write. */
function temporalProfile(
  set: Layer,
  pathOf: (key: string, value: string) => string,
  env: LoadOptions['env'],
  problems: string[],
): AskedProfile {
  const profile = set.get('temporal.profile');
  const file = set.get('temporal.configFile');
  const configFile = file && pathOf('temporal.configFile', file.value as string);
  const asked = {
    ...(profile && { profile: profile.value as string }),
    ...(configFile !== undefined && { configFile }),
  };
  const nothing: AskedProfile = { layer: new Map(), asked };
  if (configFile !== undefined && !existsSync(configFile)) {
    problems.push(
      `temporal.configFile must be a file that exists, got ${file?.value as string} (${file?.source}). Looked for ${configFile}.`,
    );
    return nothing;
  }
  try {
    const read = readTemporalProfile({ ...asked, env });
    const name = asked.profile ?? 'default';
    if ((profile ?? file) && read.address === undefined && !set.has('temporal.address')) {
      problems.push(
        `temporal.profile must name a server, got ${name} without address (${(profile ?? file)?.source}). Give the profile an address, or set temporal.address.`,
      );
    }
    const origin = { origin: 'file', source: `Temporal profile ${name}` } as const;
    const layer = new Map<string, SetValue>();
    if (read.address !== undefined) layer.set('temporal.address', { value: read.address, ...origin });
    if (read.namespace !== undefined) layer.set('temporal.namespace', { value: read.namespace, ...origin });
    return { layer, asked, ...(read.access && { access: read.access }) };
  } catch (error) {
    const key = profile ? 'temporal.profile' : file ? 'temporal.configFile' : 'TEMPORAL_TLS_…';
    problems.push(
      `${key} cannot be used${profile ? `, got ${profile.value as string} (${profile.source})` : ''}: ${(error as Error).message}.`,
    );
    return nothing;
  }
}

function trinos(
  set: Layer,
  parts: SomeParts | undefined,
  scratch: string,
  origins: Record<string, Origin>,
  problems: string[],
): Record<string, ResolvedTrino> {
  const found: Record<string, ResolvedTrino> = {};
  for (const [name, get] of connections('trino', set, problems)) {
    const password = get('password') as ResolvedSecret | undefined;
    found[name] = {
      url: (get('url') as string).replace(/\/+$/, ''),
      user: (get('user') as string | undefined) ?? 'spillway',
      ...(password === undefined ? {} : { password }),
      residence: (get('residence') as ResolvedTrino['residence'] | undefined) ?? 'external',
      lakeCatalog: (get('lakeCatalog') as string | undefined) ?? 'lake',
      lakeRoot: scratch,
    };
  }
  if (!found['default'] && parts?.trino) {
    origins['trino.default.url'] = 'provisioned';
    const residence = parts.trino.found === 'configured' ? 'external' : 'resident';
    found['default'] = { url: parts.trino.url, user: 'spillway', residence, lakeCatalog: 'lake', lakeRoot: scratch };
    if (parts.trino.lakeRoot !== scratch) {
      problems.push(
        `scratch must be ${parts.trino.lakeRoot}, the lake of the running Trino, got ${scratch}. Run \`spillway up\` again.`,
      );
    }
  }
  return found;
}

function postgreses(
  set: Layer,
  parts: SomeParts | undefined,
  origins: Record<string, Origin>,
  problems: string[],
): Record<string, ResolvedPostgres> {
  const found: Record<string, ResolvedPostgres> = {};
  for (const [name, get] of connections('postgres', set, problems)) {
    const password = get('password') as ResolvedSecret | undefined;
    found[name] = { url: get('url') as string, ...(password === undefined ? {} : { password }) };
  }
  if (!found['default'] && parts?.postgres) {
    origins['postgres.default.url'] = 'provisioned';
    const { url, passwordFile } = parts.postgres;
    found['default'] = {
      url,
      ...(passwordFile !== undefined && existsSync(passwordFile)
        ? { password: { literal: readFileSync(passwordFile, 'utf8').trim(), provisioned: true } }
        : {}),
    };
  }
  return found;
}

function thresholds(set: Layer): HandoffThresholds {
  const of = (key: keyof HandoffThresholds): number =>
    (set.get(`handoff.${key}`)?.value as number | undefined) ?? DEFAULT_THRESHOLDS[key];
  return {
    arrowAbove: of('arrowAbove'),
    parquetAbove: of('parquetAbove'),
    parquetAboveWhenContended: of('parquetAboveWhenContended'),
  };
}

/** Files that a step downloads at a time, where nothing else is said. */
const DEFAULT_CONNECTIONS = 4;

function directoriesOf(
  set: Layer,
  pathOf: (key: string, value: string) => string,
  problems: string[],
): Record<string, ResolvedDirectory> {
  const found: Record<string, ResolvedDirectory> = {};
  for (const [name, get] of connections('directories', set, problems, ['path', 'url'])) {
    const path = get('path') as string | undefined;
    const url = get('url') as string | undefined;
    const access = (get('access') as ResolvedDirectory['access'] | undefined) ?? 'read';
    const key = `directories.${name}`;
    if (path !== undefined && url !== undefined) {
      problems.push(`${key} must have a path or a url, got both. Remove one of them.`);
    } else if (url !== undefined) {
      if (access === 'write') problems.push(`${key}.access must be 'read' where a url is given: a web server is only read, got write. Remove it.`); // prettier-ignore
      const token = get('token') as ResolvedSecret | undefined;
      const maxConnections = (get('maxConnections') as number | undefined) ?? DEFAULT_CONNECTIONS;
      found[name] = { url, access: 'read', maxConnections, ...(token && { token }) };
    } else {
      const idle = (['maxConnections', 'token'] as const).filter((field) => get(field) !== undefined);
      for (const field of idle) problems.push(`${key}.${field} goes with a url, and ${key} has a path. Remove it.`);
      found[name] = { path: pathOf(`${key}.path`, path!), access };
    }
  }
  return found;
}

/** The connections that any layer names, each with a reader of its keys; one without an address is a problem. */
function connections(
  group: 'trino' | 'postgres' | 'directories',
  set: Layer,
  problems: string[],
  addresses: readonly ('url' | 'path')[] = ['url'],
): (readonly [name: string, get: (field: string) => unknown])[] {
  const names = new Set<string>();
  for (const key of set.keys()) {
    const [first, name] = key.split('.');
    if (first === group && name !== undefined) names.add(name);
  }
  return [...names].flatMap((name) => {
    const get = (field: string): unknown => set.get(`${group}.${name}.${field}`)?.value;
    if (addresses.some((address) => get(address) !== undefined)) return [[name, get] as const];
    // A wrong address was reported by its layer already.
    const keys = addresses.map((address) => `${group}.${name}.${address}`);
    if (!problems.some((line) => keys.some((key) => line.startsWith(`${key} `)))) {
      const source = [...set].find(([key]) => key.startsWith(`${group}.${name}.`))?.[1].source;
      problems.push(`${keys.join(' or ')} is missing (${source}). Set it, or remove ${group}.${name}.`);
    }
    return [];
  });
}

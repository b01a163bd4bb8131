import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { ResolvedHardware, ResolvedTemporal } from '../config/resolved.ts';
import { SpillwayError } from '../contracts/errors.ts';
import type { PartName, Parts } from '../contracts/parts.ts';
import { PART_NAMES, type StepRuntime } from '../contracts/parts.ts';
import type { Environment } from './command.ts';
import { oneLine } from './command.ts';
import { openCgroupTree } from '../host/cgroup-tree.ts';
import { probeRuntime as probeHost } from '../host/container-runtime.ts';
import type { ContainerRuntime, ProbeRuntime } from './container-runtime.ts';
import { containerRuntime } from './container-runtime.ts';
import { datafusionImage } from './datafusion-image.ts';
import { datafusionProcess } from './datafusion-process.ts';
import { findJava } from './java.ts';
import { withLock } from './lock.ts';
import type { SomeParts } from '../config/parts-file.ts';
import { readParts } from '../config/parts-file.ts';
import { writeParts } from './parts-file.ts';
import type { Places } from './places.ts';
import { homePlaces, makePlaces } from './places.ts';
import { passwordFile, POSTGRES_ACCOUNT, POSTGRES_DATABASE, postgresPlan, probePostgres } from './postgres.ts';
import { postgresBinaries } from './postgres-binaries.ts';
import type { Report } from './progress.ts';
import { bringUpServer } from './server-part.ts';
import { serverUser } from './server-user.ts';
import { probeTemporal, temporalPlan } from './temporal.ts';
import { temporalCli } from './temporal-cli.ts';
import { trinoPlan } from './trino.ts';
import { probeTrino } from './trino-probe.ts';
import { trinoServer } from './trino-server.ts';

/** Parts that somebody else runs; they are looked at, never started. */
export interface ConfiguredParts {
  readonly temporal?: Pick<ResolvedTemporal, 'address' | 'namespace' | 'ui' | 'access'>;
  readonly trino?: { readonly url: string; readonly lakeRoot: string };
  readonly postgres?: { readonly url: string; readonly password?: string };
  readonly image?: Omit<Parts['image'], 'found'>;
  /** The only runtime of steps that will do. @defaultValue that of the profile: containers where they can be had, else processes */
  readonly runtime?: StepRuntime;
}

export interface BringUpOptions {
  /** Folder of downloads, data, logs and what runs; nothing but system packages is written elsewhere. */
  readonly home: string;
  readonly hardware: ResolvedHardware;
  /** Whether missing system packages may be installed, when we are root. */
  readonly systemPackages: boolean;
  readonly report: Report;
  /** Where programs are looked for, and what the programs that fetch get; servers get none of it but PATH. */
  readonly env: Environment;
  /** Only these parts. @defaultValue all */
  readonly only?: readonly PartName[];
  /** Downloads, where several homes share them. @defaultValue `cache` in the home */
  readonly cacheDir?: string;
  /** The one scratch root. @defaultValue `scratch` in the home */
  readonly scratch?: string;
  /** Namespace of a Temporal that is started. @defaultValue 'default' */
  readonly namespace?: string;
  readonly configured?: ConfiguredParts;
  /** How a container runtime is found to work. @defaultValue by starting a container that only exits */
  readonly probeRuntime?: ProbeRuntime;
}

/**
 * Brings up every part that Spillway needs and answers where they are; what runs already is kept.
 *
 * Parts come up side by side, each in the order configured, on PATH, in the container runtime, fetched. Two calls for the
 * same home take turns; a call may be killed at any point and made again. Raises one `SpillwayError('EngineUnreachable')`
 * with a line for each part that could not be had; the others stay up.
 *
 * The servers outlive the caller; `takeDown` stops them.
 */
export async function bringUp(options: BringUpOptions & { readonly only: readonly PartName[] }): Promise<SomeParts>;
export async function bringUp(options: Omit<BringUpOptions, 'only'>): Promise<Parts>;
export async function bringUp(options: BringUpOptions): Promise<SomeParts> {
  const places = homePlaces(options.home, options.cacheDir);
  makePlaces(places);
  return withLock(
    join(places.home, 'up'),
    () => bringUpAlone(places, options),
    () =>
      options.report({
        part: 'system',
        what: 'waiting',
        text: `another process brings up or takes down ${places.home}`,
      }),
  );
}

async function bringUpAlone(places: Places, options: BringUpOptions): Promise<SomeParts> {
  const scratch = options.scratch ?? join(places.home, 'scratch');
  mkdirSync(scratch, { recursive: true });
  const parts: SomeParts = { ...readParts(places.home), scratch };
  const ports = new Set<number>();
  const makers = { temporal, trino, postgres, image } satisfies { [Name in PartName]: PartMaker<Name> };
  const names = options.only ?? PART_NAMES;
  const failures: string[] = [];
  const bring = async <Name extends PartName>(name: Name, make: PartMaker<Name>): Promise<void> => {
    try {
      parts[name] = await make({ places, scratch, ports, ...options });
    } catch (error) {
      delete parts[name];
      failures.push(failureLine(name, error));
      options.report({ part: name, what: 'failed', text: failures.at(-1) ?? '' });
    }
    writeParts(places.home, parts); // after each, so that a caller killed now loses nothing
  };
  await Promise.all(names.map((name) => bring(name, makers[name] as PartMaker<typeof name>)));
  if (failures.length > 0) throw new SpillwayError('EngineUnreachable', failures.sort().join('\n'));
  return parts;
}

interface PartOrder extends BringUpOptions {
  readonly places: Places;
  readonly scratch: string;
  readonly ports: Set<number>;
}
type PartMaker<Name extends PartName> = (order: PartOrder) => Promise<Parts[Name]>;

const TITLES: Record<PartName, { title: string; instead: string }> = {
  temporal: { title: 'Temporal', instead: 'set temporal.address' },
  trino: { title: 'Trino', instead: 'set trino.default.url' },
  postgres: { title: 'PostgreSQL', instead: 'set postgres.default.url' },
  image: { title: 'DataFusion image', instead: 'set runtime.image' },
};

/** `Trino: no Java >= 24 found and …. Install a JDK 25 or set trino.default.url.` */
export function failureLine(name: PartName, error: unknown): string {
  const { title, instead } = TITLES[name];
  const what = oneLine(error).replace(/\.$/, '');
  // A cause that names its own mend gets the other way out appended; any other gets this one alone.
  return /\. (Install|Give|Try|Remove)\b/.test(what)
    ? `${title}: ${what} or ${instead}.`
    : `${title}: ${what}. Mend that, or ${instead}.`;
}

async function temporal({
  places,
  env,
  report,
  ports,
  configured,
  namespace = 'default',
}: PartOrder): Promise<Parts['temporal']> {
  if (configured?.temporal) {
    const { access, ...given } = configured.temporal; // the parts file must not hold a key
    const version = await probeTemporal(given.address, given.namespace, access);
    report({ part: 'temporal', what: 'found', text: `Temporal ${version} at ${given.address}, as configured` });
    return { ui: '', ...given, version, found: 'configured' };
  }
  const cli = await temporalCli(places.cache, env, report);
  const server = await bringUpServer(places, temporalPlan(places, cli, namespace, env), report, ports);
  return {
    address: `127.0.0.1:${server.ports['grpc']}`,
    ui: `http://127.0.0.1:${server.ports['ui']}`,
    namespace,
    version: server.version,
    ...server.process,
    found: server.found,
    cli: cli.path,
  };
}

async function trino({
  places,
  env,
  report,
  ports,
  configured,
  hardware,
  scratch,
}: PartOrder): Promise<Parts['trino']> {
  const given = configured?.trino;
  if (given) {
    const version = await probeTrino(given.url, 'select count(*) from system.runtime.nodes');
    report({ part: 'trino', what: 'found', text: `Trino ${version} at ${given.url}, as configured` });
    return { ...given, version, found: 'configured' };
  }
  const [java, directory] = await Promise.all([
    findJava(places.cache, env, report),
    trinoServer(places.cache, env, report),
  ]);
  const plan = trinoPlan(places, { server: directory, java, hardware, scratch, env });
  const server = await bringUpServer(places, plan, report, ports);
  return {
    url: `http://127.0.0.1:${server.ports['http']}`,
    version: server.version,
    ...server.process,
    found: server.found,
    lakeRoot: scratch,
  };
}

async function postgres({ places, env, report, ports, configured, hardware }: PartOrder): Promise<Parts['postgres']> {
  const given = configured?.postgres;
  if (given) {
    const version = await probePostgres(given.url, given.password);
    report({ part: 'postgres', what: 'found', text: `PostgreSQL ${version}, as configured` });
    return { url: given.url, version, found: 'configured' };
  }
  const binaries = await postgresBinaries(places.cache, env, report);
  const plan = postgresPlan(places, { binaries, hardware, user: serverUser(), env });
  const server = await bringUpServer(places, plan, report, ports);
  return {
    url: `postgres://${POSTGRES_ACCOUNT}@127.0.0.1:${server.ports['sql']}/${POSTGRES_DATABASE}`,
    version: server.version,
    ...server.process,
    found: server.found,
    passwordFile: passwordFile(places),
  };
}

async function image(order: PartOrder): Promise<Parts['image']> {
  const { places, env, report, configured, hardware, systemPackages, probeRuntime = probeHost } = order;
  const kind = configured?.runtime;
  if (configured?.image) return { ...configured.image, found: 'configured' };
  const known = readParts(places.home)?.image;
  if (kind === 'process') return runnerProcess(order, 'as configured');
  if (kind === undefined && hardware.stepsRunAs === 'process')
    return runnerProcess(order, `profile ${hardware.profile}`);
  let runtime: ContainerRuntime;
  try {
    const options = { systemPackages, env, report, ...(known && { known }), ...(kind && { kind }) };
    runtime = await containerRuntime(probeRuntime, options);
  } catch (error) {
    if (kind !== undefined) throw error; // somebody wants this one
    return runnerProcess(order, oneLine(error));
  }
  const { name, found } = await datafusionImage(runtime, places.tmp, env, report);
  report({
    part: 'image',
    what: found === 'fetched' ? 'ready' : 'kept',
    text: `${name} in ${runtime.kind} ${runtime.version}`,
  });
  return { runtime: runtime.kind, version: runtime.version, flags: runtime.flags, name, found };
}

/** DataFusion without containers, and what that weakens. */
async function runnerProcess({ places, env, report }: PartOrder, because: string): Promise<Parts['image']> {
  const { name, found } = await datafusionProcess(places.cache, env, report);
  const cgroups = await openCgroupTree();
  const memory = cgroups.version === 'none' ? 'looked at every 50 ms' : `held by cgroup ${cgroups.version}`;
  report({
    part: 'image',
    what: found === 'fetched' ? 'ready' : 'kept',
    text: `DataFusion runs in processes of this user, not in containers (${because.replace(/\.$/, '')}): memory is ${memory}, network and files are not shut off`,
  });
  return { runtime: 'process', version: '', flags: [], name, found };
}

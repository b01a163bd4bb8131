import type { HandoffChoice } from '../contracts/handoff.ts';
import {
  type FilesStep,
  MOST_FILES,
  type PostgresLoadStep,
  type PostgresSqlStep,
  type StepSpec,
  type TransformStep,
  type TrinoQueryStep,
  type Verb,
  type WriteStep,
} from '../contracts/pipeline.ts';
import type { Measured, PlannedStep, Rung } from '../contracts/plan.ts';
import { type StepHistory, Weight } from '../contracts/pool.ts';
import type { HandoffThresholds } from './handoff-mode.ts';
import { nearestName } from './nearest-name.ts';
import { ladderFrom, rungs, SMALLEST_RUNG_BYTES, type RungSizes } from './rungs.ts';
import { formatBoth, formatBytes, MiB, parseBytes } from './sizes.ts';

/** What a plan is made from besides the steps: numbers of the host and of the pool at this moment. */
export interface PlanFacts {
  pool: string;
  lendableBytes: number;
  lentBytes: number;
  /** Rows that are kept in memory, of all runs. @defaultValue 0 */
  inMemoryBytes?: number;
  /** Room on the host's tmpfs. @defaultValue 0 */
  shmFreeBytes?: number;
  /** Another run's heavy step runs or waits. */
  otherHeavy: boolean;
  rungSizes: RungSizes;
  /** Where the mode of a handoff changes. @defaultValue DEFAULT_THRESHOLDS */
  thresholds?: HandoffThresholds;
  lightStepBytes: number;
  stepScratchBytes: number;
  /** Configured connections by name; a Trino's memory is lent only when it is resident. */
  trino: Record<string, { queryBytes: number; resident: boolean }>;
  postgres: readonly string[];
  /** Absent where nobody knows them, and steps that name one are not checked. */
  directories?: Readonly<Record<string, { access: 'read' | 'write'; url?: string }>>;
  /** Registered transforms; absent where nobody knows them, and steps that name one are not checked. */
  transforms?: readonly string[];
  searchAttributes: boolean;
  /** What the pool remembers of this pipeline's steps, by {@link historyKey}. */
  histories?: Readonly<Record<string, StepHistory>>;
}

/** What a step is lent, before its weight is looked at. */
export interface Sized {
  charge: PlannedStep['charge'];
  ladder: Rung[];
  because: string;
  measured?: Measured;
}
const UNSIZED: Sized = { charge: 'lease', ladder: [], because: '' };

/**
 * Sizes to try for a step. What cannot be had is added to `problems`.
 * @param handoff how the rows that a sink or transform reads reach it
 * @param source the verb that makes them
 */
export function sizeStep(
  spec: StepSpec,
  handoff: HandoffChoice | undefined,
  facts: PlanFacts,
  problems: string[],
  source?: Verb,
): Sized {
  switch (spec.verb) {
    case 'trino.query':
      return sizeTrino(spec, facts, problems);
    case 'datafusion.sql':
      return sizeContainer(spec, facts, problems);
    case 'transform':
      return sizeTransform(spec, handoff?.mode === 'parquet', facts, problems);
    case 'postgres.load':
      return sizeLoad(spec, handoff?.mode === 'parquet', facts, problems);
    case 'postgres.sql':
      return sizeStatement(spec, facts, problems);
    case 'files':
      return sizeFiles(spec, facts, problems);
    case 'write.parquet':
    case 'write.arrow':
      return sizeWrite(spec, source === 'trino.query' ? undefined : handoff, facts, problems);
  }
}

/** Whether the server that a step names is configured. */
function checkPostgres(spec: PostgresLoadStep | PostgresSqlStep, facts: PlanFacts, problems: string[]): boolean {
  const connection = spec.connection ?? 'default';
  if (facts.postgres.includes(connection)) return true;
  problems.push(
    `${spec.step}: no PostgreSQL named '${connection}' is configured. ${configured('postgres', connection, facts.postgres)}`,
  );
  return false;
}

function sizeLoad(spec: PostgresLoadStep, decodes: boolean, facts: PlanFacts, problems: string[]): Sized {
  if (!checkPostgres(spec, facts, problems)) return UNSIZED;
  const asked = spec.memory ?? spec.profile;
  const light = spec.weight !== Weight.HEAVY;
  if (decodes) {
    if (asked !== undefined) return sizeContainer(spec, facts, problems);
    const bytes = Math.min(SMALLEST_RUNG_BYTES, facts.lendableBytes);
    return {
      charge: 'lease',
      ladder: [{ name: 'decode', bytes }],
      because: 'Parquet is decoded in a container of its own while it is loaded',
    };
  }
  const sized = asked === undefined ? undefined : sizeAsked(spec, facts, problems);
  const bytes = Math.max(sized?.ladder[0]?.bytes ?? 0, facts.lightStepBytes);
  // The allowance is the light slots'; what runs elsewhere or needs more is lent its own.
  if (light && bytes <= facts.lightStepBytes) {
    return {
      charge: 'allowance',
      ladder: [{ name: 'allowance', bytes }],
      because: 'Arrow batches stream through the worker within its light allowance',
    };
  }
  return sized && bytes > facts.lightStepBytes
    ? sized
    : {
        charge: 'lease',
        ladder: [{ name: 'stream', bytes }],
        because: 'Arrow batches stream through the worker, while no other heavy step runs',
      };
}

/** The server works in memory of its own. */
function sizeStatement(spec: PostgresSqlStep, facts: PlanFacts, problems: string[]): Sized {
  checkPostgres(spec, facts, problems);
  for (const key of ['memory', 'profile', 'weight'] as const)
    if (spec[key] !== undefined) problems.push(`${spec.step}.${key} does not apply to postgres.sql, which runs in the server, got ${spec[key]}. Remove it.`); // prettier-ignore
  return allowance(facts, 'the statement runs in the server');
}

function sizeFiles(spec: FilesStep, facts: PlanFacts, problems: string[]): Sized {
  checkDirectory(spec, 'read', facts, problems);
  for (const key of ['memory', 'profile', 'weight'] as const)
    if (spec[key] !== undefined) problems.push(`${spec.step}.${key} does not apply to files, which are read by the steps that use them, got ${spec[key]}. Remove it.`); // prettier-ignore
  const name = spec.directory ?? 'default';
  if (!isDownloaded(spec, facts)) return allowance(facts, 'looks which files are there');
  const paths = [spec.path].flat();
  if (paths.length > MOST_FILES) problems.push(`${spec.step}.path may name ${MOST_FILES} files at most, got ${paths.length}. Name fewer, in several steps.`); // prettier-ignore
  const patterns = paths.filter((path) => /[*?{}[\]]/.test(path));
  if (patterns.length > 0)
    problems.push(`${spec.step}.path must name each file of directory '${name}': a web server does not say which there are, got ${patterns.join(', ')}. Name them.`); // prettier-ignore
  return {
    charge: 'lease', // for the scratch that they take
    ladder: [{ name: 'download', bytes: Math.min(DOWNLOAD_BYTES, facts.lendableBytes) }],
    because: `files of ${name} are downloaded through the worker`,
  };
}

/** What downloads hold between network and disk: up to 64 of them, each some hundred KiB. */
const DOWNLOAD_BYTES = 64 * MiB;

/** Whether what a step reads lies on a web server, as far as that is known. */
export function isDownloaded(spec: FilesStep, { directories = {} }: Pick<PlanFacts, 'directories'>): boolean {
  const name = spec.directory ?? 'default';
  return Object.hasOwn(directories, name) && directories[name]!.url !== undefined;
}

/** Files of the wanted kind are copied; others are written anew in a container. So is an empty result of Trino, which leaves no file: it asks for that container at all times. */
function sizeWrite(spec: WriteStep, handoff: HandoffChoice | undefined, facts: PlanFacts, problems: string[]): Sized {
  checkDirectory(spec, 'write', facts, problems);
  const asked = spec.memory !== undefined || spec.profile !== undefined;
  if (copiesFiles(spec.verb, handoff) && !asked && spec.weight !== Weight.HEAVY) return allowance(facts, 'files of this kind are copied as they are'); // prettier-ignore
  if (asked) return sizeContainer(spec, facts, problems);
  const bytes = Math.min(SMALLEST_RUNG_BYTES, facts.lendableBytes);
  const because = handoff
    ? `${handoff.mode} is written anew in a container`
    : 'in a container, should the query find no rows';
  return { charge: 'lease', ladder: [{ name: 'encode', bytes }, ...rungs(facts.rungSizes, facts.lendableBytes).filter((rung) => rung.bytes > bytes)], because }; // prettier-ignore
}

const copiesFiles = (verb: WriteStep['verb'], handoff: HandoffChoice | undefined): boolean =>
  verb === 'write.parquet' ? handoff?.mode === 'parquet' : handoff?.mode === 'arrow' || handoff?.mode === 'shm';

const allowance = ({ lightStepBytes }: PlanFacts, because: string): Sized => ({
  charge: 'allowance',
  ladder: [{ name: 'allowance', bytes: lightStepBytes }],
  because,
});

function checkDirectory(
  spec: FilesStep | WriteStep,
  access: 'read' | 'write',
  facts: PlanFacts,
  problems: string[],
): void {
  // prettier-ignore
  const { directories } = facts;
  if (directories === undefined) return;
  const name = spec.directory ?? 'default';
  const found = Object.hasOwn(directories, name) ? directories[name] : undefined;
  if (!found) {
    const known = Object.keys(directories);
    const mend = known.length === 0 ? `Set directories.${name}.path, or its url, in the configuration.` : configured('directories', name, known); // prettier-ignore
    problems.push(`${spec.step}: no directory named '${name}' is configured. ${mend}`);
  } else if (access === 'write' && found.url !== undefined) {
    problems.push(`${spec.step}: directory '${name}' is a web server, which is only read. Write to one that has a path.`); // prettier-ignore
  } else if (access === 'write' && found.access !== 'write') {
    problems.push(`${spec.step}: directory '${name}' may only be read. Set directories.${name}.access to 'write' in the configuration.`); // prettier-ignore
  }
}

/** A process of Node with Arrow takes some 90 MB before the first batch. */
const SMALLEST_TRANSFORM_BYTES = 256 * MiB;

/** Least that a transform is lent. */
export const leastTransformBytes = (decodes: boolean): number => SMALLEST_TRANSFORM_BYTES + besideTransform(decodes);
const besideTransform = (decodes: boolean): number => (decodes ? SMALLEST_RUNG_BYTES : 0);

/** What of a transform's lease is its own, and not of the container that decodes its input. */
export const ownTransformBytes = (leaseBytes: number, decodes: boolean): number =>
  leaseBytes - besideTransform(decodes);

function sizeTransform(spec: TransformStep, decodes: boolean, facts: PlanFacts, problems: string[]): Sized {
  if (facts.transforms !== undefined && !facts.transforms.includes(spec.run)) {
    const near = nearestName(spec.run, facts.transforms);
    const known = facts.transforms.length === 0 ? 'Name their module with transforms in the configuration.' : `Known: ${facts.transforms.join(', ')}.`; // prettier-ignore
    problems.push(
      `${spec.step}.run must be a transform that is registered, got ${spec.run}. ${near === undefined ? known : `Did you mean ${near}?`}`,
    );
    return UNSIZED;
  }
  const least = leastTransformBytes(decodes);
  const beside = decodes ? ', and a container that decodes its Parquet' : '';
  const bytes = spec.memory === undefined ? undefined : parseBytes(spec.memory);
  if (bytes !== undefined && bytes < least) {
    problems.push(
      `${spec.step}.memory must be at least ${formatBytes(least)} (a process of its own${beside}), got ${spec.memory}. Raise it, or remove the key.`,
    );
  }
  if (spec.memory !== undefined || spec.profile !== undefined) return sizeAsked(spec, facts, problems, least);
  const first = Math.min(least + Math.max(0, facts.lightStepBytes - SMALLEST_TRANSFORM_BYTES), facts.lendableBytes);
  return {
    charge: 'lease',
    ladder: [{ name: 'stream', bytes: first }, ...rungs(facts.rungSizes, facts.lendableBytes).filter((rung) => rung.bytes > first)], // prettier-ignore
    because: `Arrow batches stream through a process of its own${beside}`,
  };
}

function sizeTrino(spec: TrinoQueryStep, facts: PlanFacts, problems: string[]): Sized {
  const name = spec.connection ?? 'default';
  const trino = Object.hasOwn(facts.trino, name) ? facts.trino[name] : undefined;
  if (!trino) {
    problems.push(
      `${spec.step}: no Trino named '${name}' is configured. ${configured('trino', name, Object.keys(facts.trino))}`,
    );
    return UNSIZED;
  }
  for (const key of ['memory', 'profile'] as const) {
    if (spec[key] === undefined) continue;
    problems.push(
      `${spec.step}.${key} does not apply to trino.query, because a Trino server has one size, got ${spec[key]}. Remove it; set trino.${name} in the configuration instead.`,
    );
  }
  return trino.resident
    ? {
        charge: 'lease',
        ladder: [{ name: 'server', bytes: trino.queryBytes }],
        because: 'what the resident Trino may grow by over its floor',
      }
    : {
        charge: 'lease',
        ladder: [{ name: 'external', bytes: 0 }],
        because: 'an external Trino uses memory of its own',
      };
}

function sizeContainer(spec: StepSpec, facts: PlanFacts, problems: string[]): Sized {
  const bytes = spec.memory === undefined ? undefined : parseBytes(spec.memory);
  if (bytes !== undefined && bytes < SMALLEST_RUNG_BYTES) {
    problems.push(
      `${spec.step}.memory must be at least 600 MB (${SMALLEST_RUNG_BYTES} bytes; below it DataFusion is killed instead of spilling), got ${spec.memory}. Raise it, or remove the key for profile S.`,
    );
  }
  return sizeAsked(spec, facts, problems);
}

/** Sizes to try from what a step asks for: its memory, else its profile. */
function sizeAsked(spec: StepSpec, facts: PlanFacts, problems: string[], leastBytes = 0): Sized {
  const ladder = rungs(facts.rungSizes, facts.lendableBytes).filter((rung) => rung.bytes >= leastBytes);
  const bytes = spec.memory === undefined ? undefined : parseBytes(spec.memory);
  if (bytes === undefined) {
    const start = spec.profile ?? 'S';
    return {
      charge: 'lease',
      ladder: ladderFrom(ladder, start),
      because: `profile ${start}${spec.profile ? '' : ' by default'}`,
    };
  }
  if (bytes > facts.lendableBytes) {
    const [most] = formatBoth(facts.lendableBytes, bytes);
    problems.push(
      `${spec.step}.memory must be at most ${most} (what pool ${facts.pool} can lend), got ${spec.memory}. Ask for less, or enlarge the pool.`,
    );
  }
  const larger = ladder.filter((rung) => rung.bytes > bytes);
  return {
    charge: 'lease',
    ladder: [{ name: 'declared', bytes }, ...larger],
    because: `${formatBytes(bytes)} declared`,
  };
}

const configured = (part: string, name: string, known: readonly string[]): string => {
  if (known.length === 0) return `Run \`spillway up\`, or set ${part}.${name} in the configuration.`;
  const near = nearestName(name, known);
  return near === undefined
    ? `Choose one that is: ${known.join(', ')}.`
    : `Did you mean '${near}'? Configured: ${known.join(', ')}.`;
};

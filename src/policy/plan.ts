import { listProblems, SpillwayError } from '../contracts/errors.ts';
import { type HandoffChoice, HandoffMode } from '../contracts/handoff.ts';
import type { PipelineSpec, StepSpec, Verb } from '../contracts/pipeline.ts';
import type { FurtherOutput, PlannedStep, Rung, RunPlan } from '../contracts/plan.ts';
import { historyKey, TaskQueue, Weight } from '../contracts/pool.ts';
import { fuse, fusedQuery, type Fusion, inputsOfQuery } from './fuse.ts';
import { formatOfFiles, isSink, sourcesOf, stepsFor } from './graph.ts';
import { chooseHandoff, type HandoffReader, type HandoffWriter } from './handoff-mode.ts';
import { type Known, learnedSize } from './learned-size.ts';
import { SMALLEST_RUNG_BYTES } from './rungs.ts';
import { formatBoth, MiB, parseBytes, parseDurationMs } from './sizes.ts';
import { expectedOutputBytes, measuredOverhead } from './step-history.ts';
import { isDownloaded, leastTransformBytes, type PlanFacts, sizeStep } from './step-size.ts';

export type { PlanFacts } from './step-size.ts';

const DEFAULT_WEIGHT: Record<Verb, Weight> = {
  'trino.query': Weight.HEAVY,
  'datafusion.sql': Weight.HEAVY,
  transform: Weight.LIGHT,
  files: Weight.LIGHT,
  'postgres.load': Weight.LIGHT,
  'postgres.sql': Weight.LIGHT,
  'write.parquet': Weight.LIGHT,
  'write.arrow': Weight.LIGHT,
};
const ENGINE: Record<Verb, string> = {
  'trino.query': 'Trino',
  'datafusion.sql': 'DataFusion',
  transform: 'TypeScript',
  files: 'files',
  'postgres.load': 'PostgreSQL',
  'postgres.sql': 'PostgreSQL',
  'write.parquet': 'Parquet',
  'write.arrow': 'Arrow',
};
const WRITER: Partial<Record<Verb, HandoffWriter>> = {
  'trino.query': 'trino',
  'datafusion.sql': 'datafusion',
  transform: 'transform',
};

const READER: Partial<Record<Verb, HandoffReader>> = {
  'datafusion.sql': 'datafusion',
  transform: 'transform',
  'postgres.load': 'postgres',
  'write.parquet': 'write.parquet',
  'write.arrow': 'write.arrow',
};

/** Verbs for which Parquet is decoded in a container of its own. */
const DECODES: readonly Verb[] = ['transform', 'postgres.load', 'write.arrow'];

const sizeOf = ({
  charge,
  rungs,
  history,
  measured,
  scratchBytes,
  because,
}: PlannedStep): NonNullable<PlannedStep['ifParquet']> => ({
  ...{ charge, rungs, scratchBytes, because },
  ...(history !== undefined && { history }),
  ...(measured && { measured }),
});

const DEFAULT_START_TO_CLOSE_MS = 2 * 3_600_000;
/** A dead worker is noticed after this long; cancellation reaches an attempt sooner, with the worker's throttle of 5 s. */
const HEARTBEAT_MS = 20_000;
const DEFAULT_ATTEMPTS = 4;
const DEFAULT_INITIAL_INTERVAL_MS = 1_000;

/** A checked pipeline. */
export interface ReadPipeline extends PipelineSpec {
  sinks: string[];
  /** Handoffs decided by an earlier plan of the same run; absent for a pipeline that came whole, as data. */
  decided?: Record<string, HandoffChoice>;
}

/**
 * Decides everything about a run that may be decided before it: queues, sizes to try, scratch, handoffs.
 * @throws SpillwayError `InvalidInput` when a step cannot be had on this host, all of them at once
 */
export function planSteps(pipeline: ReadPipeline, facts: PlanFacts): RunPlan {
  const wanted = stepsFor(pipeline.sinks, pipeline.steps);
  const problems: string[] = [];
  const handoffs = new Map<string, HandoffChoice>();
  const steps: PlannedStep[] = [];
  let inMemoryBytes = facts.inMemoryBytes ?? 0;
  const fusion = fuse(wanted, pipeline.decided);
  const { into } = fusion;
  const fused: NonNullable<RunPlan['fused']> = [];
  /** Steps that have a reader which could not be had with Parquet. */
  const noParquet = new Set<string>();
  for (const spec of wanted) {
    const known = facts.histories?.[historyKey(pipeline.name, spec.step)];
    const estimatedBytes = known && expectedOutputBytes(known);
    const readers = wanted
      .filter((other) => sourcesOf(other).includes(spec.step))
      .flatMap(({ verb }) => READER[verb] ?? []);
    const handoff =
      pipeline.decided?.[spec.step] ?? handoffOf(spec, { facts, inMemoryBytes, estimatedBytes, readers, fusion });
    if (handoff) handoffs.set(spec.step, handoff);
    const reader = into.get(spec.step);
    if (reader !== undefined) {
      fused.push({ step: spec.step, into: reader, because: handoff!.because });
      continue;
    }
    const source = wanted.find(({ step }) => step === sourcesOf(spec)[0])?.verb;
    const planned = planStep(pipeline.name, spec, { handoff, handoffs, estimatedBytes, source }, facts, problems);
    inMemoryBytes += planned?.shmBytes ?? 0;
    if (!planned) continue;
    const from = DECODES.includes(spec.verb) ? sourcesOf(spec)[0]! : undefined;
    const read = from === undefined ? undefined : handoffs.get(from);
    if (from === undefined || read?.parquetPastBytes === undefined) {
      steps.push(withFused(planned, wanted, fusion));
      continue;
    }
    const parquet = new Map(handoffs).set(from, { ...read, mode: HandoffMode.PARQUET });
    const ifParquet = planStep(pipeline.name, spec, { handoff, handoffs: parquet, estimatedBytes, source }, facts, []);
    if (!ifParquet) noParquet.add(from);
    steps.push(ifParquet ? { ...planned, ifParquet: sizeOf(ifParquet) } : planned);
  }
  for (const source of steps) if (noParquet.has(source.step)) delete source.handoff!.parquetPastBytes;
  if (problems.length > 0) {
    throw new SpillwayError('InvalidInput', `${pipeline.name}: ${listProblems(problems)}`);
  }
  // In a workflow a later sink may still read them; there the runner warns at the end.
  const unread = pipeline.decided ? [] : pipeline.steps.filter((step) => !wanted.includes(step) && !isSink(step.verb));
  return {
    planVersion: 1,
    pool: facts.pool,
    steps: steps.map((step) => withFurther(step, steps, fusion)),
    sinks: pipeline.sinks,
    ...(fused.length > 0 && { fused }),
    warnings: unread.map((step) => `${step.step} (${step.verb}) is read by nobody and is not computed.`),
    searchAttributes: facts.searchAttributes,
  };
}

/** A step with the statements whose rows go into its own. */
function withFused(planned: PlannedStep, steps: readonly StepSpec[], { into, madeWith }: Fusion): PlannedStep {
  if (planned.spec.verb !== 'datafusion.sql') return planned;
  const fused = fusedQuery(planned.spec, steps, into);
  if (Object.values(fused.from).every((source) => typeof source === 'string')) return planned;
  const first = madeWith.get(planned.step);
  return {
    ...planned,
    fused,
    ...(first !== undefined && { madeWith: first }),
    needs: [...new Set(inputsOfQuery(fused).map(([, source]) => source))],
  };
}

/** A step with what its container hands over beside its own rows. It waits for what all of them read. */
function withFurther(planned: PlannedStep, steps: readonly PlannedStep[], { madeWith }: Fusion): PlannedStep {
  const others = steps.filter(({ step }) => madeWith.get(step) === planned.step);
  if (others.length === 0) return planned;
  return {
    ...planned,
    further: others.map(({ step, fused, handoff }): FurtherOutput => ({ step, query: fused!, handoff: handoff! })),
    needs: [...new Set([planned, ...others].flatMap(({ needs }) => needs))],
  };
}

function handoffOf(
  spec: StepSpec,
  of: {
    facts: PlanFacts;
    inMemoryBytes: number;
    estimatedBytes: number | undefined;
    readers: HandoffReader[];
    fusion: Fusion;
  },
): HandoffChoice | undefined {
  const { facts, inMemoryBytes, estimatedBytes, readers, fusion } = of;
  if (spec.verb === 'files')
    return {
      mode: formatOfFiles(spec)!,
      because: isDownloaded(spec, facts)
        ? 'files as they were downloaded'
        : 'files that are there, read where they lie',
    };
  const several = fusion.madeWith.has(spec.step) || [...fusion.madeWith.values()].includes(spec.step);
  const writer = several ? 'datafusion, several' : WRITER[spec.verb];
  if (writer === undefined) return undefined;
  return chooseHandoff(
    {
      ...{ writer, readers, inMemoryBytes },
      ...(estimatedBytes !== undefined && { estimatedBytes }),
      lendableBytes: facts.lendableBytes,
      freeBytes: facts.lendableBytes - facts.lentBytes,
      shmFreeBytes: facts.shmFreeBytes ?? 0,
      otherHeavy: facts.otherHeavy,
      checkpoint: 'checkpoint' in spec && spec.checkpoint !== undefined && spec.checkpoint !== false,
      restart: false,
      sameProcessReader: false,
      fusable: fusion.into.has(spec.step),
    },
    facts.thresholds,
  );
}

function planStep(
  pipeline: string,
  spec: StepSpec,
  rows: {
    handoff: HandoffChoice | undefined;
    handoffs: ReadonlyMap<string, HandoffChoice>;
    source: Verb | undefined;
    estimatedBytes: number | undefined;
  },
  facts: PlanFacts,
  problems: string[],
): PlannedStep | undefined {
  const { handoff, handoffs, estimatedBytes, source } = rows;
  const before = problems.length;
  const weight = spec.weight ?? DEFAULT_WEIGHT[spec.verb];
  const reads = handoffs.get('from' in spec && typeof spec.from === 'string' ? spec.from : spec.step);
  const sized = sizeStep(spec, reads, facts, problems, source);
  const first = sized.ladder[0];
  const madeLight = weight === Weight.LIGHT && DEFAULT_WEIGHT[spec.verb] === Weight.HEAVY;
  if (first && madeLight && first.bytes > facts.lightStepBytes) {
    const [allowed, asked] = formatBoth(facts.lightStepBytes, first.bytes);
    problems.push(
      `${spec.step}.weight light allows ${allowed} (light.stepBytes), and ${spec.verb} asks ${asked}. Remove weight, to run it as a heavy step.`,
    );
  }
  if (!first || problems.length > before) return undefined;
  const history = historyKey(pipeline, spec.step);
  // Nor may it climb past what a light step may have.
  const allowed = madeLight ? sized.ladder.filter(({ bytes }) => bytes <= facts.lightStepBytes) : sized.ladder;
  const remembered = facts.histories?.[history];
  const learned = learnedSize({ ...sized, ladder: allowed }, { history: remembered, ...bounds(spec, reads) });
  const overhead = spec.verb === 'datafusion.sql' && remembered ? measuredOverhead(remembered) : undefined;
  const { charge, measured, because } = learned;
  const kept = keptInMemory(learned.ladder, handoff, estimatedBytes, facts);
  return {
    step: spec.step,
    spec,
    weight,
    taskQueue: weight === Weight.HEAVY ? TaskQueue.heavy(facts.pool) : TaskQueue.light(facts.pool),
    charge,
    rungs: kept.rungs,
    ...(kept.shmBytes !== undefined && { shmBytes: kept.shmBytes }),
    ...(charge === 'lease' && { history }),
    ...(measured && { measured }),
    ...(overhead && { overhead }),
    scratchBytes:
      charge === 'allowance' ? 0 : (parseBytes(spec.scratch ?? facts.stepScratchBytes) ?? facts.stepScratchBytes),
    priority: spec.priority ?? 3,
    needs: sourcesOf(spec),
    ...(kept.handoff ? { handoff: kept.handoff } : {}),
    startToCloseMs: parseDurationMs(spec.startToClose ?? DEFAULT_START_TO_CLOSE_MS) ?? DEFAULT_START_TO_CLOSE_MS,
    heartbeatMs: HEARTBEAT_MS,
    maximumAttempts: spec.retry?.maximumAttempts ?? DEFAULT_ATTEMPTS,
    initialIntervalMs:
      parseDurationMs(spec.retry?.initialInterval ?? DEFAULT_INITIAL_INTERVAL_MS) ?? DEFAULT_INITIAL_INTERVAL_MS,
    ...(residentEngine(spec, facts) ?? {}),
    engine: ENGINE[spec.verb],
    because,
  };
}

/**
 * What a step asks for rows that it keeps in memory, beside each of its rungs; with both it must fit into what can be lent. A small step's rows
 * may take no more than its engine leaves: else they go to disk, as those of an unknown size do.
 */
function keptInMemory(
  ladder: Rung[],
  handoff: HandoffChoice | undefined,
  estimatedBytes: number | undefined,
  { lendableBytes }: PlanFacts,
): { rungs: Rung[]; handoff: HandoffChoice | undefined; shmBytes?: number } {
  if (handoff?.mode !== HandoffMode.SHM || estimatedBytes === undefined) return { rungs: ladder, handoff };
  const shmBytes = Math.max(1, Math.ceil(estimatedBytes / MiB)) * MiB;
  const most = lendableBytes - shmBytes;
  if (ladder[0]!.bytes > most) {
    const [first, can] = formatBoth(ladder[0]!.bytes + shmBytes, lendableBytes);
    const because = `${handoff.because}; arrow stands in for shm: with its engine it would be ${first} of ${can}`;
    return { rungs: ladder, handoff: { ...handoff, mode: HandoffMode.ARROW, because } };
  }
  const fitting = ladder.filter(({ bytes }) => bytes <= most);
  const cut = ladder.find(({ bytes }) => bytes > most);
  // What is left of the largest rung is still more than the one before it.
  const last = cut !== undefined && most > fitting.at(-1)!.bytes ? [{ name: cut.name, bytes: most }] : [];
  return { rungs: [...fitting, ...last], handoff, shmBytes };
}

function bounds(spec: StepSpec, reads: HandoffChoice | undefined): Omit<Known, 'history'> {
  const decodes = spec.verb === 'transform' && reads?.mode === 'parquet';
  return {
    verb: spec.verb,
    besideBytes: decodes ? SMALLEST_RUNG_BYTES : 0,
    leastBytes: spec.verb === 'transform' ? leastTransformBytes(decodes) : SMALLEST_RUNG_BYTES,
    declared: spec.memory !== undefined || spec.profile !== undefined,
  };
}

function residentEngine(spec: StepSpec, facts: PlanFacts): { residentEngine: string } | undefined {
  if (spec.verb !== 'trino.query') return undefined;
  const name = spec.connection ?? 'default';
  return Object.hasOwn(facts.trino, name) && facts.trino[name]!.resident
    ? { residentEngine: `trino.${name}` }
    : undefined;
}

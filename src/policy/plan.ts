import { SpillwayError } from '../contracts/errors.ts';
import type { HandoffChoice } from '../contracts/handoff.ts';
import type { PipelineSpec, StepSpec, Verb } from '../contracts/pipeline.ts';
import type { PlannedStep, RunPlan } from '../contracts/plan.ts';
import { historyKey, TaskQueue, Weight } from '../contracts/pool.ts';
import { sourcesOf, stepsFor } from './graph.ts';
import { chooseHandoff, type HandoffWriter } from './handoff-mode.ts';
import { type Known, learnedSize } from './learned-size.ts';
import { SMALLEST_RUNG_BYTES } from './rungs.ts';
import { formatBoth, parseBytes, parseDurationMs } from './sizes.ts';
import { leastTransformBytes, type PlanFacts, sizeStep } from './step-size.ts';

export type { PlanFacts } from './step-size.ts';

const DEFAULT_WEIGHT: Record<Verb, Weight> = {
  'trino.query': Weight.HEAVY,
  'datafusion.sql': Weight.HEAVY,
  transform: Weight.LIGHT,
  'postgres.load': Weight.LIGHT,
};
const ENGINE: Record<Verb, string> = {
  'trino.query': 'Trino',
  'datafusion.sql': 'DataFusion',
  transform: 'TypeScript',
  'postgres.load': 'PostgreSQL',
};
const WRITER: Partial<Record<Verb, HandoffWriter>> = {
  'trino.query': 'trino',
  'datafusion.sql': 'datafusion',
  transform: 'transform',
};

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
  for (const spec of wanted) {
    const handoff = pipeline.decided?.[spec.step] ?? handoffOf(spec, facts);
    if (handoff) handoffs.set(spec.step, handoff);
    const planned = planStep(pipeline.name, spec, handoff, handoffs, facts, problems);
    if (planned) steps.push(planned);
  }
  if (problems.length > 0) {
    throw new SpillwayError(
      'InvalidInput',
      problems.length === 1
        ? `${pipeline.name}: ${problems[0]!}`
        : `${pipeline.name}: ${problems.length} problems:\n- ${problems.join('\n- ')}`,
    );
  }
  // In a workflow a later sink may still read them; there the runner warns at the end.
  const unread = pipeline.decided
    ? []
    : pipeline.steps.filter((step) => !wanted.includes(step) && step.verb !== 'postgres.load');
  return {
    planVersion: 1,
    pool: facts.pool,
    steps,
    sinks: pipeline.sinks,
    warnings: unread.map((step) => `${step.step} (${step.verb}) is read by nobody and is not computed.`),
    searchAttributes: facts.searchAttributes,
  };
}

function handoffOf(spec: StepSpec, facts: PlanFacts): HandoffChoice | undefined {
  const writer = WRITER[spec.verb];
  if (writer === undefined) return undefined;
  return chooseHandoff({
    writer,
    lendableBytes: facts.lendableBytes,
    inMemoryBytes: 0, // nothing is kept in memory yet
    freeBytes: facts.lendableBytes - facts.lentBytes,
    otherHeavy: facts.otherHeavy,
    checkpoint: false,
    restart: false,
    sameProcessReader: false,
    fusable: false,
  });
}

function planStep(
  pipeline: string,
  spec: StepSpec,
  handoff: HandoffChoice | undefined,
  handoffs: ReadonlyMap<string, HandoffChoice>,
  facts: PlanFacts,
  problems: string[],
): PlannedStep | undefined {
  const before = problems.length;
  const weight = spec.weight ?? DEFAULT_WEIGHT[spec.verb];
  const reads = handoffs.get('from' in spec && typeof spec.from === 'string' ? spec.from : spec.step);
  const sized = sizeStep(spec, reads, facts, problems);
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
  const learned = learnedSize(
    { ...sized, ladder: allowed },
    { history: facts.histories?.[history], ...bounds(spec, reads) },
  );
  const { charge, measured, because } = learned;
  return {
    step: spec.step,
    spec,
    weight,
    taskQueue: weight === Weight.HEAVY ? TaskQueue.heavy(facts.pool) : TaskQueue.light(facts.pool),
    charge,
    rungs: learned.ladder,
    ...(charge === 'lease' && { history }),
    ...(measured && { measured }),
    scratchBytes:
      charge === 'allowance' ? 0 : (parseBytes(spec.scratch ?? facts.stepScratchBytes) ?? facts.stepScratchBytes),
    priority: spec.priority ?? 3,
    needs: sourcesOf(spec),
    ...(handoff ? { handoff } : {}),
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

import { SpillwayError } from '../contracts/errors.ts';
import type { HandoffChoice } from '../contracts/handoff.ts';
import type { PipelineSpec, StepSpec, Verb } from '../contracts/pipeline.ts';
import type { PlannedStep, Rung, RunPlan } from '../contracts/plan.ts';
import { TaskQueue, Weight } from '../contracts/pool.ts';
import { sourcesOf, stepsFor } from './graph.ts';
import { chooseHandoff, type HandoffWriter } from './handoff-mode.ts';
import { ladderFrom, rungs, SMALLEST_RUNG_BYTES, type RungSizes } from './rungs.ts';
import { formatBytes, parseBytes, parseDurationMs } from './sizes.ts';

/** What a plan is made from besides the steps: numbers of the host and of the pool at this moment. */
export interface PlanFacts {
  pool: string;
  lendableBytes: number;
  lentBytes: number;
  /** Another run's heavy step runs or waits. */
  otherHeavy: boolean;
  rungSizes: RungSizes;
  lightStepBytes: number;
  stepScratchBytes: number;
  /** Configured connections by name; a Trino's memory is lent only when it is resident. */
  trino: Record<string, { queryBytes: number; resident: boolean }>;
  postgres: readonly string[];
  searchAttributes: boolean;
}

const DEFAULT_WEIGHT: Record<Verb, Weight> = {
  'trino.query': Weight.HEAVY,
  'datafusion.sql': Weight.HEAVY,
  'postgres.load': Weight.LIGHT,
};
const ENGINE: Record<Verb, string> = { 'trino.query': 'Trino', 'datafusion.sql': 'DataFusion', 'postgres.load': 'PostgreSQL' };
const WRITER: Partial<Record<Verb, HandoffWriter>> = { 'trino.query': 'trino', 'datafusion.sql': 'datafusion' };

const DEFAULT_START_TO_CLOSE_MS = 2 * 3_600_000;
/** A dead worker is noticed after this long; cancellation reaches an attempt sooner, with the worker's throttle of 5 s. */
const HEARTBEAT_MS = 20_000;
const DEFAULT_ATTEMPTS = 4;
const DEFAULT_INITIAL_INTERVAL_MS = 1_000;

/**
 * Decides everything about a run that may be decided before it: queues, sizes to try, scratch, handoffs.
 * @throws SpillwayError `InvalidInput` when a step cannot be had on this host, all of them at once
 */
export function planSteps(pipeline: PipelineSpec & { sinks: string[] }, facts: PlanFacts): RunPlan {
  const wanted = stepsFor(pipeline.sinks, pipeline.steps);
  const problems: string[] = [];
  const handoffs = new Map<string, HandoffChoice>();
  const steps: PlannedStep[] = [];
  for (const spec of wanted) {
    const handoff = handoffOf(spec, facts);
    if (handoff) handoffs.set(spec.step, handoff);
    const planned = planStep(spec, handoff, handoffs, facts, problems);
    if (planned) steps.push(planned);
  }
  if (problems.length > 0) {
    throw new SpillwayError('InvalidInput', problems.length === 1 ? `${pipeline.name}: ${problems[0]!}` : `${pipeline.name}: ${problems.length} problems:\n- ${problems.join('\n- ')}`);
  }
  const unread = pipeline.steps.filter((step) => !wanted.includes(step) && step.verb !== 'postgres.load');
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

type Problems = string[];

function planStep(
  spec: StepSpec,
  handoff: HandoffChoice | undefined,
  handoffs: ReadonlyMap<string, HandoffChoice>,
  facts: PlanFacts,
  problems: Problems,
): PlannedStep | undefined {
  const before = problems.length;
  const weight = spec.weight ?? DEFAULT_WEIGHT[spec.verb];
  const { charge, ladder, because } = sizeStep(spec, handoffs, facts, problems);
  const first = ladder[0];
  if (first && weight === Weight.LIGHT && DEFAULT_WEIGHT[spec.verb] === Weight.HEAVY && first.bytes > facts.lightStepBytes) {
    problems.push(
      `${spec.step}: weight 'light' allows ${formatBytes(facts.lightStepBytes)} for a step, and ${spec.verb} asks ${formatBytes(first.bytes)}. Leave weight out, or ask for less memory.`,
    );
  }
  if (!first || problems.length > before) return undefined;
  return {
    step: spec.step,
    spec,
    weight,
    taskQueue: weight === Weight.HEAVY ? TaskQueue.heavy(facts.pool) : TaskQueue.light(facts.pool),
    charge,
    rungs: ladder,
    scratchBytes: charge === 'allowance' ? 0 : (parseBytes(spec.scratch ?? facts.stepScratchBytes) ?? facts.stepScratchBytes),
    priority: spec.priority ?? 3,
    needs: sourcesOf(spec),
    ...(handoff ? { handoff } : {}),
    startToCloseMs: parseDurationMs(spec.startToClose ?? DEFAULT_START_TO_CLOSE_MS) ?? DEFAULT_START_TO_CLOSE_MS,
    heartbeatMs: HEARTBEAT_MS,
    maximumAttempts: spec.retry?.maximumAttempts ?? DEFAULT_ATTEMPTS,
    initialIntervalMs: parseDurationMs(spec.retry?.initialInterval ?? DEFAULT_INITIAL_INTERVAL_MS) ?? DEFAULT_INITIAL_INTERVAL_MS,
    ...(residentEngine(spec, facts) ?? {}),
    engine: ENGINE[spec.verb],
    because,
  };
}

function residentEngine(spec: StepSpec, facts: PlanFacts): { residentEngine: string } | undefined {
  if (spec.verb !== 'trino.query') return undefined;
  const name = spec.connection ?? 'default';
  return facts.trino[name]?.resident ? { residentEngine: `trino.${name}` } : undefined;
}

interface Sized {
  charge: PlannedStep['charge'];
  ladder: Rung[];
  because: string;
}
const UNSIZED: Sized = { charge: 'lease', ladder: [], because: '' };

function sizeStep(spec: StepSpec, handoffs: ReadonlyMap<string, HandoffChoice>, facts: PlanFacts, problems: Problems): Sized {
  switch (spec.verb) {
    case 'trino.query':
      return sizeTrino(spec.step, spec.connection ?? 'default', spec.memory ?? spec.profile, facts, problems);
    case 'datafusion.sql':
      return sizeContainer(spec, facts, problems);
    case 'postgres.load': {
      const connection = spec.connection ?? 'default';
      if (!facts.postgres.includes(connection)) {
        problems.push(`${spec.step}: no PostgreSQL named '${connection}' is configured. ${configured('postgres', connection, facts.postgres)}`);
        return UNSIZED;
      }
      if (handoffs.get(spec.from)?.mode === 'parquet') {
        const bytes = Math.min(SMALLEST_RUNG_BYTES, facts.lendableBytes);
        return { charge: 'lease', ladder: [{ name: 'decode', bytes }], because: 'Parquet is decoded in a container of its own while it is loaded' };
      }
      return {
        charge: 'allowance',
        ladder: [{ name: 'allowance', bytes: facts.lightStepBytes }],
        because: 'Arrow batches stream through the worker within its light allowance',
      };
    }
  }
}

function sizeTrino(step: string, name: string, asked: unknown, facts: PlanFacts, problems: Problems): Sized {
  const trino = facts.trino[name];
  if (!trino) {
    problems.push(`${step}: no Trino named '${name}' is configured. ${configured('trino', name, Object.keys(facts.trino))}`);
    return UNSIZED;
  }
  if (asked !== undefined) {
    problems.push(`${step}: a Trino server has one size, so memory and profile do not apply to trino.query. Remove them; set trino.${name} in the configuration instead.`);
    return UNSIZED;
  }
  return trino.resident
    ? { charge: 'lease', ladder: [{ name: 'server', bytes: trino.queryBytes }], because: 'what the resident Trino may grow by over its floor' }
    : { charge: 'lease', ladder: [{ name: 'external', bytes: 0 }], because: 'an external Trino uses memory of its own' };
}

function sizeContainer(spec: StepSpec, facts: PlanFacts, problems: Problems): Sized {
  const ladder = rungs(facts.rungSizes, facts.lendableBytes);
  if (spec.memory !== undefined) {
    const bytes = parseBytes(spec.memory)!;
    if (bytes < SMALLEST_RUNG_BYTES) {
      problems.push(`${spec.step}.memory must be at least ${formatBytes(SMALLEST_RUNG_BYTES)} (below it DataFusion is killed instead of spilling), got ${spec.memory}.`);
    }
    if (bytes > facts.lendableBytes) {
      problems.push(`${spec.step}.memory must be at most ${formatBytes(facts.lendableBytes)} (what pool ${facts.pool} can lend), got ${spec.memory}.`);
    }
    const larger = ladder.filter((rung) => rung.bytes > bytes);
    return { charge: 'lease', ladder: [{ name: 'declared', bytes }, ...larger], because: `${formatBytes(bytes)} declared` };
  }
  const start = spec.profile ?? 'S';
  return { charge: 'lease', ladder: ladderFrom(ladder, start), because: `profile ${start}${spec.profile ? '' : ' by default'}` };
}

const configured = (part: string, name: string, known: readonly string[]): string =>
  known.length === 0
    ? `Run \`spillway up\`, or set ${part}.${name} in the configuration.`
    : `Configured: ${known.join(', ')}.`;

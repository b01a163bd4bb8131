import type { DatafusionSqlStep, StepSpec } from '../contracts/pipeline.ts';
import type { FusedQuery } from '../contracts/plan.ts';
import { inputsOf, sourcesOf } from './graph.ts';

/** What a step of its own was asked for with: such a step is not part of another one's lease. */
const OF_ITS_OWN = ['memory', 'profile', 'weight', 'scratch', 'startToClose', 'retry'] as const;

/** Which steps of a plan share a container. */
export interface Fusion {
  /** Step → the one that its rows go into: its only reader, or the first output of its container. They are handed over to nobody else. */
  into: ReadonlyMap<string, string>;
  /** Step whose rows are handed over → the one whose container computes them beside its own. */
  madeWith: ReadonlyMap<string, string>;
}

/**
 * DataFusion steps that are computed in the container of those that read them: read by DataFusion steps alone, and without a size, a checkpoint or a wish of
 * their own. Where several of its readers hand rows over, one container computes them all, unless one of them has a wish of its own, or they would wait
 * for each other.
 *
 * @param steps of a plan, sources before readers
 * @param decided steps whose rows an earlier plan of the run decided about
 */
export function fuse(steps: readonly StepSpec[], decided: Readonly<Record<string, unknown>> = {}): Fusion {
  const isFree = (step: StepSpec): boolean =>
    mayFuse(step) &&
    OF_ITS_OWN.every((key) => step[key] === undefined) &&
    !Object.hasOwn(decided, step.step) &&
    (step.checkpoint === undefined || step.checkpoint === false);
  const readersOf = ({ step }: StepSpec): StepSpec[] =>
    steps.filter((reader) => inputsOf(reader).some(([, source]) => source === step));
  /** Step → the steps whose rows its container hands over. */
  const outputs = new Map<string, ReadonlySet<StepSpec>>();
  const inner = new Map<string, StepSpec[]>();
  for (const step of steps.toReversed()) {
    if (!mayFuse(step)) continue;
    const readers = readersOf(step);
    const containers = [...new Set(readers.map((reader) => outputs.get(reader.step)))];
    const together = new Set(containers.flatMap((container) => [...(container ?? [])]));
    const mayJoin = readers.length > 0 && readers.every(mayFuse) && isFree(step);
    const joins =
      mayJoin && (containers.length === 1 || ([...together].every(isFree) && noneWaits(steps, outputs, together)));
    outputs.set(step.step, joins ? together : new Set([step]));
    if (!joins) continue;
    inner.set(step.step, readers);
    for (const [other, container] of outputs) if (containers.includes(container)) outputs.set(other, together);
  }
  const firstOf = (step: string): string => steps.find((one) => outputs.get(step)!.has(one))!.step;
  const madeWith = [...outputs].filter(([step]) => !inner.has(step) && firstOf(step) !== step);
  return {
    into: new Map([...inner].map(([step, [only, ...more]]) => [step, more.length === 0 ? only!.step : firstOf(step)])),
    madeWith: new Map(madeWith.map(([step]) => [step, firstOf(step)])),
  };
}

const mayFuse = (step: StepSpec): step is DatafusionSqlStep => step.verb === 'datafusion.sql' && step.isolate !== true;

/** Whether each container of a plan could begin once those that it reads from have ended, if these outputs were of one. */
function noneWaits(
  steps: readonly StepSpec[],
  outputs: ReadonlyMap<string, ReadonlySet<StepSpec>>,
  together: ReadonlySet<StepSpec>,
): boolean {
  const containerOf = (step: string): unknown => {
    const of = outputs.get(step);
    return of === undefined ? step : [...of].some((one) => together.has(one)) ? together : of;
  };
  const handedOver = new Set([...together].map(({ step }) => step));
  const reads = new Map<unknown, Set<unknown>>();
  for (const step of steps) {
    const own = containerOf(step.step);
    const of = reads.get(own) ?? new Set();
    for (const source of sourcesOf(step)) {
      const from = containerOf(source);
      // Rows that it hands over itself are not there yet.
      if (own === together && handedOver.has(source)) return false;
      if (from !== own) of.add(from);
    }
    reads.set(own, of);
  }
  for (let before = Infinity; reads.size < before;) {
    before = reads.size;
    for (const [container, of] of reads) if (![...of].some((source) => reads.has(source))) reads.delete(container);
  }
  return reads.size === 0;
}

/** The statement of a step with those of the steps whose rows go into it. */
export function fusedQuery(
  step: DatafusionSqlStep,
  steps: readonly StepSpec[],
  into: ReadonlyMap<string, string>,
): FusedQuery {
  // prettier-ignore
  const from = Object.entries(step.from).map(([table, source]): [string, string | FusedQuery] => {
    const inner = into.has(source) ? steps.find((one) => one.step === source) : undefined;
    return [table, inner ? fusedQuery(inner as DatafusionSqlStep, steps, into) : source];
  });
  return { step: step.step, sql: step.sql, from: Object.fromEntries(from) };
}

/** What such statements read: `<step>.<table>`, and the step that makes the rows. */
export const inputsOfQuery = (...queries: FusedQuery[]): [name: string, source: string][] => [
  ...new Map(
    queries.flatMap(({ step, from }) =>
      Object.entries(from).flatMap(([table, source]): [string, string][] =>
        typeof source === 'string' ? [[`${step}.${table}`, source]] : inputsOfQuery(source),
      ),
    ),
  ),
];

/** Names of the steps within them, innermost first, each once. */
export const stepsOfQuery = (...queries: FusedQuery[]): string[] => [
  ...new Set(
    queries.flatMap(({ from }) =>
      Object.values(from).flatMap((source) =>
        typeof source === 'string' ? [] : [...stepsOfQuery(source), source.step],
      ),
    ),
  ),
];

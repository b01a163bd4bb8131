import type { DatafusionSqlStep, StepSpec } from '../contracts/pipeline.ts';
import type { FusedQuery } from '../contracts/plan.ts';
import { inputsOf } from './graph.ts';

/** What a step of its own was asked for with: such a step is not part of another one's lease. */
const OF_ITS_OWN = ['memory', 'profile', 'weight', 'scratch', 'startToClose', 'retry'] as const;

/**
 * DataFusion steps that become part of the statement that reads them: read once, by one DataFusion step, without a size, a checkpoint or a wish of their own.
 *
 * @param steps of a plan
 * @param decided steps whose rows an earlier plan of the run decided about
 * @returns step → the step that it becomes part of
 */
export function fusable(
  steps: readonly StepSpec[],
  decided: Readonly<Record<string, unknown>> = {},
): Map<string, string> {
  const into = new Map<string, string>();
  for (const step of steps) {
    if (!mayFuse(step) || OF_ITS_OWN.some((key) => step[key] !== undefined) || Object.hasOwn(decided, step.step)) continue; // prettier-ignore
    if (step.checkpoint !== undefined && step.checkpoint !== false) continue;
    const reads = steps.flatMap((reader) => inputsOf(reader).filter(([, source]) => source === step.step).map(() => reader)); // prettier-ignore
    if (reads.length === 1 && mayFuse(reads[0]!)) into.set(step.step, reads[0].step);
  }
  return into;
}

const mayFuse = (step: StepSpec): step is DatafusionSqlStep => step.verb === 'datafusion.sql' && step.isolate !== true;

/** The statement of a step with those of the steps that became part of it. */
export function fusedQuery(
  step: DatafusionSqlStep,
  steps: readonly StepSpec[],
  into: ReadonlyMap<string, string>,
): FusedQuery {
  // prettier-ignore
  const from = Object.entries(step.from).map(([table, source]): [string, string | FusedQuery] => {
    const inner = into.get(source) === step.step ? steps.find((one) => one.step === source) : undefined;
    return [table, inner ? fusedQuery(inner as DatafusionSqlStep, steps, into) : source];
  });
  return { step: step.step, sql: step.sql, from: Object.fromEntries(from) };
}

/** What such a statement reads: `<step>.<table>`, and the step that makes the rows. */
export const inputsOfQuery = ({ step, from }: FusedQuery): [name: string, source: string][] =>
  Object.entries(from).flatMap(([table, source]): [string, string][] =>
    typeof source === 'string' ? [[`${step}.${table}`, source]] : inputsOfQuery(source),
  );

/** Names of the steps within it, innermost first. */
export const stepsOfQuery = ({ from }: FusedQuery): string[] =>
  Object.values(from).flatMap((source) => (typeof source === 'string' ? [] : [...stepsOfQuery(source), source.step]));

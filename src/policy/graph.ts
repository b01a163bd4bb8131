import type { FilesStep, StepSpec } from '../contracts/pipeline.ts';

/** What a step reads: its own name for each input, and the step that makes the rows. */
export function inputsOf(step: StepSpec): [name: string, source: string][] {
  switch (step.verb) {
    case 'trino.query':
    case 'files':
    case 'postgres.sql':
      return [];
    case 'datafusion.sql':
      return Object.entries(step.from);
    case 'transform':
    case 'postgres.load':
    case 'write.parquet':
    case 'write.arrow':
      return [['from', step.from]];
  }
}

/** Names of the steps that have to be done before one, each once: those whose rows it reads, and those it comes after. */
export const sourcesOf = (step: StepSpec): string[] => [
  ...new Set([...inputsOf(step).map(([, source]) => source), ...('after' in step ? (step.after ?? []) : [])]),
];

/** The steps that some sinks need, sources before readers. */
export function stepsFor(sinks: readonly string[], steps: readonly StepSpec[]): StepSpec[] {
  const byName = new Map(steps.map((step) => [step.step, step]));
  const ordered: StepSpec[] = [];
  const visit = (name: string): void => {
    const step = byName.get(name);
    if (!step || ordered.includes(step)) return;
    sourcesOf(step).forEach(visit);
    ordered.push(step);
  };
  sinks.forEach(visit);
  return ordered;
}

const SINKS: readonly string[] = [
  'postgres.load',
  'postgres.sql',
  'write.parquet',
  'write.arrow',
] satisfies StepSpec['verb'][];

/** Whether a verb makes things happen, and gives no rows. */
export const isSink = (verb: string | undefined): boolean => verb !== undefined && SINKS.includes(verb);

/** What a step of files reads; undefined where neither it nor its paths say so. */
export function formatOfFiles({ format, path }: FilesStep): FilesStep['format'] {
  if (format !== undefined) return format;
  const endings = new Set([path].flat().map((one) => /\.(parquet|arrow|csv)$/.exec(one)?.[1]));
  return endings.size === 1 ? ([...endings][0] as FilesStep['format']) : undefined;
}

import type { StepSpec } from '../contracts/pipeline.ts';

/** What a step reads: its own name for each input, and the step that makes the rows. */
export function inputsOf(step: StepSpec): [name: string, source: string][] {
  switch (step.verb) {
    case 'trino.query':
      return [];
    case 'datafusion.sql':
      return Object.entries(step.from);
    case 'transform':
    case 'postgres.load':
      return [['from', step.from]];
  }
}

/** Names of the steps whose rows a step reads, each once. */
export const sourcesOf = (step: StepSpec): string[] => [...new Set(inputsOf(step).map(([, source]) => source))];

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

import { createHash } from 'node:crypto';
import type { StepSpec } from '../contracts/pipeline.ts';
import type { CheckpointChoice } from '../contracts/handoff.ts';
import { inputsOf } from '../policy/graph.ts';

/** What a plan says of the checkpoints of its steps, by step. `transforms`: of the module that they are in, so that a mended transform computes anew. */
export function checkpointsOf(steps: readonly StepSpec[], transforms = ''): Map<string, CheckpointChoice> {
  const byName = new Map(steps.map((step) => [step.step, step]));
  const known = new Map<string, string>();
  const of = (name: string): string => {
    const step = byName.get(name);
    if (!step) return '';
    const before = known.get(name);
    if (before !== undefined) return before;
    const inputs = inputsOf(step).map(([table, source]) => [table, of(source)]);
    const print = createHash('sha256')
      .update(JSON.stringify([step.verb, decisive(step, transforms), versionOf(step), inputs.sort()]))
      .digest('hex');
    known.set(name, print);
    return print;
  };
  const found = new Map<string, CheckpointChoice>();
  for (const step of steps) {
    if (!('checkpoint' in step) || step.checkpoint === undefined || step.checkpoint === false) continue;
    const option = step.checkpoint === true ? {} : step.checkpoint;
    found.set(step.step, {
      fingerprint: of(step.step),
      reuse: option.reuse ?? 'run',
      keep: 'keep' in option && option.keep === true,
    });
  }
  return found;
}

/** What of a step decides its rows, beside what it reads. How it is run does not. */
function decisive(step: StepSpec, transforms: string): unknown[] {
  switch (step.verb) {
    case 'trino.query':
      return [step.sql, step.params ?? [], step.connection ?? 'default'];
    case 'datafusion.sql':
      return [step.sql];
    case 'transform':
      return [step.run, step.args ?? {}, transforms];
    case 'files':
      return [step.directory ?? 'default', [step.path].flat(), step.format ?? null, step.csv ?? {}];
    case 'postgres.load':
    case 'postgres.sql':
    case 'write.parquet':
    case 'write.arrow':
      return [];
  }
}

const versionOf = (step: StepSpec): string =>
  'checkpoint' in step && typeof step.checkpoint === 'object' ? (step.checkpoint.version ?? '') : '';

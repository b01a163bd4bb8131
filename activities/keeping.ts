import type { StepRequest } from '../src/contracts/steps.ts';
import type { ActivityDeps } from './deps.ts';
import type { Attempt, Worked } from './leased.ts';

/** Keeps the rows of a step that is a checkpoint. One that cannot be kept fails no step: its author is told. */
export async function keeping(
  { engines }: Pick<ActivityDeps, 'engines'>,
  { run, spec: { step }, checkpoint }: StepRequest,
  attempt: Attempt,
  work: Promise<Worked>,
): Promise<Worked> {
  const worked = await work;
  if (!checkpoint || !worked.output) return worked;
  attempt.progress({ phase: 'keeping the checkpoint' });
  const because = await engines.checkpoints
    .keep({ run, step, token: attempt.token }, worked.output, checkpoint)
    .catch((error: unknown) => (error instanceof Error ? error.message : String(error)));
  return because === undefined ? worked : { ...worked, warnings: [`${step} is no checkpoint: ${because}.`] };
}

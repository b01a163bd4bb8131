import type { StepRequest } from '../src/contracts/steps.ts';
import { checkHandoffs } from '../src/handoff/handoff-ref.ts';
import { useRows } from '../src/handoff/read-rows.ts';
import type { ActivityDeps } from './deps.ts';
import type { Attempt } from './leased.ts';

/** Runs the body of a step on what it reads: rows in memory stay there until it has ended, and those that went to disk meanwhile are read there. Raises HandoffLost, naming what is not there any more. */
export async function reading<T>(
  { engines }: Pick<ActivityDeps, 'engines'>,
  request: StepRequest,
  { token, signal }: Attempt,
  body: (inputs: StepRequest['inputs']) => Promise<T>,
): Promise<T> {
  const reader = { run: request.run, step: request.spec.step, token };
  const rows = await useRows(engines.scratch, request.inputs, reader, signal);
  try {
    await checkHandoffs(rows.inputs);
    return await body(rows.inputs);
  } finally {
    await rows.release();
  }
}

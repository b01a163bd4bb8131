import type { HandoffRef } from '../contracts/handoff.ts';
import type { SinkResult, StepReport } from '../contracts/pipeline.ts';
import type { PlannedStep } from '../contracts/plan.ts';
import type { StepResult } from '../contracts/steps.ts';

/** What is told of a step that ran. */
export function ranReport(
  step: PlannedStep,
  result: StepResult,
  asked: Pick<StepReport, 'leaseBytes' | 'rung' | 'attempts'>,
): StepReport {
  const handoff = result.output ?? result.loaded ?? result.written ?? result.ran;
  return {
    ...{ step: step.step, verb: step.spec.verb, queue: step.taskQueue, ...asked, peakBytes: result.used.peakBytes },
    mode: result.output?.mode ?? result.loaded?.strategy ?? result.written?.kind ?? (result.ran ? 'sql' : 'none'),
    because: handoff?.because ?? step.because,
    rows: result.used.rows,
    seconds: result.used.seconds,
  };
}

/** What is told of a step whose rows were found as a checkpoint. */
export const foundReport = (step: PlannedStep, output: HandoffRef, queue: string): StepReport => ({
  ...{ step: step.step, verb: step.spec.verb, queue, leaseBytes: 0, rung: 'checkpoint', peakBytes: 0 },
  ...{ mode: output.mode, because: output.because, rows: output.rows, seconds: 0, attempts: 0 },
});

/** What is told of a step whose rows were computed beside those of another one: memory and time are that one's. */
export const besideReport = (step: PlannedStep, output: HandoffRef, other: StepReport): StepReport => ({
  ...{
    step: step.step,
    verb: step.spec.verb,
    queue: other.queue,
    leaseBytes: 0,
    rung: `with ${other.step}`,
    peakBytes: 0,
  },
  ...{ mode: output.mode, because: output.because, rows: output.rows, seconds: 0, attempts: other.attempts },
});

/** What a workflow gets of a sink. */
export function sinkResult({ result, report }: { result: StepResult; report: StepReport }): SinkResult {
  return {
    step: report.step,
    rows: report.rows,
    bytes: result.loaded?.bytes ?? result.written?.bytes ?? result.used.outputBytes,
    mode: report.mode,
    because: report.because,
    ...(result.loaded ? { table: result.loaded.table } : {}),
    ...(result.written ? { path: result.written.path } : {}),
  };
}

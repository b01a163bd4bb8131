import { ActivityFailure, ApplicationFailure, CancelledFailure, TimeoutFailure } from '@temporalio/workflow';
import { FAILURE_RETRY, type FailureCode } from '../contracts/errors.ts';
import type { StepFailureDetails } from '../contracts/steps.ts';

/** A failure of ours, as a workflow throws it: never retried by the workflow task. */
export function failure(code: FailureCode, message: string, cause?: Error): ApplicationFailure {
  return ApplicationFailure.create({ message, type: code, nonRetryable: true, ...(cause ? { cause } : {}) });
}

/** What a step's activity ended with, read from its failure. */
export interface StepFailure {
  code: FailureCode;
  message: string;
  /** Absent when the attempt died without a word: then the pool has the lease looked after. */
  details?: StepFailureDetails;
}

/** Reads an activity's failure; undefined when it is none (cancellation, for example). */
export function readStepFailure(error: unknown): StepFailure | undefined {
  if (!(error instanceof ActivityFailure)) return undefined;
  const { cause } = error;
  if (cause instanceof ApplicationFailure) {
    const code: FailureCode =
      cause.type && Object.hasOwn(FAILURE_RETRY, cause.type) ? (cause.type as FailureCode) : 'Unexpected';
    const details = cause.details?.[0] as StepFailureDetails | null | undefined;
    return { code, message: cause.message, ...(details ? { details } : {}) };
  }
  if (cause instanceof TimeoutFailure) {
    return {
      code: 'Unexpected',
      message: `${error.activityType}: ${cause.message}; no worker reported the end of the last attempt. Look at the worker's log.`,
    };
  }
  return undefined;
}

/** What a cancelled attempt said of its lease before it ended. */
export function cancelDetails(error: unknown): StepFailureDetails | undefined {
  if (!(error instanceof ActivityFailure) || !(error.cause instanceof CancelledFailure)) return undefined;
  const details: unknown = error.cause.details[0];
  return typeof details === 'object' && details !== null && 'proof' in details
    ? (details as StepFailureDetails)
    : undefined;
}

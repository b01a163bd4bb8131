import { failure } from './failures.ts';

/**
 * Rows that are not computed yet. Verbs give it back at once; a sink that reads it has it computed.
 * Not a promise: awaiting it gives the dataset itself.
 */
export class Dataset {
  readonly step: string;
  constructor(step: string) {
    this.step = step;
  }
}

/** Name of the step behind a dataset; datasets of another copy of the package count. */
export function stepOf(value: unknown, verb: string, step: string, key: string): string {
  if (typeof value === 'object' && value !== null && 'step' in value && typeof value.step === 'string')
    return value.step;
  const got = value === undefined ? 'undefined' : (JSON.stringify(value) ?? typeof value);
  throw failure(
    'InvalidInput',
    `${verb}('${step}').${key} must be a dataset, got ${got}. Pass what a verb such as trino.query() gave back.`,
  );
}

import { SpillwayError } from '../contracts/errors.ts';

/** JSON that somebody gave; `from` names it in messages. @throws SpillwayError `InvalidInput` when it is missing or is none */
export function readJson(from: string, text: string | undefined): unknown {
  if (text === undefined)
    throw new SpillwayError(
      'InvalidInput',
      `${from} is not there. Give the path of a job file, or the name of a workflow.`,
    );
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new SpillwayError('InvalidInput', `${from} is not JSON: ${(error as Error).message}.`, { cause: error });
  }
}

import { SpillwayError } from '../contracts/errors.ts';

/** What the exit code says. */
export const Exit = { OK: 0, RUN_FAILED: 1, BAD_INPUT: 2, UNREACHABLE: 3, INTERRUPTED: 130 } as const;
export type Exit = (typeof Exit)[keyof typeof Exit];

/** Exit code of an error that ended a command. */
export function exitCodeOf(error: unknown): Exit {
  if (!(error instanceof SpillwayError)) return Exit.RUN_FAILED;
  // Every other code is about a run.
  switch (error.code) {
    case 'InvalidInput':
    case 'UnknownWorkflow':
    case 'HostTaken':
    case 'LeaseRefused':
      return Exit.BAD_INPUT;
    case 'EngineUnreachable':
    case 'TargetUnreachable':
      return Exit.UNREACHABLE;
    default:
      return Exit.RUN_FAILED;
  }
}

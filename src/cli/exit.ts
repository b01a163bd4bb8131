import { type FailureCode, SpillwayError } from '../contracts/errors.ts';

/** What the exit code says. */
export const Exit = { OK: 0, RUN_FAILED: 1, BAD_INPUT: 2, UNREACHABLE: 3, INTERRUPTED: 130 } as const;
export type Exit = (typeof Exit)[keyof typeof Exit];

/** Codes that are about what was given or about a part; every other one is about a run. */
const EXIT: Partial<Record<FailureCode, Exit>> = {
  InvalidInput: Exit.BAD_INPUT,
  UnknownWorkflow: Exit.BAD_INPUT,
  HostTaken: Exit.BAD_INPUT,
  LeaseRefused: Exit.BAD_INPUT,
  EngineUnreachable: Exit.UNREACHABLE,
  TargetUnreachable: Exit.UNREACHABLE,
};

/** Exit code of an error that ended a command. */
export const exitCodeOf = (error: unknown): Exit =>
  error instanceof SpillwayError ? (EXIT[error.code] ?? Exit.RUN_FAILED) : Exit.RUN_FAILED;

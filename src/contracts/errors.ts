/** Whether the same work, tried again, may end otherwise. */
export type Retry = 'retry' | 'give-up';

/**
 * Codes of failures people meet, each with its verdict. The code is the `type` of the Temporal failure.
 * `retry` fails the attempt only; `give-up` fails the step.
 */
export const FAILURE_RETRY = {
  /** Values that break a rule; nothing ran. */
  InvalidInput: 'give-up',
  /** User code of a workflow threw something of its own. */
  WorkflowBug: 'give-up',
  UnknownWorkflow: 'give-up',
  /** Another pool lends this host's memory. */
  HostTaken: 'give-up',
  PluginMissing: 'give-up',
  /** The pool can never lend what was asked. */
  LeaseRefused: 'give-up',
  /** The lease was ended for this attempt; the runner asks again with the next ordinal. */
  LeaseLost: 'give-up',
  HandoffLost: 'give-up',
  ScratchFull: 'give-up',
  /** The statement is wrong: syntax, names, types. */
  SqlError: 'give-up',
  /** The engine said that its memory was too small. The runner climbs a rung. */
  EngineExhausted: 'give-up',
  /** The container passed what it was lent. The runner climbs a rung. */
  OutOfMemoryOwn: 'give-up',
  /** Somebody passed what was lent to them; the same size is tried again. */
  OutOfMemoryCeiling: 'give-up',
  /** The engine will say the same at every try: a limit of time, missing rights, an operator's kill. */
  EngineRefused: 'give-up',
  EngineUnreachable: 'retry',
  EngineFailed: 'retry',
  TargetUnreachable: 'retry',
  LoadRefused: 'give-up',
  LoadInterrupted: 'retry',
  ContainerFailed: 'retry',
  /** A transform threw, or its process died. */
  TransformFailed: 'retry',
  Unexpected: 'retry',
} as const satisfies Record<string, Retry>;
export type FailureCode = keyof typeof FAILURE_RETRY;

/** How an attempt of a container or query ended, judged on evidence. */
export const Verdict = {
  OK: 'ok',
  ENGINE_EXHAUSTED: 'engine-exhausted',
  OOM_OWN: 'oom-own',
  OOM_CEILING: 'oom-ceiling',
  CANCELLED: 'cancelled',
  TIMEOUT: 'timeout',
  SCRATCH_FULL: 'scratch-full',
  SQL_ERROR: 'sql-error',
  ENGINE_ERROR: 'engine-error',
  KILLED_BY_OTHER: 'killed-by-other',
  CLI_LOST: 'cli-lost',
  RUNTIME_ERROR: 'runtime-error',
  CRASH: 'crash',
  NO_RESULT: 'no-result',
} as const;
export type Verdict = (typeof Verdict)[keyof typeof Verdict];

/**
 * An error our code raises on purpose. `message` starts with what to do about it, in one line.
 * Activities turn it into a Temporal failure whose type is `code`.
 */
export class SpillwayError extends Error {
  override readonly name = 'SpillwayError';
  readonly code: FailureCode;
  readonly details: unknown;
  constructor(code: FailureCode, message: string, options: { cause?: unknown; details?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details;
  }
  get retry(): Retry {
    return FAILURE_RETRY[this.code];
  }
}

/** Several problems as one message: the only one as it is, more of them below each other. */
export const listProblems = (problems: readonly string[]): string =>
  problems.length === 1 ? problems[0]! : `${problems.length} problems:\n- ${problems.join('\n- ')}`;

import {
  ApplicationFailure,
  CancellationScope,
  ContinueAsNew,
  isCancellation,
  TemporalFailure,
  workflowInfo,
} from '@temporalio/workflow';
import type { WorkflowInterceptors } from '@temporalio/workflow';
import { nearestName } from '../policy/nearest-name.ts';
import { failure } from './failures.ts';
import { enterRun } from './run.ts';
import { WorkflowRun } from './workflow-run.ts';

/**
 * Failures that end a run as they are. Anything else that user code throws would make Temporal retry the workflow task for ever,
 * so it becomes a failure that says where to look.
 */
function asFailure(error: unknown, args: unknown[]): unknown {
  if (error instanceof TemporalFailure || error instanceof ContinueAsNew || isCancellation(error)) return error;
  const type = workflowInfo().workflowType;
  const cause = error instanceof Error ? error : new Error(String(error));
  if (cause.name === 'DeterminismViolationError') return error; // a matter of the worker's code version, not of this run
  if (args.length === 0 && cause instanceof TypeError) {
    return failure(
      'InvalidInput',
      `${type} was started without input, and needs one (${cause.message}). Start it with --input '{ … }'.`,
      cause,
    );
  }
  return failure(
    'WorkflowBug',
    `${type} threw ${cause.name}: ${cause.message}. Mend the workflow's code, then start it again.`,
    cause,
  );
}

/** Workflow interceptors of every run: lend verbs a run to work on, and give back all it holds when it ends, however it ends. */
export const interceptors = (): WorkflowInterceptors => ({
  inbound: [
    {
      async execute(input, next) {
        const run = new WorkflowRun(workflowInfo().workflowType);
        enterRun(run);
        const scope = new CancellationScope();
        let succeeded = false;
        try {
          const result = await scope.run(async () => {
            const made = await next(input);
            await run.finish();
            run.warnOfUnread();
            return made;
          });
          succeeded = true;
          return result;
        } catch (error) {
          succeeded = error instanceof ContinueAsNew;
          throw asFailure(error, input.args);
        } finally {
          scope.cancel();
          await run.cleanUp(succeeded);
          run.board.close();
        }
      },
    },
  ],
});

/** What runs when a type is started that nobody registered. */
export function unknownWorkflow(registered: string[]): () => Promise<never> {
  return async () => {
    const { workflowType } = workflowInfo();
    const nearest = nearestName(workflowType, registered);
    throw ApplicationFailure.create({
      type: 'UnknownWorkflow',
      nonRetryable: true,
      message: `no workflow is named '${workflowType}'${nearest ? `; did you mean '${nearest}'?` : '.'} Registered: ${registered.sort().join(', ')}.`,
    });
  };
}

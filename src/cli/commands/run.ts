import { existsSync, readFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { isGrpcServiceError, ServiceError, WorkflowExecutionAlreadyStartedError } from '@temporalio/client';
import type { ResolvedConfig } from '../../config/resolved.ts';
import { readPipeline } from '../../config/pipeline-schema.ts';
import { SpillwayError } from '../../contracts/errors.ts';
import { TaskQueue } from '../../contracts/pool.ts';
import { connect } from '../../worker/connect.ts';
import { Exit } from '../exit.ts';
import { followRun, reportTable, uiAddress } from '../follow-run.ts';
import type { Output } from '../output.ts';
import { readJson } from '../read-json.ts';

export interface RunOptions {
  /** A job file, or the name of a registered workflow. */
  what: string;
  /** JSON text, for a workflow. */
  input?: string;
  workflowId?: string;
  json: boolean;
}

/** What is to be started, checked as far as it can be before anything runs. */
function readWhat(options: RunOptions): { type: string; args: unknown[]; name: string } {
  if (options.what.endsWith('.json')) {
    if (options.input !== undefined)
      throw new SpillwayError(
        'InvalidInput',
        `--input belongs to a workflow; ${options.what} is a pipeline and carries its own values.`,
      );
    const job = readJson(options.what, existsSync(options.what) ? readFileSync(options.what, 'utf8') : undefined);
    const { name } = readPipeline({ kind: 'job', job });
    return { type: 'eltPipeline', args: [job], name };
  }
  const args = options.input === undefined ? [] : [readJson('--input', options.input)];
  return { type: options.what, args, name: options.what };
}

/** gRPC's status code. */
const INVALID_ARGUMENT = 3;

/** Why the server started no run. */
function notStarted(workflowId: string, cause: unknown): unknown {
  if (cause instanceof WorkflowExecutionAlreadyStartedError)
    return new SpillwayError('InvalidInput', `a run with the workflow id ${workflowId} is under way. Choose another --workflow-id, or leave it out.`, { cause }); // prettier-ignore
  if (!(cause instanceof ServiceError) || !isGrpcServiceError(cause.cause)) return cause;
  const { code, details } = cause.cause;
  return new SpillwayError(Number(code) === INVALID_ARGUMENT ? 'InvalidInput' : 'EngineUnreachable', `Temporal starts no run: ${details.replace(/\.$/, '')}.`, { cause }); // prettier-ignore
}

/** Starts a pipeline or workflow and follows it to its end. Interrupting stops the following, not the run. */
export async function runCommand(
  config: ResolvedConfig,
  options: RunOptions,
  output: Output,
  signal: AbortSignal,
): Promise<Exit> {
  const { type, args, name } = readWhat(options);
  const { client, connection } = await connect(config.temporal);
  try {
    const workflowId = options.workflowId ?? `${name}-${randomBytes(4).toString('hex')}`;
    const staticSummary = `${name}: ${type === 'eltPipeline' ? 'pipeline from a job file' : 'workflow'}, pool ${config.pool.name}`;
    const handle = await client.workflow
      .start(type, { workflowId, taskQueue: TaskQueue.WORKFLOWS, args, staticSummary })
      .catch((cause: unknown) => {
        throw notStarted(workflowId, cause);
      });
    const url =
      config.temporal.ui &&
      uiAddress(config.temporal.ui, config.temporal.namespace, workflowId, handle.firstExecutionRunId);
    output.err(`${workflowId} started${url ? `: ${url}` : ''}`);
    const end = await followRun(handle, output.err, signal).catch((error: unknown) => {
      if (!signal.aborted) throw error;
      return undefined;
    });
    if (!end) {
      output.err(
        `interrupted; ${workflowId} goes on. Stop it with: temporal workflow cancel --workflow-id ${workflowId}`,
      );
      return Exit.INTERRUPTED;
    }
    if (options.json)
      output.out(JSON.stringify({ workflowId, runId: handle.firstExecutionRunId, url, ...end }, null, 2));
    else {
      if (end.report && end.report.steps.length > 0) output.out(reportTable(end.report));
      for (const warning of end.report?.warnings ?? []) output.err(`warning: ${warning}`);
      if (end.kind === 'failed') output.err(`failed: ${end.message}`);
      else output.out(`${workflowId} completed`);
    }
    return end.kind === 'completed' ? Exit.OK : Exit.RUN_FAILED;
  } finally {
    await connection.close();
  }
}

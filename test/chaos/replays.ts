import { Worker } from '@temporalio/worker';
import { loadConfig } from '../../src/config/load-config.ts';
import { poolWorkflowId } from '../../src/contracts/pool.ts';
import { bundlePool, bundleWorkflows } from '../../src/worker/bundles.ts';
import { sharedHome } from '../integration/provision-home.ts';
import type { Stack } from '../integration/stack.ts';

let bundles: Promise<{ pool: { code: string }; runs: { code: string } }> | undefined;
async function build(stack: Stack): Promise<{ pool: { code: string }; runs: { code: string } }> {
  const config = await loadConfig({ cwd: stack.directory, env: stack.env, flags: { home: sharedHome } });
  const [pool, runs] = await Promise.all([bundlePool(config), bundleWorkflows(config)]);
  return { pool: pool, runs: runs };
}

/** Histories, of the pool and of runs, that do not replay with the code of today; each in one line. */
export async function brokenReplays(stack: Stack, runs: readonly string[]): Promise<string[]> {
  const { pool, runs: own } = await (bundles ??= build(stack));
  const broken: string[] = [];
  for (const workflowId of [poolWorkflowId(stack.pool), ...runs]) {
    const history = await stack.client.workflow.getHandle(workflowId).fetchHistory();
    const workflowBundle = workflowId === poolWorkflowId(stack.pool) ? pool : own;
    await Worker.runReplayHistory({ workflowBundle }, history).catch((error: Error) =>
      broken.push(`the history of ${workflowId} does not replay: ${error.message}`),
    );
  }
  return broken;
}

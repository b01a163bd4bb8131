import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import type { Client } from '@temporalio/client';
import { SpillwayError } from '../../src/contracts/errors.ts';
import type { PipelineSpec, StepReport } from '../../src/contracts/pipeline.ts';
import { TaskQueue } from '../../src/contracts/pool.ts';
import { RUN_REPORT_QUERY, type RunReport } from '../../src/contracts/report.ts';
import type { Environment } from '../../src/provision/command.ts';
import { packageRoot } from '../../src/provision/package-root.ts';

const READY_MS = 120_000;

/** A worker process of ours. */
export interface WorkerProcess {
  /** Most memory that it was seen to have resident, in bytes (VmHWM). */
  peakRssBytes(): number;
  stop(): Promise<void>;
}

/** Starts `spillway worker` on a home, and waits until it polls. */
export async function startWorkerProcess(home: string, env: Environment): Promise<WorkerProcess> {
  const child = execa(process.execPath, [join(packageRoot(), 'bin', 'spillway.js'), 'worker', '--home', home], {
    cwd: home, // a configuration file of the caller is not the bench's
    env: { ...env },
    extendEnv: false,
    stdin: 'ignore',
    reject: false,
    detached: true, // Ctrl-C is for the bench, which then stops it
  });
  let said = '';
  const polls = new Promise<void>((resolve) => {
    child.stderr.on('data', (chunk: Buffer | string) => {
      said += chunk.toString();
      if (/ polls pool /.test(said)) resolve();
    });
  });
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    await child;
  };
  const timer = new AbortController();
  const outcome = await Promise.race([
    polls.then(() => 'polls' as const),
    child.then(() => 'ended' as const),
    sleep(READY_MS, 'late' as const, { signal: timer.signal }),
  ]);
  timer.abort();
  if (outcome !== 'polls') {
    await stop();
    throw new SpillwayError(
      'EngineUnreachable',
      `The worker of the bench ${outcome === 'late' ? 'was not ready in time' : 'ended'}: ${said.trim().split('\n').at(-1) ?? ''}`,
    );
  }
  return {
    peakRssBytes: () =>
      Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))![1]) * 1024,
    stop,
  };
}

/** What one run of the pipeline took. */
export interface ProductRun {
  /** From asking Temporal to start it to hearing of its completion. */
  wallSeconds: number;
  steps: StepReport[];
}

/** Runs a pipeline to its end. */
export async function runPipelineOnce(client: Client, pipeline: PipelineSpec, workflowId: string): Promise<ProductRun> {
  const began = performance.now();
  const handle = await client.workflow.start('eltPipeline', {
    workflowId,
    taskQueue: TaskQueue.WORKFLOWS,
    args: [pipeline],
  });
  await handle.result();
  const wallSeconds = (performance.now() - began) / 1000;
  const { steps } = await handle.query<RunReport>(RUN_REPORT_QUERY);
  return { wallSeconds, steps };
}

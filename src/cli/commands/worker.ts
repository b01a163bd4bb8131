import { DefaultLogger, type LogEntry, Runtime } from '@temporalio/worker';
import type { ResolvedConfig } from '../../config/resolved.ts';
import type { SecretReader } from '../../worker/engines.ts';
import type { RunningWorker } from '../../worker/running-worker.ts';
import { startWorker } from '../../worker/start-worker.ts';
import { Exit } from '../exit.ts';
import type { Output } from '../output.ts';

/** Of a message of several lines the first, with the problems that it lists. */
export function firstLineOf(message: string): string {
  const [first = '', ...more] = message.split('\n');
  const problems = more.filter((line) => line.startsWith('- ')).map((line) => line.slice(2));
  return [first, problems.join(' ')].filter(Boolean).join(' ');
}

/** Failures carry whole histories of causes; the log gets their first line, Temporal has the rest. */
function oneLine({ level, message, meta }: LogEntry): void {
  if (message.startsWith('No workflows registered') || message.startsWith('No activities registered')) return; // each Worker has its one task
  const error: unknown = meta?.['error'];
  const what = error instanceof Error ? `: ${firstLineOf(error.message)}` : '';
  const who = [meta?.['workflowId'], meta?.['activityType']].filter((part) => typeof part === 'string').join(' ');
  process.stderr.write(`${level.toLowerCase()}: ${message}${who ? ` (${who})` : ''}${what}\n`);
}

/** One Runtime a process: signals are ours, and only what needs somebody is logged. */
export function installRuntime(): void {
  Runtime.install({ logger: new DefaultLogger('WARN', oneLine), shutdownSignals: [] });
}

/**
 * Runs a worker until it is told to stop. The first SIGTERM or SIGINT drains: no new steps, running ones go on until the drain deadline; one that comes while it
 * starts ends the start, and what the worker had been charged goes back. A second one ends the process at once; what it leaves is reconciled by the next worker.
 */
export async function workerCommand(config: ResolvedConfig, readSecret: SecretReader, output: Output): Promise<Exit> {
  installRuntime();
  const log = { info: output.err, warn: (line: string) => output.err(`warning: ${line}`) };
  const starting = new AbortController();
  let worker: RunningWorker | undefined;
  const stopped = new Promise<Exit>((resolve) => {
    const onSignal = (signal: NodeJS.Signals): void => {
      const what = worker ? `draining, up to ${Math.round(config.drainMs / 1000)} s` : 'stopping before it polls';
      output.err(`${signal}: ${what}; again to end at once`);
      const again = (): never => process.exit(Exit.INTERRUPTED);
      process.once('SIGTERM', again).once('SIGINT', again);
      starting.abort(new Error(`${signal} came while the worker started`));
      resolve(signal === 'SIGINT' ? Exit.INTERRUPTED : Exit.OK);
    };
    process.once('SIGTERM', onSignal).once('SIGINT', onSignal);
  });
  try {
    worker = await startWorker(config, { log, readSecret, signal: starting.signal });
  } catch (error) {
    if (starting.signal.aborted) return stopped;
    throw error;
  }
  // Said once it polls: who waits for it may send a signal at once.
  output.err(
    `worker ${process.pid} polls pool ${config.pool.name} on ${config.temporal.address}${worker.pollsHeavy ? '' : ' (light steps; another process runs the heavy ones)'}`,
  );
  try {
    return await Promise.race([stopped, worker.failed]);
  } finally {
    await worker.stop();
  }
}

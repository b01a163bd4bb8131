import type { Client } from '@temporalio/client';
import type { SecretReader } from './engines.ts';
import type { WorkerLog } from './worker-log.ts';

/** What a worker needs of the program around it. */
export interface WorkerHooks {
  log: WorkerLog;
  /** Reads secrets on this host; see `readSecret`. */
  readSecret: SecretReader;
  /** Ends a start that is under way; a worker that has started is ended by `stop`. */
  signal?: AbortSignal;
}

/** A worker process's Workers, and how to stop them. */
export interface RunningWorker extends AsyncDisposable {
  readonly client: Client;
  /** True once this process polls the heavy queue of its host. */
  readonly pollsHeavy: boolean;
  /** Rejects when a Worker fails; never resolves. */
  readonly failed: Promise<never>;
  /**
   * Stops taking work, lets running steps go on until the drain deadline, then cancels them, gives back what the process was
   * charged, and closes. Calling it again waits for the same end.
   */
  stop(): Promise<void>;
}

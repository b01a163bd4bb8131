import type { Client } from '@temporalio/client';
import { SimplePlugin } from '@temporalio/plugin';
import { createRunnerActivities, PoolClient } from '../../activities/index.ts';
import type { ResolvedConfig } from '../config/resolved.ts';
import { packageFiles } from './package-files.ts';
import { tmpfsFreeBytes } from '../host/tmpfs.ts';

export interface SpillwayPluginOptions {
  config: ResolvedConfig;
  client: Client;
  /** Whether the namespace has the search attributes that runs carry. @defaultValue false */
  searchAttributes?: boolean;
}

/**
 * Adds to a Worker of your own what workflows need to use our verbs: the interceptor, and the local activities that plan and lease.
 * Steps still run on the queues of `startWorker`. `startWorker` needs no plugin.
 */
export const spillway = ({ config, client, searchAttributes = false }: SpillwayPluginOptions): SimplePlugin =>
  new SimplePlugin({
    name: 'spillway',
    workerInterceptors: { workflowModules: [packageFiles.interceptor] },
    activities: createRunnerActivities({
      config,
      pool: new PoolClient(client),
      searchAttributes,
      shmFreeBytes: tmpfsFreeBytes,
    }),
  });

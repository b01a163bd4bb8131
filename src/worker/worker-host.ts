import type { Client, Connection } from '@temporalio/client';
import type { ResolvedConfig } from '../config/resolved.ts';
import type { ProcessId } from '../contracts/pool.ts';
import type { HostLockIdentity } from '../host/host-lock.ts';
import { readMachine } from '../host/machine.ts';
import { ownProcessId } from '../host/process-id.ts';

/** This process on this host, as the pool and the host lock know it. */
export interface WorkerHost {
  name: string;
  process: ProcessId;
  identity: HostLockIdentity;
}

export async function openHost(config: ResolvedConfig, client: Client, connection: Connection): Promise<WorkerHost> {
  const { clusterId } = await connection.workflowService.getClusterInfo({});
  const name = readMachine().host;
  return {
    name,
    process: ownProcessId(),
    identity: {
      pool: config.pool.name,
      cluster: clusterId ?? config.temporal.address,
      namespace: client.options.namespace,
      address: config.temporal.address,
      pid: process.pid,
      uid: process.getuid?.() ?? -1,
      cwd: process.cwd(),
      host: name,
      sinceMs: Date.now(),
    },
  };
}

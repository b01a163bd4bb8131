import type { StepEngines } from '../../activities/index.ts';
import { readParts } from '../config/parts-file.ts';
import { checkpointLimits } from '../config/checkpoint-limits.ts';
import type { ResolvedConfig, ResolvedSecret } from '../config/resolved.ts';
import { SpillwayError } from '../contracts/errors.ts';
import type { HostEvidence } from '../contracts/pool.ts';
import { createCliRuntime } from '../engines/container/cli-runtime.ts';
import { createProcessRuntime } from '../engines/container/process-runtime.ts';
import { connectPostgres } from '../engines/postgres/connection.ts';
import { openTrino } from '../engines/trino/client.ts';
import type { Trino } from '../engines/trino/trino-port.ts';
import { transformGroups } from '../engines/transform/transform-groups.ts';
import { transformProcesses } from '../engines/transform/transform-processes.ts';
import { openCheckpoints } from '../handoff/checkpoints.ts';
import { openHostScratch } from '../handoff/scratch-ledger.ts';
import type { CgroupTree, NoCgroups } from '../host/cgroup-tree.ts';
import { takesGroups } from '../host/container-runtime.ts';
import { readMachine } from '../host/machine.ts';
import { readProcessId } from '../host/process-id.ts';
import { sumByLease } from './alive-leases.ts';

/** Reads a secret of the configuration on this host. */
export type SecretReader = (secret: ResolvedSecret) => string;

/** The engines of one host, opened, and what they say of it. */
export interface Engines extends StepEngines {
  /** What of ours is alive on this host. */
  evidence(): Promise<HostEvidence>;
}

const NOT_BELOW: NoCgroups = { version: 'none', because: "docker's daemon leaves groups to systemd" };

/** Opens what steps work with. Nothing is connected yet: an engine that is down fails the steps that need it, not the worker. */
export async function openEngines(
  config: ResolvedConfig,
  readSecret: SecretReader,
  cgroups: CgroupTree | NoCgroups,
): Promise<Engines> {
  const { kind, flags, image } = config.runtime;
  const poolLimitBytes = config.hardware.poolBytes;
  const containers =
    kind === 'process'
      ? createProcessRuntime({ cgroups, poolLimitBytes })
      : createCliRuntime({ kind, flags, cgroups: (await takesGroups(kind)) ? cgroups : NOT_BELOW, poolLimitBytes });
  const trinos = new Map<string, Trino>();
  for (const [name, { url, user, password }] of Object.entries(config.trino)) {
    trinos.set(name, openTrino({ url, user, ...(password ? { password: readSecret(password) } : {}) }));
  }
  const scratch = await openHostScratch(config.scratch);
  return {
    scratch,
    checkpoints: openCheckpoints(scratch, checkpointLimits(config)),
    containers,
    datafusion: { runtime: containers, image, machine: readMachine(), ...(kind === 'process' && { user: ownUser() }) },
    transformGroups: transformGroups(cgroups, poolLimitBytes),
    trino: (name) => trinos.get(name) ?? unknownConnection('trino', name, [...trinos.keys()]),
    trinoPid: (name) => (config.trino[name]?.residence === 'resident' ? startedPid(config, 'trino') : undefined),
    token: ({ token }) => token && readSecret(token),
    postgres(name) {
      const found = config.postgres[name] ?? unknownConnection('postgres', name, Object.keys(config.postgres));
      return { connect: () => connectPostgres(found.url, found.password && readSecret(found.password)) };
    },
    async evidence() {
      const listed = await containers.listByLabels({ 'spillway.pool': config.pool.name });
      return {
        alive: sumByLease([
          ...listed.map(({ labels }) => ({
            leaseId: labels['spillway.lease'],
            token: Number(labels['spillway.token']),
            bytes: Number(labels['spillway.bytes'] ?? 0),
          })),
          ...transformProcesses().flatMap(({ token, lease }) =>
            lease?.pool === config.pool.name ? [{ token, leaseId: lease.leaseId, bytes: lease.bytes }] : [],
          ),
        ]),
        cgroup: cgroups.version,
        runtime: kind,
      };
    },
  };
}

const ownUser = (): string => `${process.getuid?.() ?? 0}:${process.getgid?.() ?? 0}`;

/** Process of a server that `spillway up` started, as long as it lives; it may have been started anew since, so it is read each time. */
export function startedPid(config: ResolvedConfig, part: 'trino' | 'postgres' | 'temporal'): number | undefined {
  const server = readParts(config.home)?.[part];
  if (server?.pid === undefined) return undefined;
  const alive = readProcessId(server.pid);
  return alive && (server.startedAt === undefined || alive.startedAt === server.startedAt) ? server.pid : undefined;
}

function unknownConnection(part: string, name: string, known: string[]): never {
  throw new SpillwayError(
    'InvalidInput',
    `no ${part} named '${name}' is configured. ${known.length > 0 ? `Configured: ${known.join(', ')}.` : 'Run `spillway up`.'}`,
  );
}

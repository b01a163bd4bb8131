import type { ResolvedConfig } from '../config/resolved.ts';
import { SpillwayError } from '../contracts/errors.ts';
import { type HostLockIdentity, takeHostLock, watchHostLock, type HeldHostLock } from '../host/host-lock.ts';

/** Whether two processes lend from the same pool: the same name, on the same Temporal cluster and namespace. */
const samePool = (a: HostLockIdentity, b: HostLockIdentity): boolean =>
  a.pool === b.pool && a.cluster === b.cluster && a.namespace === b.namespace;

/** One line about who lends this host's memory, and the ways out. */
function taken(by: HostLockIdentity | undefined, lock: string): SpillwayError {
  const who = by
    ? `pool ${by.pool} on Temporal ${by.address} (namespace ${by.namespace}) does, by process ${by.pid} of uid ${by.uid} in ${by.cwd} since ${new Date(by.sinceMs).toISOString()}`
    : `a process that does not answer holds the lock '${lock}'`;
  return new SpillwayError(
    'HostTaken',
    `This host's memory is already lent: ${who}. Join that pool (same temporal.address, namespace and pool.name), or stop its workers first; to split a host on purpose, give each pool its own pool.limit and pool.hostLock.`,
  );
}

export type HostShare = { kind: 'first'; lock: HeldHostLock } | { kind: 'joined'; holder: HostLockIdentity };

/**
 * Takes the host-wide lock, or joins the pool that has it.
 * @throws SpillwayError `HostTaken` when another pool lends this host's memory
 */
export async function shareHost(config: ResolvedConfig, identity: HostLockIdentity): Promise<HostShare> {
  const answer = await takeHostLock(config.pool.hostLock, identity);
  if (answer.kind === 'held') return { kind: 'first', lock: answer };
  if (!answer.by || !samePool(answer.by, identity)) throw taken(answer.by, config.pool.hostLock);
  return { kind: 'joined', holder: answer.by };
}

/** Waits until the process that polls the heavy queue is gone, and takes its place. @throws SpillwayError `HostTaken` when another pool was faster */
export async function waitForHost(
  config: ResolvedConfig,
  identity: HostLockIdentity,
  signal: AbortSignal,
): Promise<HeldHostLock> {
  const foreign = new AbortController();
  const lock = await watchHostLock(config.pool.hostLock, identity, {
    signal: AbortSignal.any([signal, foreign.signal]),
    onTaken: (by) => {
      if (!by || !samePool(by, identity)) foreign.abort(taken(by, config.pool.hostLock));
    },
  });
  return lock;
}

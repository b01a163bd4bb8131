import type { HostEvidence } from '../contracts/pool.ts';

/** A lease may be carried by several processes: a transform and the container that decodes its input. */
export function sumByLease(
  found: readonly { leaseId: string | undefined; token: number; bytes: number }[],
): HostEvidence['alive'] {
  const leases = new Map<string, HostEvidence['alive'][number]>();
  for (const { leaseId, token, bytes } of found) {
    if (leaseId === undefined) continue;
    const known = leases.get(leaseId) ?? { leaseId, token, bytes: 0 };
    leases.set(leaseId, { leaseId, token: Math.max(known.token, token), bytes: known.bytes + bytes });
  }
  return [...leases.values()];
}

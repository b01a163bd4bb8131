import type { PoolState } from './state.ts';
import { step } from './step.ts';

type Step = typeof step;

/** Every policy that a running pool may still follow; a pool keeps its version until it continues as new. */
const POLICIES: Readonly<Record<number, Step>> = { 1: step };

/** Version that new runs of a pool take. */
export const NEWEST_POLICY = 1 as const;

/** The policy a pool follows. */
export function policyOf(state: PoolState): Step {
  const policy = POLICIES[state.policyVersion];
  if (!policy)
    throw new Error(
      `pool ${state.pool} follows policy ${state.policyVersion}; this release knows ${Object.keys(POLICIES).join(', ')}. Run a newer release.`,
    );
  return policy;
}

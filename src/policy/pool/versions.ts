import type { PoolState } from './state.ts';
import type { PolicyOptions } from './policy-options.ts';
import { step } from './step.ts';

type Policy = (...of: Parameters<typeof step>) => ReturnType<typeof step>;
const withOptions =
  (of: PolicyOptions): Policy =>
  (before, event, nowMs, options) =>
    step(before, event, nowMs, { ...options, ...of });

/**
 * Every policy that a running pool may still follow; a pool keeps its version until it continues as new. 1 (of 0.1.0) leaves rows in memory where
 * they are; 2 takes them out of it for who cannot start otherwise; 3 counts on no byte that an idle engine was asked for and kept.
 */
const POLICIES: Readonly<Record<number, Policy>> = {
  1: withOptions({}),
  2: withOptions({ revokes: true }),
  3: withOptions({ revokes: true, settles: true }),
};

/** Version that new runs of a pool take. */
export const NEWEST_POLICY = 3 as const;

/** The policy a pool follows. */
export function policyOf(state: PoolState): Policy {
  const policy = POLICIES[state.policyVersion];
  if (!policy)
    throw new Error(
      `pool ${state.pool} follows policy ${state.policyVersion}; this release knows ${Object.keys(POLICIES).join(', ')}. Run a newer release.`,
    );
  return policy;
}

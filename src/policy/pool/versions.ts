import type { PoolState } from './state.ts';
import { step, type StepOptions } from './step.ts';

type Policy = (...of: Parameters<typeof step>) => ReturnType<typeof step>;
const withOptions =
  (of: StepOptions): Policy =>
  (before, event, nowMs, options) =>
    step(before, event, nowMs, { ...options, ...of });

/**
 * Every policy that a running pool may still follow; a pool keeps its version until it continues as new. 1 (of 0.1.0) leaves rows in memory where
 * they are; 2 takes them out of it for who cannot start otherwise.
 */
const POLICIES: Readonly<Record<number, Policy>> = { 1: withOptions({}), 2: withOptions({ revokes: true }) };

/** Version that new runs of a pool take. */
export const NEWEST_POLICY = 2 as const;

/** The policy a pool follows. */
export function policyOf(state: PoolState): Policy {
  const policy = POLICIES[state.policyVersion];
  if (!policy)
    throw new Error(
      `pool ${state.pool} follows policy ${state.policyVersion}; this release knows ${Object.keys(POLICIES).join(', ')}. Run a newer release.`,
    );
  return policy;
}

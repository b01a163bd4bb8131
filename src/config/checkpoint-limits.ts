import type { ResolvedConfig } from './resolved.ts';

/** How much is kept of rows that are to be found again, and how long. */
export const checkpointLimits = ({
  hardware,
  checkpointTtlMs,
}: ResolvedConfig): { limitBytes: number; ttlMs: number } => ({
  limitBytes: hardware.checkpointBytes,
  ttlMs: checkpointTtlMs,
});

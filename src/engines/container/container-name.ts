import { createHash } from 'node:crypto';

/** Label that every container of ours carries, whatever else it is. */
export const OURS = { spillway: '1' } as const;

/** What a container belongs to; also the order of its name. */
export interface ContainerIdentity {
  pool: string;
  run: string;
  step: string;
  token: number;
  leaseId?: string;
  /** Of the lease, what this container may use. */
  memoryBytes: number;
}

/** Longest part of a name that is taken from a run or step. */
const RUN_CHARS = 12;
const STEP_CHARS = 24;

/**
 * Name of an attempt's container and of its memory group: readable, at most 70 characters, and unique through a short hash of run and step.
 * The same attempt always has the same name.
 */
export function containerName(identity: Pick<ContainerIdentity, 'run' | 'step' | 'token'>): string {
  return `${attemptPrefix(identity)}${identity.token}`;
}

/** What names of all attempts of a step start with. */
export function attemptPrefix({ run, step }: Pick<ContainerIdentity, 'run' | 'step'>): string {
  const hash = createHash('sha256').update(`${run}\0${step}`).digest('hex').slice(0, 10);
  return `spillway-${clean(run, RUN_CHARS)}-${clean(step, STEP_CHARS)}-${hash}-t`;
}

/** Whether a name was made by {@link containerName}. */
export function isAttemptName(name: string): boolean {
  return /^spillway-.+-[0-9a-f]{10}-t\d+$/.test(name);
}

/** Labels of an attempt's container: by them it is found and removed, whoever started it. */
export function containerLabels(identity: ContainerIdentity): Record<string, string> {
  return {
    ...OURS,
    'spillway.pool': identity.pool,
    'spillway.run': identity.run,
    'spillway.step': identity.step,
    'spillway.token': String(identity.token),
    'spillway.bytes': String(identity.memoryBytes),
    ...(identity.leaseId !== undefined && { 'spillway.lease': identity.leaseId }),
  };
}

const clean = (text: string, chars: number): string => text.replaceAll(/[^a-zA-Z0-9]+/g, '-').slice(0, chars) || 'x';

import type { Demote, Granted, Holder, LeaseKind, Refused, Weight } from '../../contracts/pool.ts';
import type { ReconcileRequest } from '../../contracts/steps.ts';
import type { StepHistories } from '../step-history.ts';

/**
 * A lease goes `granted` → `begun` → gone. `ending`: its holder withdrew it while an attempt may still work; the bytes wait for proof.
 * `step.ts` makes the moves: `serve-queue.ts` the one to `granted`, `release.ts` those out.
 */
export type LeasePhase = 'granted' | 'begun' | 'ending';

export interface Lease {
  leaseId: string;
  kind: LeaseKind;
  weight: Weight;
  bytes: number;
  scratchBytes: number;
  holder: Holder;
  step: string;
  engine?: string;
  /** Name of the history that its end adds to. */
  history?: string;
  phase: LeasePhase;
  /** Of the newest attempt; 0 before the first begin. */
  token: number;
  begun?: { host: string; process: { pid: number; startedAt: number } };
  /** What it has taken over of its engine, as long as nobody has begun on it: then the engine's memory is measured anew. */
  tookOver?: DataLease;
  sinceMs: number;
  because: string;
  /** Last time somebody was sent to look after it; keeps suspicions from piling up. */
  lookedAtMs?: number;
  /** Its step has ended and these bytes stayed behind on the host: it takes no slot, and only a look that finds them gone ends it. */
  remnant?: true;
}

export interface Waiting {
  leaseId: string;
  kind: LeaseKind;
  weight: Weight;
  bytes: number;
  /** As of an ask. */
  leastBytes?: number;
  scratchBytes: number;
  priority: number;
  holder: Holder;
  step: string;
  engine?: string;
  history?: string;
  askedAtMs: number;
  /** Order of arrival. */
  arrival: number;
  /** As of a lease. */
  lookedAtMs?: number;
}

/** Bytes and files that outlive their writer. */
export interface DataLease {
  dataId: string;
  bytes: number;
  scratchBytes: number;
  /** Step and holder that wrote it; it goes when they do. */
  step: string;
  holder: Holder;
  sinceMs: number;
  /** Of the attempt that wrote it; absent for what an engine kept, and where an older release lent it. */
  token?: number;
  /** Last time an idle engine was asked to give it back; keeps such acts from piling up. */
  evictedAtMs?: number;
  /** An idle engine has said what it kept when it was asked last: asks that arrived before this, and that are content with less, do not wait for these. */
  keptFrom?: number;
  /** It gave back next to nothing then: asks that arrived before this have no hope of these. */
  hopelessFrom?: number;
  demotion?: Demotion;
}

/**
 * A host was asked to take rows out of memory. `asked` → `busy` (somebody reads them) or `failed` → `asked` again, after a while; ends with the rows
 * out of memory. `lost`: the pool was opened again, and will not hear how it went.
 */
export interface Demotion {
  phase: 'asked' | 'busy' | 'failed' | 'lost';
  atMs: number;
  /** Scratch that is charged for them until they are there. */
  scratchBytes: number;
  /** Of that, what an attempt which failed may have left on scratch: its rows are given up, and it is charged until their host says so. */
  leftBytes?: number;
  /** For whom, in words. */
  because: string;
}

export interface PoolState {
  stateVersion: 1;
  /** See `versions.ts`. */
  policyVersion: 1 | 2 | 3;
  pool: string;
  /** 0 until a host announced its limits: nothing is lent before. */
  limitBytes: number;
  scratchLimitBytes: number;
  host?: string;
  /** What the host said that it can lend; an operator may have resized the pool below it. */
  announcedBytes?: number;
  /** What an operator resized the pool to. */
  targetBytes?: number;
  paused?: { because: string; sinceMs: number };
  /** The next token; tokens only rise, over attempts, resets and lives of the pool. */
  nextToken: number;
  arrivals: number;
  leases: Record<string, Lease>;
  data: Record<string, DataLease>;
  queue: Waiting[];
  /** Never changed in place: states share it. Absent in pools that began before there were any. */
  histories?: StepHistories;
  stats: { granted: number; refused: number; ended: number; reconciled: number; maxQueue: number; stale: number };
}

/** What the workflow does after a step. */
export type Effect =
  | { kind: 'grant'; workflowId: string; runId: string; message: Granted }
  | { kind: 'refuse'; workflowId: string; runId: string; message: Refused }
  | { kind: 'reconcile'; request: ReconcileRequest }
  | { kind: 'evict'; engine: string }
  | { kind: 'demote'; request: Demote };

/** A pool that has lent nothing and knows no host. */
export function emptyPool(pool: string, policyVersion: PoolState['policyVersion']): PoolState {
  return {
    stateVersion: 1,
    policyVersion,
    pool,
    limitBytes: 0,
    scratchLimitBytes: 0,
    nextToken: 1,
    arrivals: 0,
    leases: {},
    data: {},
    queue: [],
    stats: { granted: 0, refused: 0, ended: 0, reconciled: 0, maxQueue: 0, stale: 0 },
  };
}

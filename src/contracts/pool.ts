/**
 * What holders and hosts say to the memory pool, and what it answers. Plain JSON: every shape survives a round trip.
 * Bytes are whole numbers of bytes; instants are epoch milliseconds.
 */

import type { StepRuntime } from './parts.ts';

/** A process of one host, told from a later one with the same pid by the instant it started (clock ticks since boot). */
export interface ProcessId {
  pid: number;
  startedAt: number;
}

export const Weight = { HEAVY: 'heavy', LIGHT: 'light' } as const;
export type Weight = (typeof Weight)[keyof typeof Weight];

/** `work`: a step; `engine`: a started server; `standing`: resident parts, for as long as their process lives. */
export const LeaseKind = { WORK: 'work', ENGINE: 'engine', STANDING: 'standing' } as const;
export type LeaseKind = (typeof LeaseKind)[keyof typeof LeaseKind];

/** Who keeps a lease alive: a workflow run, or a process of a host. */
export type Holder = { workflowId: string; runId: string } | { host: string; process: ProcessId };

/** Evidence that bytes are free. Nothing is lent again without one. */
export interface Proof {
  kind: 'exited' | 'cgroup-empty' | 'unlinked' | 'query-gone' | 'never-started';
  atMs: number;
  /** What was still held when the proof was taken. */
  bytesLeft: number;
}

/** What an attempt of a step really used. */
export interface StepUsage {
  peakBytes: number;
  scratchPeakBytes: number;
  inputBytes: number;
  outputBytes: number;
  rows: number;
  seconds: number;
  /** A {@link Verdict}, or `ok`. */
  verdict: string;
  /** Part of the lease that was for rows kept in memory, and not for the engine; absent when none was. */
  shmBytes?: number;
  /** The engine's own pool, where it ran full and rows were spilled: what was used beyond it is what the engine does not count. */
  fullPool?: { bytes: number; partitions: number };
}

/** What one run of a step used, as it is remembered. */
export interface StepMeasure {
  peakBytes: number;
  inputBytes: number;
  leaseBytes: number;
  seconds: number;
  atMs: number;
  /** Bytes of its rows in memory; absent where an older release remembered it. */
  outputBytes?: number;
  /** The engine's own pool ran full: it would have taken more than it was lent. */
  spilled?: true;
  /** Bytes a partition that lay beside that pool; absent where it never was full, and once the step was killed for memory. */
  besidePoolBytes?: number;
}

/** What a pool remembers of a step: the next run's first size is read from it. */
export interface StepHistory {
  /** The last 16 that went well, newest last. */
  runs: StepMeasure[];
  /** Most bytes with which it ran out of memory, and how often in a row it would have fitted in them since. */
  ranOut?: { bytes: number; inputBytes: number; atMs: number; fitted: number };
  /** What an operator said that it is to start with. */
  pinnedBytes?: number;
  lastMs: number;
}

/** Name of a step's history in its pool. */
export const historyKey = (pipeline: string, step: string): string => `${pipeline}/${step}`;

/** Asks for bytes. Asking again with the same `leaseId` changes nothing. */
export interface Ask {
  /** `${originalExecutionRunId}/${step}#${ordinal}` for steps; `standing/${host}/…` for resident parts. */
  leaseId: string;
  kind: LeaseKind;
  weight: Weight;
  bytes: number;
  /** It asks for all that can be lent: where that turns out to be less than `bytes`, it is served with that, down to this. @defaultValue `bytes` */
  leastBytes?: number;
  scratchBytes: number;
  /** 1 is served first, 5 last. */
  priority: number;
  /** A prediction; only explains and orders, never decides on safety. */
  expectedMs?: number;
  holder: Holder;
  step: string;
  /** Resident engine this step works on: what the engine kept after its last step is taken over by this lease. */
  engine?: string;
  /** {@link historyKey} under which what it uses is remembered. */
  history?: string;
  /** An earlier ask of this step that its attempt found ended: whatever became of it since, it is taken back. */
  replaces?: string;
  /** Leases of the same run that end with this ask; they take effect first, whatever the answer. */
  returns?: End[];
}

export type Answer =
  | { kind: 'granted'; bytes: number; because: string }
  | { kind: 'queued'; ahead: number; because: string }
  | { kind: 'refused'; because: string };

/** First act of each attempt: gives it a token higher than any before. */
export interface Begin {
  leaseId: string;
  /** Run id of the workflow run on whose behalf the attempt works. */
  runId: string;
  host: string;
  process: ProcessId;
}
export type BeginAnswer = { token: number } | 'stale';

/** A dataset that outlives its writer's lease. */
export interface Kept {
  dataId: string;
  bytes: number;
  scratchBytes: number;
}

/** Ends a lease: what is proven free goes back, what is kept becomes data leases, in one event. */
export interface End {
  leaseId: string;
  token: number;
  proof: Proof;
  keep: Kept[];
  used: StepUsage;
}

/** Takes an ask back. Never begun: freed at once. Begun: the holder is done with it, the bytes wait for {@link End}. */
export interface Withdraw {
  leaseId: string;
}

/** Asks for more, at once: granted or refused, never queued. */
export interface Grow {
  leaseId: string;
  token: number;
  bytes: number;
  scratchBytes: number;
}
export type GrowAnswer = { kind: 'granted'; bytes: number; because: string } | { kind: 'refused'; because: string };

/** A dataset is gone. */
export interface Drop {
  dataId: string;
  proof: Proof;
}

/** Has a host move rows that are kept in memory to its scratch, or give them up, as somebody waits for their bytes. */
export interface Demote {
  pool: string;
  dataId: string;
  step: string;
  /** Token of the attempt that wrote them. */
  token: number;
  /** Scratch that is kept free for them; with 0 there is none, and they go for good. */
  scratchBytes: number;
}

/**
 * How that went. `moved`: on scratch, readers find them there. `dropped`: gone, readers raise `HandoffLost`. `busy`: somebody reads them, and nothing
 * was done. `failed`: no host did it, or said so.
 */
export interface Demoted {
  dataId: string;
  token: number;
  outcome: 'moved' | 'dropped' | 'busy' | 'failed';
  /** Of the files on scratch now. */
  scratchBytes: number;
  because: string;
}

/** Id of the data lease that stands for what a resident engine did not give back. */
export const engineDataId = (engine: string): string => `engine:${engine}`;
/** Whether an id is one of those. */
export const isEngineData = (dataId: string): boolean => dataId.startsWith(engineDataId(''));

/** Id of the data lease that stands for what a step of a run wrote. */
export const dataIdOf = (run: string, step: string): string => `${run}/${step}`;
/** The run that a dataset belongs to; the id itself for what belongs to none. */
export const runOfData = (dataId: string): string => dataId.split('/')[0]!;

/** What a host says of itself when a worker starts. */
export interface HostEvidence {
  /** Leases whose containers, queries or processes were found alive on the host. */
  alive: { leaseId: string; token: number; bytes: number }[];
  cgroup: 'v1' | 'v2' | 'none';
  runtime: StepRuntime;
}
export interface Announce {
  host: string;
  limitBytes: number;
  scratchLimitBytes: number;
  evidence: HostEvidence;
}

export type AnnounceAnswer = { kind: 'accepted' } | { kind: 'refused'; because: string };

/** A control act found the holder closed or the process gone, removed what carried the lease, and looked again. */
export interface Reconciled {
  leaseId: string;
  /** Token the lease carried when it was looked at; a later begin makes this report void. */
  token: number;
  /** Holder that was looked at; a report about one whose lease was taken over since is void. */
  holder?: Holder;
  proof: Proof;
  because: string;
}

/** A worker or an operator suspects that a holder is gone; the pool has it looked at before anything is freed. */
export interface Suspect {
  leaseId: string;
  because: string;
}

/** What runs and steps say to a pool, all of one process in one message where many speak at once; answered in their order. */
export type Said =
  | { kind: 'acquire'; ask: Ask }
  | { kind: 'begin'; begin: Begin }
  | { kind: 'end'; ends: End[] }
  | { kind: 'withdraw'; withdraws: Withdraw[] }
  | { kind: 'drop'; drops: Drop[] };
/** Null for what needs no answer but that it was heard. */
export type SaidAnswer = Answer | BeginAnswer | null;

/** What an operator tells a pool. */
export type Operate =
  /** Grants nothing from now on; what runs goes on, and workers still start. */
  | { act: 'pause'; because: string }
  | { act: 'resume' }
  /** The limit falls to this as leases end, and rises at once; at most what the host announced. */
  | { act: 'resize'; limitBytes: number }
  /** Takes a lease back, or an ask out of the queue: what carries the lease is ended, and seen gone, before its bytes are lent again. */
  | { act: 'kick'; leaseId: string; because: string }
  /** A step is asked this to start with, whatever was measured or declared. */
  | { act: 'pin'; history: string; bytes: number }
  /** What was measured of a step, and what was pinned, is forgotten. */
  | { act: 'forget'; history: string };
export type OperateAnswer = { kind: 'done' | 'refused'; because: string };

/** Sent to a queued holder when its turn has come. */
export interface Granted {
  leaseId: string;
  bytes: number;
  because: string;
}
/** Sent to a queued holder that can never be served, for example after the pool shrank. */
export interface Refused {
  leaseId: string;
  because: string;
}

/** One line of {@link PoolStatus}. */
export interface LeaseStatus {
  leaseId: string;
  kind: LeaseKind | 'data';
  step: string;
  workflowId?: string;
  bytes: number;
  scratchBytes: number;
  weight: Weight;
  state: 'queued' | 'granted' | 'begun' | 'ending' | 'kept';
  token?: number;
  sinceMs: number;
  /** When it will end, if it takes as long as it mostly does. */
  expectedEndMs?: number;
  because: string;
}

/** Answer of the `status` query: for people and for `spillway pool`. */
export interface PoolStatus {
  pool: string;
  limitBytes: number;
  standingBytes: number;
  lendableBytes: number;
  lentBytes: number;
  freeBytes: number;
  scratchLimitBytes: number;
  scratchLentBytes: number;
  heavyTaken: boolean;
  hosts: string[];
  /** Why nothing is granted, while an operator has paused the pool. */
  paused?: string;
  /** What an operator resized it to, where the limit is still above. */
  targetBytes?: number;
  leases: LeaseStatus[];
  queue: LeaseStatus[];
  stats: Record<string, number>;
}

/** Names of the pool's messages. To holders they are prefixed `spillway.`. */
export const PoolMessage = {
  ACQUIRE: 'acquire',
  BEGIN: 'begin',
  END: 'end',
  WITHDRAW: 'withdraw',
  GROW: 'grow',
  DROP: 'drop',
  SEVERAL: 'several',
  ANNOUNCE: 'announce',
  SUSPECT: 'suspect',
  OPERATE: 'operate',
  STATUS: 'status',
  LEDGER: 'ledger',
  HISTORIES: 'histories',
  GRANTED: 'spillway.granted',
  REFUSED: 'spillway.refused',
} as const;

/** Type of the failure of an update that a pool could not read. */
export const INVALID_MESSAGE = 'InvalidMessage';

/** Workflow id of a pool. */
export const poolWorkflowId = (pool: string): string => `pool:${pool}`;

/** Task queues; see docs/architecture.md. */
export const TaskQueue = {
  WORKFLOWS: 'spillway',
  POOL: 'spillway-pool',
  heavy: (pool: string): string => `${pool}.heavy`,
  light: (pool: string): string => `${pool}.light`,
  control: (pool: string): string => `${pool}.control`,
  /** Every queue that a working pool has polled. */
  all: (pool: string): { queue: string; kind: 'workflow' | 'activity' }[] => [
    { queue: TaskQueue.WORKFLOWS, kind: 'workflow' },
    { queue: TaskQueue.POOL, kind: 'workflow' },
    ...[TaskQueue.heavy(pool), TaskQueue.light(pool), TaskQueue.control(pool)].map(
      (queue) => ({ queue, kind: 'activity' }) as const,
    ),
  ],
} as const;

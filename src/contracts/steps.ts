import type { CheckpointChoice, HandoffChoice, HandoffRef } from './handoff.ts';
import type { StepSpec } from './pipeline.ts';
import type { EngineOverhead, FurtherOutput, FusedQuery, PlanRequest, RunPlan } from './plan.ts';
import type { Answer, Ask, Demote, Demoted, End, Proof, StepUsage, Withdraw } from './pool.ts';

/** What an attempt of a step is given. */
export interface StepRequest<Spec extends StepSpec = StepSpec> {
  /** `originalExecutionRunId`: names everything made outside, the same across reset. */
  run: string;
  pool: string;
  /** Absent when the step is paid from the light allowance. */
  leaseId?: string;
  leaseBytes: number;
  scratchBytes: number;
  rung: string;
  spec: Spec;
  /** Table or step name → where its rows are. */
  inputs: Record<string, HandoffRef>;
  handoff?: HandoffChoice;
  /** Part of `leaseBytes` that is for rows kept in memory. */
  shmBytes?: number;
  /** Of the first ask alone: whoever failed with it goes without. */
  overhead?: EngineOverhead;
  /** Instead of the spec's statement. */
  fused?: FusedQuery;
  /** To be computed beside it. */
  further?: FurtherOutput[];
  /** Its rows are to be found again. */
  checkpoint?: CheckpointChoice;
  /** Counts the asks of this step within the run, from 0. */
  ordinal: number;
}

/** What an attempt gives back when it went well. */
export interface StepResult {
  token: number;
  proof: Proof;
  used: StepUsage;
  output?: HandoffRef;
  /** Step → the rows that were computed beside its own. */
  further?: Record<string, HandoffRef>;
  /** What its author should know, though all went well. */
  warnings?: string[];
  loaded?: { table: string; rows: number; bytes: number; strategy: string; because: string };
  ran?: { rows: number; because: string };
  written?: { path: string; rows: number; bytes: number; kind: string; because: string };
}

/** First detail of a failed attempt's failure: what the runner needs to end the lease. */
export interface StepFailureDetails {
  token: number;
  proof: Proof;
  used: StepUsage;
  /** Of `HandoffLost`: the inputs that are gone, by their names in {@link StepRequest.inputs}. */
  lost?: string[];
}

/** Activities of a leased step; see `activities/`. */
export interface StepActivities {
  trinoQuery(request: StepRequest): Promise<StepResult>;
  datafusionSql(request: StepRequest): Promise<StepResult>;
  transform(request: StepRequest): Promise<StepResult>;
  readFiles(request: StepRequest): Promise<StepResult>;
  postgresLoad(request: StepRequest): Promise<StepResult>;
  postgresSql(request: StepRequest): Promise<StepResult>;
  writeFiles(request: StepRequest): Promise<StepResult>;
}

/** What drops a run's handoffs once no reader is left, or the run has ended. */
export interface DropRequest {
  pool: string;
  run: string;
  /** Data leases to give back once the files are gone. */
  dataIds: string[];
  /** Only what these steps wrote goes. @defaultValue all of the run */
  steps?: string[];
  /** Some attempt did not end in good order: containers, queries and loads of the run are looked for as well. */
  everything: boolean;
  /** The run succeeded: its checkpoints go as well, but for those that are to be kept. */
  checkpoints?: 'drop';
}

/** What looks for the rows that a step of this run, or of another one, computed before. */
export interface FindCheckpoint {
  pool: string;
  run: string;
  step: string;
  checkpoint: CheckpointChoice;
}

/** Local activities of the runner: recorded decisions and messages to the pool. */
export interface RunnerActivities {
  planRun(request: PlanRequest): Promise<RunPlan>;
  acquire(request: { pool: string; ask: Ask }): Promise<Answer>;
  endLeases(request: { pool: string; ends: End[] }): Promise<void>;
  withdrawLeases(request: { pool: string; withdraws: Withdraw[] }): Promise<void>;
}

/** Short acts on the control queue of a host; never leased. */
export interface ControlActivities {
  /** Ledger of the last closed run of this pool, or null when there is none. */
  recoverLedger(request: { pool: string; runId: string }): Promise<unknown>;
  /** Has a resident engine give back what it kept. */
  evictEngine(request: { pool: string; engine: string }): Promise<Proof>;
  /** Rows of a step that were computed before, made this run's; null when there are none. */
  findCheckpoint(request: FindCheckpoint): Promise<HandoffRef | null>;
  dropHandoffs(request: DropRequest): Promise<{ bytes: number }>;
  /** Takes rows out of memory: to scratch, or for good where there is no room; nothing while somebody reads them. */
  demoteRows(request: Demote): Promise<Demoted>;
  /** Removes what carries the lease and looks again. `holder-alive`: the suspicion was wrong. */
  reconcile(request: ReconcileRequest): Promise<ReconcileAnswer>;
}

export interface ReconcileRequest {
  pool: string;
  leaseId: string;
  token: number;
  step: string;
  /** The holder said itself that it is done with the lease; then only what carries the lease is looked for. */
  withdrawn: boolean;
  /** Process that began the lease, and its host; absent when it was never begun. */
  begun?: { host: string; process: { pid: number; startedAt: number } };
  holder: Ask['holder'];
}
export type ReconcileAnswer =
  { kind: 'free'; proof: Proof; because: string } | { kind: 'holder-alive'; because: string };

import type { CheckpointChoice, HandoffChoice } from './handoff.ts';
import type { StepSpec } from './pipeline.ts';
import type { StepMeasure, Weight } from './pool.ts';

/** A size a step may be lent, named. */
export interface Rung {
  /** `S`, `M`, `L`, `whole`, `declared`, `pinned` or `measured`. */
  name: string;
  bytes: number;
}

/** Earlier runs of a step that nobody sized: its first ask is scaled from them to the bytes that it reads. */
export interface Measured {
  runs: StepMeasure[];
  /** Lease ÷ peak at which its engine lacks nothing. */
  headroom: number;
  /** Bytes of its lease that are not the engine's: those of a container that decodes its input. */
  besideBytes: number;
  leastBytes: number;
}

/** What an engine took beside its own pool in earlier runs of a step, in all of which the pool was full. */
export interface EngineOverhead {
  /** The most, a partition. */
  partitionBytes: number;
  runs: number;
}

/** A statement and what its tables are: rows of a step, or a statement that runs within this one. What several read is there each time, and is computed once. */
export interface FusedQuery {
  step: string;
  sql: string;
  from: Record<string, string | FusedQuery>;
}

/** Rows of another step, which a step's container computes and hands over as well. */
export interface FurtherOutput {
  step: string;
  query: FusedQuery;
  handoff: HandoffChoice;
}

/** One step of a run, decided: the workflow executes it and decides nothing the plan could have decided. */
export interface PlannedStep {
  step: string;
  spec: StepSpec;
  weight: Weight;
  taskQueue: string;
  /** `allowance`: paid from the worker's standing charge, no lease. */
  charge: 'lease' | 'allowance';
  /** Sizes to try, smallest first; the first is what is asked. */
  rungs: Rung[];
  /** What differs where what it reads went to Parquet while it was written, though that was planned otherwise: it is decoded in a container. */
  ifParquet?: Pick<PlannedStep, 'charge' | 'rungs' | 'history' | 'measured' | 'scratchBytes' | 'because'>;
  /** Name of its history in the pool. */
  history?: string;
  /** Absent where its size was declared or pinned, and before its first run; then {@link PlannedStep.rungs} is all that is tried. */
  measured?: Measured;
  /** Lets its engine count on more of the lease than without; absent until enough runs have shown it. */
  overhead?: EngineOverhead;
  scratchBytes: number;
  /** Asked on top of each rung: its rows are kept in memory up to this, what is more goes to disk. */
  shmBytes?: number;
  priority: number;
  /** Steps whose rows this one reads. */
  needs: string[];
  /** What runs as one statement in its container; absent where that is its own alone. Its tables that steps make are named `<step>.<table>` then. */
  fused?: FusedQuery;
  /** What its container hands over beside its own rows; its tables are named `<step>.<table>` as well. */
  further?: FurtherOutput[];
  /** The step whose container computes its rows. What else is said of it here is for when they are lost: then it has one of its own. */
  madeWith?: string;
  /** How its rows reach their readers; absent for sinks. */
  handoff?: HandoffChoice;
  /** Its rows are looked for before it asks for memory, and found again later. */
  checkpoint?: CheckpointChoice;
  startToCloseMs: number;
  heartbeatMs: number;
  maximumAttempts: number;
  initialIntervalMs: number;
  /** Name of the resident engine it works on, when the pool lends that engine's memory. */
  residentEngine?: string;
  /** Engine as people know it, for summaries: `Trino`, `DataFusion`, `PostgreSQL`. */
  engine: string;
  because: string;
}

/** Answer of the recorded planning activity. */
export interface RunPlan {
  planVersion: 1;
  pool: string;
  steps: PlannedStep[];
  /** The sinks that were asked for, in order. */
  sinks: string[];
  /** Steps that run within another one's statement. */
  fused?: { step: string; into: string; because: string }[];
  warnings: string[];
  /** False when the namespace lacks our search attributes; they are then not written. */
  searchAttributes: boolean;
}

/** What is to be planned: steps that verbs built up, or a whole pipeline that came as data. Nothing about either was checked before. */
export type PlanRequest =
  | {
      kind: 'steps';
      pipeline: string;
      steps: unknown[];
      /** Sinks that were called together. */
      sinks: string[];
      /** Handoffs that an earlier plan of the run decided: what is written stays as it is. */
      decided: Record<string, HandoffChoice>;
    }
  | { kind: 'job'; job: unknown };

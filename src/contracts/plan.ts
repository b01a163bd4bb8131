import type { HandoffChoice } from './handoff.ts';
import type { StepSpec } from './pipeline.ts';
import type { Weight } from './pool.ts';

/** A size a step may be lent, named. */
export interface Rung {
  /** `S`, `M`, `L`, `whole`, or `declared`. */
  name: string;
  bytes: number;
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
  scratchBytes: number;
  priority: number;
  /** Steps whose rows this one reads. */
  needs: string[];
  /** How its rows reach their readers; absent for sinks. */
  handoff?: HandoffChoice;
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

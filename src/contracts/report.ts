import type { StepReport } from './pipeline.ts';

/** Query that every run of ours answers, also after it has ended. */
export const RUN_REPORT_QUERY = 'spillway.report';

export interface RunReport {
  workflowId: string;
  pool: string;
  steps: StepReport[];
  /** Steps that are under way, and what they do. */
  now: Record<string, string>;
  warnings: string[];
}

/** Search attributes that runs carry where the namespace has them; all of type Keyword. */
export const SearchAttribute = { POOL: 'SpillwayPool', STATE: 'SpillwayState', STEP: 'SpillwayStep' } as const;

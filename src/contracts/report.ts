import { HandoffMode } from './handoff.ts';
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

/** Rows of a step; undefined of CSV files, whose rows nobody has counted before a statement reads them. */
export const countedRows = ({ mode, rows }: Pick<StepReport, 'mode' | 'rows'>): number | undefined =>
  mode === HandoffMode.CSV ? undefined : rows;

/** Search attributes that runs carry where the namespace has them; all of type Keyword. */
export const SearchAttribute = { POOL: 'SpillwayPool', STATE: 'SpillwayState', STEP: 'SpillwayStep' } as const;

import type { IndexSpec } from '../../contracts/pipeline.ts';
import type { TargetColumn } from './types.ts';

/** A column of the table to be made, with the default it keeps from the table it replaces. */
export interface PlannedColumn extends TargetColumn {
  readonly defaultExpression?: string;
}

/** The table to be made. */
export interface TablePlan {
  readonly columns: readonly PlannedColumn[];
  readonly key: readonly string[];
  readonly indexes: readonly IndexSpec[];
  readonly warnings: readonly string[];
  /** What is altered in the table that is there before rows go into it: clauses of ALTER TABLE. */
  readonly alterations: readonly string[];
  /** What stands between the parentheses of CREATE TABLE instead of the columns. */
  readonly body?: string;
}

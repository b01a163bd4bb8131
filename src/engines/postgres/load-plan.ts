import type { LoadWrite } from '../../contracts/pipeline.ts';
import type { AttemptName, TableName } from './identifiers.ts';
import type { Claim } from './ledger.ts';
import type { TablePlan } from './table-plan.ts';

/** An index or key of the new table. */
export interface PlannedIndex {
  readonly columns: readonly string[];
  readonly unique: boolean;
  readonly primary: boolean;
  /** It belongs to a unique constraint. @defaultValue false */
  readonly constraint?: boolean;
  /** Method, columns and options, as `pg_get_indexdef` writes them behind USING. @defaultValue its columns */
  readonly using?: string;
}

/** A load that is one partition of its target. */
export interface PartitionPlan {
  /** `for values …`, as it was asked. */
  readonly boundSql: string;
  /** The bound as the server writes it. */
  readonly bound: string;
  /** Name of the constraint that rows are held against while they are loaded. */
  readonly check: string;
  /** What the name of a new partition ends with. */
  readonly suffix: string;
  /** Whom the partition belongs to. */
  readonly owner: string;
}

/** A load, decided: what the strategies carry out. */
export interface LoadPlan {
  readonly attempt: AttemptName;
  readonly claim: Claim;
  readonly target: TableName;
  readonly staging: TableName;
  readonly table: TablePlan;
  readonly indexes: readonly PlannedIndex[];
  /** How a table that is there takes the rows; a new one is always made by a strategy of `replace`. */
  readonly write: LoadWrite;
  /** Set where the rows are a partition of the target. */
  readonly partition?: PartitionPlan;
  /** Whether rows go into the table that is there. */
  readonly intoExisting: boolean;
  readonly choice: { readonly strategy: string; readonly because: string };
  readonly indexOrder: 'before-logged' | 'after-logged';
  /** Connections that copy at one time. */
  readonly connections: number;
  /** Arrow bytes of what is written in one transaction, where the staging table is filled chunk by chunk. */
  readonly chunkBytes: number;
  readonly expectedRows: number | undefined;
  readonly warnings: readonly string[];
  /** Longest wait for readers of the old table. @defaultValue 2 minutes */
  readonly swapWaitMs?: number;
}

/** What is needed to index a staging table and to put it in the target's place. */
export type StagedTable = Pick<
  LoadPlan,
  'attempt' | 'target' | 'staging' | 'table' | 'indexes' | 'write' | 'swapWaitMs'
>;

/** What a load is at. */
export const LoadPhase = {
  CONNECTING: 'connecting',
  OPENING: 'opening the rows',
  COPYING: 'copying',
  INDEXING: 'indexing',
  LOGGING: 'making it durable',
  ANALYZING: 'analyzing',
  MERGING: 'merging',
  PUBLISHING: 'publishing',
} as const;
export type LoadPhase = (typeof LoadPhase)[keyof typeof LoadPhase];

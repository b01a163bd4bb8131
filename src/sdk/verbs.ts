import type {
  DatafusionSqlStep,
  FilesStep,
  PostgresLoadStep,
  PostgresSqlStep,
  SinkResult,
  TransformStep,
  TrinoQueryStep,
  WriteStep,
} from '../contracts/pipeline.ts';
import { Dataset, stepOf } from './dataset.ts';
import { failure } from './failures.ts';
import { currentRun } from './run.ts';

type Options<Step, Key extends keyof Step = never> = Omit<Step, 'step' | 'verb' | Key>;

function checkOptions(verb: string, step: unknown, options: unknown): void {
  if (typeof step !== 'string') {
    throw failure(
      'InvalidInput',
      `${verb}() needs a step name as its first argument, got ${JSON.stringify(step) ?? 'undefined'}. Write ${verb}('name', { … }).`,
    );
  }
  if (typeof options !== 'object' || options === null) {
    throw failure(
      'InvalidInput',
      `${verb}('${step}') needs its options as the second argument, got ${JSON.stringify(options) ?? 'undefined'}.`,
    );
  }
}

/** Rows of a query that Trino runs; large results are unloaded on the server. */
function query(step: string, options: Options<TrinoQueryStep>): Dataset {
  checkOptions('trino.query', step, options);
  // JSON would make NULL of it, and a comparison with NULL finds no row: a mistyped key of an input would empty a table.
  const missing = Array.isArray(options.params)
    ? options.params.findIndex((value) => (value as unknown) === undefined)
    : -1;
  if (missing >= 0) {
    throw failure(
      'InvalidInput',
      `trino.query('${step}') got undefined as parameter ${missing + 1}. Check the names in the workflow's input; write null for NULL.`,
    );
  }
  currentRun('trino.query').add({ ...options, step, verb: 'trino.query' });
  return new Dataset(step);
}

/** Rows of a DataFusion query over other datasets, run in a container limited to what it was lent. */
function sql(step: string, options: Options<DatafusionSqlStep, 'from'> & { from: Record<string, Dataset> }): Dataset {
  checkOptions('datafusion.sql', step, options);
  const from: Record<string, string> = {};
  for (const [table, dataset] of Object.entries(options.from ?? {})) {
    from[table] = stepOf(dataset, 'datafusion.sql', step, `from.${table}`);
  }
  currentRun('datafusion.sql').add({ ...options, from, step, verb: 'datafusion.sql' });
  return new Dataset(step);
}

/** Rows that a registered TypeScript function makes of another dataset's, batch by batch, in a process of its own. */
export function transform(step: string, options: Options<TransformStep, 'from'> & { from: Dataset }): Dataset {
  checkOptions('transform', step, options);
  const from = stepOf(options.from, 'transform', step, 'from');
  currentRun('transform').add({ ...options, from, step, verb: 'transform' });
  return new Dataset(step);
}

/** Rows of files in a configured directory, read where they lie. */
export function files(step: string, options: Options<FilesStep>): Dataset {
  checkOptions('files', step, options);
  currentRun('files').add({ ...options, step, verb: 'files' });
  return new Dataset(step);
}

/** Writes a dataset into a folder of a configured directory. Starts at once; resolves when the folder is there as a whole. */
const writer =
  (verb: WriteStep['verb']) =>
  (step: string, options: Options<WriteStep, 'from'> & { from: Dataset }): Promise<SinkResult> => {
    checkOptions(verb, step, options);
    const from = stepOf(options.from, verb, step, 'from');
    return currentRun(verb).sink({ ...options, from, step, verb });
  };

/** Loads a dataset into a PostgreSQL table, exactly once. Starts at once; resolves when the table is published. */
function load(step: string, options: Options<PostgresLoadStep, 'from'> & { from: Dataset }): Promise<SinkResult> {
  checkOptions('postgres.load', step, options);
  const from = stepOf(options.from, 'postgres.load', step, 'from');
  return currentRun('postgres.load').sink({ ...options, from, step, verb: 'postgres.load' });
}

/** Runs one statement in PostgreSQL, exactly once. Starts at once; resolves with the rows that it touched. */
function statement(step: string, options: Options<PostgresSqlStep>): Promise<SinkResult> {
  checkOptions('postgres.sql', step, options);
  return currentRun('postgres.sql').sink({ ...options, step, verb: 'postgres.sql' });
}

/** Trino steps. */
export const trino = { query } as const;
/** DataFusion steps. */
export const datafusion = { sql } as const;
/** Steps that write files. */
export const write = { parquet: writer('write.parquet'), arrow: writer('write.arrow') } as const;
/** PostgreSQL steps. */
export const postgres = { load, sql: statement } as const;

/**
 * Runs a pipeline given as data: the same graph that the verbs build, run by the same step runner.
 * What stands in the data is checked on the host before anything runs.
 */
export function runPipeline(spec: unknown): Promise<SinkResult[]> {
  return currentRun('runPipeline').pipeline(spec);
}

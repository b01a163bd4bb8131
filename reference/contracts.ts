import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Verb } from '../src/contracts/pipeline.ts';
import { type Documented, documentedKeys } from './doc-comments.ts';

/** Interfaces of `src/contracts/pipeline.ts` by verb. */
export const STEP_CONTRACTS: Readonly<Record<Verb, string>> = {
  'trino.query': 'TrinoQueryStep',
  'datafusion.sql': 'DatafusionSqlStep',
  transform: 'TransformStep',
  files: 'FilesStep',
  'postgres.load': 'PostgresLoadStep',
  'postgres.sql': 'PostgresSqlStep',
  'write.parquet': 'WriteStep',
  'write.arrow': 'WriteStep',
};

const PIPELINE = join(dirname(fileURLToPath(import.meta.url)), '..', 'src', 'contracts', 'pipeline.ts');

/** Documented options of one of these interfaces. */
export const stepOptions = (contract: string): ReadonlyMap<string, Documented> => documentedKeys(PIPELINE, contract);

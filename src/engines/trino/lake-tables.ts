import { SpillwayError } from '../../contracts/errors.ts';
import type { Attempt } from '../../handoff/attempt.ts';
import { parseAttemptName, safeName } from '../../handoff/attempt.ts';
import { runTables } from './attempt-names.ts';
import type { Trino } from './trino-port.ts';
import { trinoDetails } from './errors.ts';
import { quoteIdentifier, renderString } from './parameters.ts';

/** Schema of the lake that unloads use. Its tables last as long as the unload; the files outlive them. */
export const LAKE_SCHEMA = 'spillway';

/** Makes the schema of unloads where it is not there yet. Raises InvalidInput when the server has no such catalog. */
export async function ensureLakeSchema(trino: Trino, lakeCatalog: string): Promise<void> {
  try {
    await trino.short(`CREATE SCHEMA IF NOT EXISTS ${quoteIdentifier(lakeCatalog)}.${LAKE_SCHEMA}`);
  } catch (error) {
    if (trinoDetails(error)?.errorName !== 'CATALOG_NOT_FOUND') throw error;
    throw new SpillwayError(
      'InvalidInput',
      `Add a Hive catalog named ${lakeCatalog} to Trino at ${trino.endpoint.url}, or set \`lakeCatalog\` of the connection to the one it has.`,
      { cause: error },
    );
  }
}

/** Full name of a table of the lake, quoted. */
export function lakeTable(lakeCatalog: string, table: string): string {
  return `${quoteIdentifier(lakeCatalog)}.${LAKE_SCHEMA}.${quoteIdentifier(table)}`;
}

/** Drops a table if it is there. Its files stay: an unload's table is external. */
export async function dropLakeTable(trino: Trino, lakeCatalog: string, table: string): Promise<void> {
  await trino.short(`DROP TABLE IF EXISTS ${lakeTable(lakeCatalog, table)}`);
}

/** Drops what earlier attempts of a step left in the lake's catalogue; says how many tables there were. */
export async function dropLowerTables(trino: Trino, lakeCatalog: string, attempt: Attempt): Promise<number> {
  const prefix = runTables(attempt.run);
  const step = safeName(attempt.step);
  const lower = (await tablesOf(trino, lakeCatalog, prefix)).filter((table) => {
    const other = parseAttemptName(table.slice(prefix.length));
    return other?.step === step && other.token < attempt.token;
  });
  for (const table of lower) await dropLakeTable(trino, lakeCatalog, table);
  return lower.length;
}

/** Drops what a run left in the lake's catalogue; says how many tables there were. */
export async function dropRunTables(trino: Trino, lakeCatalog: string, run: string): Promise<number> {
  const tables = await tablesOf(trino, lakeCatalog, runTables(run));
  for (const table of tables) await dropLakeTable(trino, lakeCatalog, table);
  return tables.length;
}

async function tablesOf(trino: Trino, lakeCatalog: string, prefix: string): Promise<string[]> {
  const rows = await trino.short(
    `SELECT table_name FROM ${quoteIdentifier(lakeCatalog)}.information_schema.tables
     WHERE table_schema = ${renderString(LAKE_SCHEMA)} AND starts_with(table_name, ${renderString(prefix)})`,
  );
  return rows.map((row) => String(row[0]));
}

import type { SpillwayError } from '../../contracts/errors.ts';
import { nearestName } from '../../policy/nearest-name.ts';
import type { Trino } from './trino-port.ts';
import { trinoDetails } from './errors.ts';
import { quoteIdentifier } from './parameters.ts';

const MOST_NAMES = 3;
const LOOK_UP_MS = 5000;

/**
 * The end of a message about a table, schema or catalog that does not exist: ` (nearest: lineitem, …)`. Empty when nothing is
 * near, and when the look-up fails: the error that is being explained matters more.
 */
export async function explainUnknownName(trino: Trino, error: SpillwayError): Promise<string> {
  const details = trinoDetails(error);
  const typed = /'([^']+)'/.exec(details?.message ?? '')?.[1]?.split('.') ?? [];
  const [sql, prefix, name] = lookUp(details?.errorName, details?.message ?? '', typed);
  if (sql === undefined || name === undefined) return '';
  try {
    const known = (await trino.short(sql, { withinMs: LOOK_UP_MS })).map((row) => String(row[0]));
    const nearest = nearestNames(name, known).map((found) => prefix + found);
    return nearest.length ? ` (nearest: ${nearest.join(', ')})` : '';
  } catch {
    return '';
  }
}

/** The statement that lists what could have been meant, what stands before each name, and the name that was typed. */
function lookUp(errorName: string | undefined, message: string, typed: string[]): [string?, string?, string?] {
  const [catalog, schema, table] = typed;
  if (errorName === 'TABLE_NOT_FOUND' && catalog && schema && table) {
    const from = `${quoteIdentifier(catalog)}.${quoteIdentifier(schema)}`;
    return [`SHOW TABLES FROM ${from}`, `${catalog}.${schema}.`, table];
  }
  if (errorName === 'CATALOG_NOT_FOUND' && catalog) return ['SHOW CATALOGS', '', catalog];
  // The message names the schema only; its catalog is not said, so schemas of all catalogs are looked through.
  if (errorName === 'SCHEMA_NOT_FOUND' && catalog && !message.includes('.')) {
    return ['SELECT DISTINCT table_schem FROM system.jdbc.schemas', '', catalog];
  }
  return [];
}

/** The nearest few of the known names, best first. */
export function nearestNames(typed: string, known: readonly string[]): string[] {
  const found: string[] = [];
  for (;;) {
    const next = nearestName(
      typed,
      known.filter((name) => !found.includes(name)),
    );
    if (next === undefined || found.length === MOST_NAMES) return found;
    found.push(next);
  }
}

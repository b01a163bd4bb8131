import type { Connection } from '@temporalio/client';
import { SearchAttribute } from '../contracts/report.ts';

/** Whether the namespace knows all our search attributes; those it lacks are named. */
export async function probeSearchAttributes(
  connection: Connection,
  namespace: string,
): Promise<{ present: boolean; missing: string[] }> {
  const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace });
  const missing = Object.values(SearchAttribute).filter((name) => !Object.hasOwn(customAttributes, name));
  return { present: missing.length === 0, missing };
}

/** The command that adds what is missing. */
export const addSearchAttributes = (missing: string[], namespace: string): string =>
  `temporal operator search-attribute create --namespace ${namespace} ${missing.map((name) => `--name ${name} --type Keyword`).join(' ')}`;

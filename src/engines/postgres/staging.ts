import { quoteTable } from './identifiers.ts';
import { dropStaging, type LoadedChunk, readChunks, readLoad } from './ledger.ts';
import type { LoadPlan } from './load-plan.ts';
import { createTableSql, type StagingKind } from './schema.ts';
import type { Session } from './session.ts';
import { SET_SOURCE, TABLE_EXISTS, UNINDEX } from './sql.ts';

/** Makes the staging table of an attempt, in the place of one that an earlier attempt has left to go on with. */
export async function makeStaging(session: Session, plan: LoadPlan, kind: StagingKind): Promise<void> {
  await dropStaging(session, plan.claim, plan.staging.table);
  await session.run(createTableSql(quoteTable(plan.staging), plan.table, kind));
}

/**
 * Goes on with the staging table that an earlier attempt has left, where that was filled from the same files, cut alike, for the same columns; else makes one.
 * Answers the chunks that are in it.
 */
export async function openStaging(session: Session, plan: LoadPlan, identity: string): Promise<LoadedChunk[]> {
  const { run, step, token } = plan.claim;
  const staging = quoteTable(plan.staging);
  // The name of the staging table has the token in it.
  const source = `${identity} ${createTableSql('staging', plan.table, 'staged')}`;
  return session.transaction(async () => {
    const before = await readLoad(session, plan.claim);
    const [{ there } = { there: false }] = await session.query<{ there: boolean }>(TABLE_EXISTS, [staging]);
    if (there && before?.source === source) {
      // Those of the earlier attempt have its names, and may be of any kind.
      for (const { statement } of await session.query<{ statement: string }>(UNINDEX, [staging]))
        await session.run(statement);
      return readChunks(session, plan.claim);
    }
    await makeStaging(session, plan, 'staged');
    await session.run(SET_SOURCE, [run, step, token, source]);
    return [];
  });
}

import type { LoadRow } from './ledger.ts';
import { endAttempt, readLoad } from './ledger.ts';
import type { PostgresDeps } from './session.ts';
import { Session } from './session.ts';
import { LEDGER_EXISTS, READ_LOADING, READ_RUN, STRAY_STAGING } from './sql.ts';

/** A load that was found unfinished, and what became of it. */
export interface RemovedLoad {
  run: string;
  step: string;
  token: number;
  target: string;
  /** Staging table that was dropped. */
  staging: string | null;
  /** Backend that was ended, where one was recorded. */
  backend: number | null;
  /** `published`: it finished while it was being looked at, and stays. */
  state: LoadRow['state'];
}

/** What carries our names in a database. */
export interface Leftovers {
  /** Loads that run, or were left by a dead attempt. */
  loads: Pick<LoadRow, 'run' | 'step' | 'token' | 'state' | 'target' | 'staging' | 'application' | 'backend_pid'>[];
  /** Staging tables that the ledger does not know. */
  strayTables: string[];
}

async function withSession<T>(deps: PostgresDeps, act: (session: Session) => Promise<T>, without: T): Promise<T> {
  const session = await Session.open(deps, 'spillway/janitor');
  try {
    const [{ there } = { there: false }] = await session.query<{ there: boolean }>(LEDGER_EXISTS);
    return there ? await act(session) : without;
  } finally {
    await session.close();
  }
}

async function remove(session: Session, row: LoadRow, keep = false): Promise<RemovedLoad> {
  const after = await endAttempt(session, row, { keep });
  const { run, step, token, target, staging, backend_pid: backend } = row;
  return { run, step, token, target, staging, backend, state: after?.state ?? 'ended' };
}

/**
 * Ends every unfinished load of a run: its backend is terminated, its staging dropped, also what was kept for another attempt. Published loads stay.
 * @throws SpillwayError `TargetUnreachable`
 */
export function removeRun(deps: PostgresDeps, { run }: { run: string }): Promise<RemovedLoad[]> {
  return withSession(
    deps,
    async (session) => {
      const removed: RemovedLoad[] = [];
      for (const row of await session.query<LoadRow>(READ_RUN, [run])) {
        if (row.state === 'loading' || row.staging !== null) removed.push(await remove(session, row));
      }
      return removed;
    },
    [],
  );
}

/** Ends the attempts of a step whose token is lower than `belowToken`; a later one is left alone, and chunks that it may go on from stay. */
export function removeAttempts(
  deps: PostgresDeps,
  { run, step, belowToken }: { run: string; step: string; belowToken: number },
): Promise<RemovedLoad[]> {
  return withSession(
    deps,
    async (session) => {
      const row = await readLoad(session, { run, step });
      return row?.state === 'loading' && row.token < belowToken ? [await remove(session, row, true)] : [];
    },
    [],
  );
}

/** Lists what carries our names and is not published, without touching it. */
export function listLeftovers(deps: PostgresDeps): Promise<Leftovers> {
  return withSession(
    deps,
    async (session) => ({
      loads: (await session.query<LoadRow>(READ_LOADING)).map(
        ({ run, step, token, state, target, staging, application, backend_pid }) => ({
          run,
          step,
          token,
          state,
          target,
          staging,
          application,
          backend_pid,
        }),
      ),
      strayTables: (await session.query<{ name: string }>(STRAY_STAGING)).map(({ name }) => name),
    }),
    { loads: [], strayTables: [] },
  );
}

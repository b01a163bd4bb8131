import { SpillwayError } from '../../contracts/errors.ts';
import type { IndexSpec, Parameter } from '../../contracts/pipeline.ts';
import { cleanUp } from './clean-up.ts';
import { watchConnections } from './connection-watch.ts';
import { loadFailure } from './failures.ts';
import { applicationName, type AttemptName, parseTableName, showTable, stagingTable } from './identifiers.ts';
import { type Claim, claimLoad, ensureLedger, type LoadRow, markPublished } from './ledger.ts';
import { swap } from './publish.ts';
import { type PostgresDeps, Session } from './session.ts';
import { createTableAs, type StatementTarget, underOwnPath } from './table-as.ts';
import { lockLoads } from './target-lock.ts';

/** One statement, and the attempt that runs it. */
export interface StatementRequest extends AttemptName {
  sql: string;
  /** Values for `$1`, `$2`, … */
  params?: readonly Parameter[];
  /** `schema.table` that the statement's rows replace. @defaultValue none: the statement does what it does */
  into?: string;
  /** Of `into`. */
  key?: readonly string[];
  /** Of `into`. */
  indexes?: readonly IndexSpec[];
  signal: AbortSignal;
  /** Longest time to reach the server again for cleaning up. @defaultValue 15 s */
  cleanUpMs?: number;
  /** Time between looks after a statement that is not answered. @defaultValue 10 s */
  watchMs?: number;
}

export interface StatementOutcome {
  /** Rows that the statement touched or gave. */
  rows: number;
  /** An earlier attempt had run it; this one did nothing. */
  alreadyRun: boolean;
}

const BECAUSE = 'one statement, in the transaction that says in the load ledger that it ran';

/**
 * Runs one statement exactly once per run and step: what it does and the row of the load ledger that says so are one transaction. Names without a schema
 * are looked for where the role's `search_path` says.
 *
 * @throws SpillwayError `TargetUnreachable` and `LoadInterrupted` (try again), `LoadRefused` (the statement is wrong, or ends its transaction),
 * `LeaseLost` (a later attempt has taken over)
 */
export async function runStatement(deps: PostgresDeps, request: StatementRequest): Promise<StatementOutcome> {
  const { run, step, token } = request;
  const what = `statement of ${step}`;
  const into: StatementTarget | undefined =
    request.into === undefined ? undefined : { table: parseTableName(request.into), key: request.key ?? [], indexes: request.indexes ?? [] }; // prettier-ignore
  const claim: Claim = {
    ...{ run, step, token, target: into ? showTable(into.table) : what },
    staging: stagingTable(request), // made for `into` only; the ledger names one for every attempt
    application: applicationName(request),
  };
  let session: Session | undefined;
  const watch = watchConnections(deps, {
    sessions: () => (session ? [session] : []),
    ...{ application: claim.application, signal: request.signal, everyMs: request.watchMs },
  });
  const { signal } = watch;
  let claimed = false;
  let commitSent = false;
  try {
    session = await Session.open(deps, claim.application, signal);
    await ensureLedger(session);
    claimed = true;
    const before = await claimLoad(session, claim, signal);
    if (before) return { rows: before.rows ?? 0, alreadyRun: true };
    if (into) await lockLoads(session, claim.target, undefined, signal);
    const open = session;
    const rows = await open.transaction(async () => {
      await open.run(`set local synchronous_commit = ${open.durableCommit}`);
      const made = into ? await createTableAs(open, claim, into, request.sql) : undefined;
      const touched = made?.rows ?? (await runInTransaction(open, request));
      await markPublished(open, claim, {
        ...{ strategy: 'sql', because: BECAUSE, rows: touched, bytes: 0, warnings: made?.warnings ?? [] },
      });
      if (made) await swap(open, made.staged, signal);
      commitSent = true;
      return touched;
    });
    return { rows, alreadyRun: false };
  } catch (thrown) {
    const error = watch.lost ?? thrown;
    await session?.close();
    let row: LoadRow | undefined;
    let known = !claimed;
    if (claimed) {
      try {
        row = await cleanUp(deps, request, request.cleanUpMs ?? 15_000);
        known = true;
      } catch {
        // The next attempt, or the janitor, finds the ledger's row.
      }
    }
    // COMMIT went through and only its answer was lost.
    if (row?.state === 'published' && row.token === token) return { rows: row.rows ?? 0, alreadyRun: false };
    const published = known || !commitSent ? 'no' : 'unknown';
    if (request.signal.aborted && published === 'no')
      throw new SpillwayError('LoadInterrupted', `The ${what} was cancelled; nothing of it happened.`, { cause: request.signal.reason }); // prettier-ignore
    throw loadFailure(error, { table: what, phase: 'running', published, what: `the ${what}` });
  } finally {
    watch.stop();
    await session?.close();
  }
}

/** Runs the statement where it is, and answers the rows that it touched or gave. */
async function runInTransaction(session: Session, { step, sql, params }: StatementRequest): Promise<number> {
  const [begun] = await session.query<{ id: string }>(TRANSACTION);
  const rows = await underOwnPath(session, () => session.runAlone(sql, params));
  const [now] = await session.query<{ id: string }>(TRANSACTION);
  if (now!.id !== begun!.id)
    throw new SpillwayError('LoadRefused', `${step} ends its own transaction, so that nobody could say whether it ran. Remove COMMIT and ROLLBACK from the statement.`); // prettier-ignore
  return rows;
}

/** Names the transaction, and so makes it one that writes. */
const TRANSACTION = 'select pg_catalog.pg_current_xact_id()::text as id';

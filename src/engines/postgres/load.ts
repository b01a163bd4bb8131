// Longer than most files: the order of one load, from claim to clean-up, is best read in one place.
import { SpillwayError } from '../../contracts/errors.ts';
import type { ArrowSource } from './arrow-source.ts';
import { sourceColumns } from './arrow-types.ts';
import { cleanUp } from './clean-up.ts';
import { watchConnections } from './connection-watch.ts';
import { CopyEncoder } from './encoder.ts';
import { isServerError, loadFailure } from './failures.ts';
import type { AttemptName, TableName } from './identifiers.ts';
import { applicationName, parseTableName, showTable, stagingTable } from './identifiers.ts';
import type { Claim, LoadRow } from './ledger.ts';
import { abortable } from '../abortable.ts';
import { claimLoad, endBackend, ensureLedger, readLoad } from './ledger.ts';
import { LoadPhase } from './load-plan.ts';
import type { LoadOutcome, LoadProgress, LoadRequest } from './load-request.ts';
import { planLoad } from './plan-load.ts';
import type { PostgresDeps } from './session.ts';
import { cancelled, Session } from './session.ts';
import { loadInto } from './load-into.ts';
import { lockLoads } from './target-lock.ts';
import { loadFrozen, loadStaged } from './strategies.ts';

const outcome = (target: TableName, row: LoadRow, alreadyPublished: boolean): LoadOutcome => ({
  table: showTable(target),
  rows: row.rows!,
  bytes: row.bytes!,
  strategy: row.strategy!,
  because: row.because!,
  warnings: row.warnings,
  alreadyPublished,
});

const TOO_MANY_CONNECTIONS = '53300';

/** A connection beside the first; undefined where the server takes no more. */
async function assistantOf(deps: PostgresDeps, application: string, signal: AbortSignal): Promise<Session | undefined> {
  try {
    return await Session.open(deps, application, signal);
  } catch (error) {
    const cause = error instanceof SpillwayError ? error.cause : error;
    if (isServerError(cause) && cause.code === TOO_MANY_CONNECTIONS) return undefined;
    throw error;
  }
}

/** Whether the next attempt may get through with what this one failed of. */
const mayPass = (error: unknown, target: TableName, phase: string): boolean =>
  loadFailure(error, { table: showTable(target), phase, published: 'no' }).retry === 'retry';

/** Ends the backends of a load from a connection of its own. */
async function terminateBackend(deps: PostgresDeps, attempt: AttemptName): Promise<void> {
  const session = await Session.open(deps, `${applicationName(attempt).slice(0, 52)}/terminate`);
  try {
    const row = await readLoad(session, attempt);
    // Whoever gave the load up waits for its end; so does the clean-up.
    if (row?.token === attempt.token) await endBackend(session, row, { waitMs: 0 });
  } finally {
    await session.close();
  }
}

/**
 * Loads rows into a table, replacing it as a whole or adding to it, exactly once per run and step: a load that is published already is
 * answered from the ledger. Whatever happens, readers see the old table or the new one, and nothing of a failed or
 * cancelled attempt is left; where the server cannot be reached to clean up, the next attempt does it.
 *
 * @throws SpillwayError `TargetUnreachable` and `LoadInterrupted` (try again), `LoadRefused` (rows, types or rights are wrong),
 * `LeaseLost` (a later attempt has taken over), `InvalidInput`, or what opening the source throws
 */
export async function loadTable(deps: PostgresDeps, request: LoadRequest): Promise<LoadOutcome> {
  const target = parseTableName(request.into);
  const table = showTable(target);
  const attempt: AttemptName = { run: request.run, step: request.step, token: request.token };
  if (!Number.isSafeInteger(request.token) || request.token < 0) {
    throw new SpillwayError('InvalidInput', `token must be a whole number >= 0, got ${request.token}.`);
  }
  const claim: Claim = {
    ...attempt,
    target: table,
    staging: stagingTable(attempt),
    application: applicationName(attempt),
  };

  const progress: LoadProgress = { phase: LoadPhase.CONNECTING, rows: 0, bytes: 0 };
  const report = (phase: LoadPhase, rows: number, bytes: number): void => {
    Object.assign(progress, { phase, rows, bytes });
    request.onProgress?.({ ...progress });
  };
  const ticker = setInterval(() => request.onProgress?.({ ...progress }), 1000);

  let session: Session | undefined;
  const assistants: Session[] = [];
  const closeAll = async (): Promise<void> => {
    await Promise.all(assistants.map((assistant) => assistant.close()));
    await session?.close();
  };
  const watch = watchConnections(deps, {
    sessions: () => (session ? [session, ...assistants] : []),
    ...{ application: claim.application, signal: request.signal, everyMs: request.limits?.watchMs },
  });
  const { signal } = watch;
  let source: ArrowSource | undefined;
  let claimed = false;
  let commitSent = false;
  try {
    report(LoadPhase.CONNECTING, 0, 0);
    session = await Session.open(deps, claim.application, signal);
    await ensureLedger(session);
    // From here on the ledger may name this attempt, whether or not the answer arrives.
    claimed = true;
    const published = await claimLoad(session, claim, signal);
    if (published) return outcome(target, published, true);
    await lockLoads(session, table, request.limits?.targetWaitMs, signal);
    report(LoadPhase.OPENING, 0, 0);
    source = await request.source(signal);
    signal.throwIfAborted();
    const plan = await planLoad(session, request, claim, target, source);
    const columns = sourceColumns(source.schema.fields, request.logicalTypes);
    const encoder = (rowsBefore: number): CopyEncoder =>
      new CopyEncoder(columns, plan.table.columns, request.encode, rowsBefore);
    encoder(0); // refuses columns that do not fit, before anything is made
    report(LoadPhase.COPYING, 0, 0);
    const load = plan.intoExisting ? loadInto : plan.choice.strategy === 'freeze' ? loadFrozen : loadStaged;
    const counts = await load({
      session,
      plan,
      source,
      encoder,
      signal,
      stallMs: request.limits?.stallMs,
      report,
      assist: async () => {
        const assistant = await assistantOf(deps, claim.application, signal);
        if (assistant) assistants.push(assistant);
        return assistant;
      },
      terminate: () => terminateBackend(deps, attempt),
      committing: () => (commitSent = true),
    });
    return { table, ...counts, ...plan.choice, warnings: [...plan.warnings], alreadyPublished: false };
  } catch (thrown) {
    const error = watch.lost ?? thrown;
    // Closed first: a backend that waits for us ends by itself.
    await closeAll();
    let row: LoadRow | undefined;
    let known = !claimed;
    if (claimed) {
      try {
        const goesOn = request.triedAgain === true && !request.signal.aborted && mayPass(error, target, progress.phase);
        row = await cleanUp(deps, attempt, request.limits?.cleanUpMs ?? 15_000, goesOn);
        known = true;
      } catch {
        // The next attempt, or the janitor, finds the ledger's row and cleans up.
      }
    }
    // COMMIT went through and only its answer was lost.
    if (row?.state === 'published' && row.token === attempt.token) return outcome(target, row, false);
    const published = known || !commitSent ? 'no' : 'unknown';
    if (request.signal.aborted && published === 'no') throw cancelled(table, progress.phase, request.signal);
    throw loadFailure(error, { table, phase: progress.phase, published });
  } finally {
    clearInterval(ticker);
    watch.stop();
    await closeAll();
    // A FIFO whose writer hangs must not hold up the answer.
    await abortable(source?.close() ?? Promise.resolve(), AbortSignal.timeout(5000)).catch(() => undefined);
  }
}

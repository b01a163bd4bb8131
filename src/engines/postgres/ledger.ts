import type { QueryResultRow } from 'pg';
import { SpillwayError } from '../../contracts/errors.ts';
import type { AttemptName } from './identifiers.ts';
import { LEDGER_SCHEMA, quoteIdentifier, quoteTable } from './identifiers.ts';
import type { Session } from './session.ts';
import { pause } from './session.ts';
import {
  BACKENDS_ALIVE,
  CLAIM_NEW,
  CLAIM_OLD,
  CREATE_LEDGER,
  FORGET_CHUNKS,
  LEDGER_COMPLETE,
  LEDGER_EXISTS,
  LOCK_CREATION,
  MARK_ENDED,
  MARK_KEPT,
  MARK_PUBLISHED,
  READ_CHUNKS,
  READ_LOAD,
  RECORD_CHUNK,
  READ_LOAD_LOCKED,
  TERMINATE_BACKENDS,
} from './sql.ts';

/** A row of the load ledger. `loading` → `published`, for good, or → `ended`, from where a later attempt loads again. */
export interface LoadRow extends QueryResultRow {
  run: string;
  step: string;
  token: number;
  state: 'loading' | 'published' | 'ended';
  target: string;
  staging: string | null;
  /** What the staging table is filled from, where a later attempt may go on filling it. */
  source: string | null;
  application: string;
  backend_pid: number | null;
  backend_start: string | null;
  strategy: string | null;
  because: string | null;
  rows: number | null;
  bytes: number | null;
  warnings: string[];
}

const BACKEND_GONE_MS = 10_000;
const CLAIM_ROUNDS = 10;

/** Makes the ledger when it is missing; any number of sessions may do so at once. */
export async function ensureLedger(session: Session): Promise<void> {
  const [{ there } = { there: false }] = await session.query<{ there: boolean }>(LEDGER_EXISTS);
  if (there) return;
  await session.transaction(async () => {
    await session.query(LOCK_CREATION);
    // Looked at again, in the catalogue itself: `if not exists` trusts a cache that may be older than the lock.
    const [made] = await session.query<{ there: boolean }>(LEDGER_COMPLETE, [LEDGER_SCHEMA]);
    if (made!.there) return;
    for (const statement of CREATE_LEDGER) await session.run(statement);
  });
}

/** Reads what the ledger says of a load; undefined when it says nothing, or there is no ledger. */
export async function readLoad(
  session: Session,
  { run, step }: Omit<AttemptName, 'token'>,
): Promise<LoadRow | undefined> {
  const [{ there } = { there: false }] = await session.query<{ there: boolean }>(LEDGER_EXISTS);
  return there ? (await session.query<LoadRow>(READ_LOAD, [run, step]))[0] : undefined;
}

export interface EndOptions {
  signal?: AbortSignal;
  /** Longest wait for the backend's end. @defaultValue 10 s */
  waitMs?: number;
  /** Chunks that are in the staging table stay there for the next attempt. @defaultValue false */
  keep?: boolean;
}

/**
 * Ends the backends of the attempt that a row names, if they still run, and sees them gone.
 * @throws SpillwayError `LoadInterrupted` when it does not go
 */
export async function endBackend(session: Session, row: LoadRow, options: EndOptions = {}): Promise<boolean> {
  if (row.backend_pid === null) return false;
  const backend = [row.application];
  const sent = await session.query(TERMINATE_BACKENDS, backend);
  const deadline = Date.now() + (options.waitMs ?? BACKEND_GONE_MS);
  while ((await session.query<{ alive: number }>(BACKENDS_ALIVE, backend))[0]!.alive > 0) {
    if (Date.now() > deadline) {
      throw new SpillwayError(
        'LoadInterrupted',
        `An earlier attempt at ${row.target} still runs on backend ${row.backend_pid} and does not end; the next attempt tries again.`,
      );
    }
    await pause(50, options.signal);
  }
  return sent.length > 0;
}

/** Drops a load's staging table, by its name in the ledger, and forgets which chunks were in it. */
export async function dropStaging(session: Session, { run, step }: LoadKey, staging: string): Promise<void> {
  await session.run(`drop table if exists ${inLedger(staging)}`);
  await session.run(FORGET_CHUNKS, [run, step]);
}

type LoadKey = Omit<AttemptName, 'token'>;
const inLedger = (table: string): string => quoteTable({ schema: LEDGER_SCHEMA, table });

/** A chunk that is in the staging table. */
export interface LoadedChunk extends QueryResultRow {
  chunk: number;
  rows: number;
  bytes: number;
}

export const readChunks = (session: Session, { run, step }: LoadKey): Promise<LoadedChunk[]> =>
  session.query<LoadedChunk>(READ_CHUNKS, [run, step]);

/** What an attempt writes down before it makes anything. */
export interface Claim extends AttemptName {
  target: string;
  staging: string;
  application: string;
}

function superseded(claim: Claim, token: number): SpillwayError {
  return new SpillwayError(
    'LeaseLost',
    `Attempt ${claim.token} at loading ${claim.target} is over: attempt ${token} has taken its place. Nothing was published by this one.`,
  );
}

/**
 * Registers an attempt. Ends the backend of an earlier one, drops its staging, or takes it over where that is filled chunk by chunk, and only then takes its place.
 * Answers the row of a load that is published already, or undefined: the load is this attempt's.
 * @throws SpillwayError `LeaseLost` when the ledger holds a higher token
 */
export async function claimLoad(session: Session, claim: Claim, signal?: AbortSignal): Promise<LoadRow | undefined> {
  const values = [
    claim.run,
    claim.step,
    claim.token,
    claim.target,
    claim.staging,
    claim.application,
    session.pid,
    session.backendStart,
  ];
  for (let round = 0; round < CLAIM_ROUNDS; round += 1) {
    if ((await session.run(CLAIM_NEW, values)) === 1) return undefined;
    const before = await readLoad(session, claim);
    if (!before) continue;
    if (before.state === 'published') return before;
    if (before.token > claim.token) throw superseded(claim, before.token);
    await endBackend(session, before, signal ? { signal } : {});
    const taken = await session.transaction(async () => {
      const [now] = await session.query<LoadRow>(READ_LOAD_LOCKED, [claim.run, claim.step]);
      // It was published, taken over or removed while its backend was being ended: look again.
      if (!now || now.state === 'published' || now.token !== before.token || now.backend_pid !== before.backend_pid) {
        return false;
      }
      const source = await takeStaging(session, now, claim);
      return (await session.run(CLAIM_OLD, [...values, source])) === 1;
    });
    if (taken) return undefined;
  }
  throw new SpillwayError(
    'LoadInterrupted',
    `Other attempts at ${claim.target} keep taking its place; nothing was published.`,
  );
}

/** Gives the staging of an earlier attempt our name, or drops it. Answers what it is filled from. */
async function takeStaging(session: Session, before: LoadRow, claim: Claim): Promise<string | null> {
  const { staging, source } = before;
  if (staging === null) return source;
  if (source === null) await dropStaging(session, claim, staging);
  else if (staging !== claim.staging)
    await session.run(`alter table if exists ${inLedger(staging)} rename to ${quoteIdentifier(claim.staging)}`);
  return source;
}

/**
 * Says that a chunk is in the staging table, in the transaction that writes it there.
 * @throws SpillwayError `LeaseLost` when this attempt is no longer the one that loads
 */
export async function recordChunk(session: Session, claim: Claim, { chunk, rows, bytes }: LoadedChunk): Promise<void> {
  const { run, step, token } = claim;
  if ((await session.run(RECORD_CHUNK, [run, step, token, chunk, rows, bytes])) === 1) return;
  throw superseded(claim, (await readLoad(session, claim))?.token ?? token);
}

/** What a published load leaves in the ledger. */
export interface LoadFigures {
  strategy: string;
  because: string;
  rows: number;
  bytes: number;
  warnings: readonly string[];
}

/**
 * Marks the load published, in the transaction that publishes it.
 * @throws SpillwayError `LeaseLost` when this attempt is no longer the one that may
 */
export async function markPublished(session: Session, claim: Claim, figures: LoadFigures): Promise<void> {
  const { strategy, because, rows, bytes, warnings } = figures;
  const marked = await session.run(MARK_PUBLISHED, [
    claim.run,
    claim.step,
    claim.token,
    strategy,
    because,
    rows,
    bytes,
    [...warnings],
  ]);
  if (marked !== 1) {
    const now = await readLoad(session, claim);
    throw superseded(claim, now?.token ?? claim.token);
  }
  await session.run(FORGET_CHUNKS, [claim.run, claim.step]);
}

/**
 * Cleans up after an attempt that failed or was cancelled: its backend ended, its staging dropped (or kept, as `options` say), its row marked `ended`.
 * Answers the row as it is then: a load whose COMMIT had gone through is `published` after all.
 */
export async function endAttempt(
  session: Session,
  name: AttemptName,
  options: EndOptions = {},
): Promise<LoadRow | undefined> {
  const isOver = ({ token, state, staging }: LoadRow): boolean =>
    token !== name.token || state === 'published' || (state === 'ended' && (staging === null || options.keep === true));
  const row = await readLoad(session, name);
  if (!row || isOver(row)) return row;
  await endBackend(session, row, options);
  return session.transaction(async () => {
    const [now] = await session.query<LoadRow>(READ_LOAD_LOCKED, [name.run, name.step]);
    if (!now || isOver(now)) return now;
    const key = [name.run, name.step, name.token];
    if (options.keep && now.source !== null && (await readChunks(session, name)).length > 0) {
      await session.run(MARK_KEPT, key);
      return { ...now, state: 'ended' };
    }
    if (now.staging !== null) await dropStaging(session, name, now.staging);
    await session.run(MARK_ENDED, key);
    return { ...now, state: 'ended', staging: null };
  });
}

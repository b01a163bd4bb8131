import { SpillwayError } from '../../contracts/errors.ts';
import { isServerError } from './failures.ts';
import { showTable } from './identifiers.ts';
import type { StagedTable } from './load-plan.ts';
import type { Session } from './session.ts';
import { pause } from './session.ts';
import { TRY_LOCK_TARGET, WHO_HOLDS_TARGET } from './sql.ts';

/** A waiting ACCESS EXCLUSIVE lock holds up every new reader behind it: ask briefly, step back, ask again. */
const LOCK_TRY_MS = 500;
const LOCK_NOT_AVAILABLE = '55P03';
const WAIT_MS = 120_000;
/** Longest wait for another load into the same table. */
const LOADS_WAIT_MS = 60_000;

/** One load into a target at a time, whoever runs it. The lock ends with the connection. */
export async function lockLoads(
  session: Session,
  table: string,
  waitMs: number | undefined,
  signal: AbortSignal,
): Promise<void> {
  const deadline = Date.now() + (waitMs ?? LOADS_WAIT_MS);
  for (;;) {
    const [answer] = await session.query<{ locked: boolean }>(TRY_LOCK_TARGET, [table]);
    if (answer!.locked) return;
    if (Date.now() > deadline) {
      const holders = await session.query<{ name: string; pid: number }>(WHO_HOLDS_TARGET, [table]);
      const who = holders.map(({ name, pid }) => `${name} (backend ${pid})`).join(', ') || 'another session';
      throw new SpillwayError(
        'LoadInterrupted',
        `${table} is being loaded by ${who}; nothing was published, the next attempt waits again.`,
      );
    }
    await pause(250, signal);
  }
}

/**
 * Does what needs the target for itself, inside the transaction that publishes, stepping back whenever somebody else holds it or `act` answers
 * undefined: what it has done is undone then.
 * @throws SpillwayError `LoadInterrupted` after `swapWaitMs` of the plan
 */
export async function withTargetAlone<T>(
  session: Session,
  plan: Pick<StagedTable, 'target' | 'swapWaitMs'>,
  signal: AbortSignal,
  act: () => Promise<{ done: T } | undefined>,
): Promise<T> {
  const deadline = Date.now() + (plan.swapWaitMs ?? WAIT_MS);
  for (let round = 1; ; round += 1) {
    await session.run('savepoint alone');
    let cause: unknown;
    try {
      await session.run(`set local lock_timeout = '${LOCK_TRY_MS}ms'`);
      const result = await act();
      if (result) return result.done;
    } catch (error) {
      if (!isServerError(error) || error.code !== LOCK_NOT_AVAILABLE) throw error;
      cause = error;
    }
    await session.run('rollback to savepoint alone');
    if (Date.now() > deadline) {
      throw new SpillwayError(
        'LoadInterrupted',
        `${showTable(plan.target)} could not be locked for the change: other sessions kept it locked. Nothing was published; look for long transactions that read it.`,
        { cause },
      );
    }
    await pause(Math.min(200 * round, 2000) * (0.5 + Math.random()), signal);
  }
}

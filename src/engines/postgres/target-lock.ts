import { SpillwayError } from '../../contracts/errors.ts';
import { isServerError } from './failures.ts';
import { showTable } from './identifiers.ts';
import type { LoadPlan } from './load-plan.ts';
import type { Session } from './session.ts';
import { pause } from './session.ts';

/** A waiting ACCESS EXCLUSIVE lock holds up every new reader behind it: ask briefly, step back, ask again. */
const LOCK_TRY_MS = 500;
const LOCK_NOT_AVAILABLE = '55P03';
const WAIT_MS = 120_000;

/**
 * Does what needs the target for itself, inside the transaction that publishes, stepping back whenever somebody else holds it or `act` answers
 * undefined: what it has done is undone then.
 * @throws SpillwayError `LoadInterrupted` after `swapWaitMs` of the plan
 */
export async function withTargetAlone<T>(
  session: Session,
  plan: LoadPlan,
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

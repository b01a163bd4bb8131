import { applicationName, type AttemptName } from './identifiers.ts';
import { endAttempt, type LoadRow } from './ledger.ts';
import { pause, type PostgresDeps, Session } from './session.ts';

/** Reaches the server again, which may be starting up, and ends the attempt there. Answers its row in the ledger. `keep`: chunks that are in its staging stay for the next attempt. */
export async function cleanUp(
  deps: PostgresDeps,
  attempt: AttemptName,
  waitMs: number,
  keep = false,
): Promise<LoadRow | undefined> {
  const deadline = Date.now() + waitMs;
  for (let waitedMs = 100; ; waitedMs = Math.min(waitedMs * 2, 2000)) {
    let session: Session | undefined;
    try {
      session = await Session.open(deps, `${applicationName(attempt).slice(0, 52)}/clean-up`);
      return await endAttempt(session, attempt, { waitMs: Math.max(0, deadline - Date.now()), keep });
    } catch (error) {
      if (Date.now() + waitedMs > deadline) throw error;
      await pause(waitedMs);
    } finally {
      await session?.close();
    }
  }
}

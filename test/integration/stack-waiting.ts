import { setTimeout as sleep } from 'node:timers/promises';

/** Tries until it neither throws nor answers undefined; the last error is thrown when the time is over. */
export async function eventually<T>(
  attempt: () => Promise<T | undefined>,
  { withinMs = 60_000, everyMs = 100, what = 'it' }: { withinMs?: number; everyMs?: number; what?: string } = {},
): Promise<T> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    let failed: unknown = new Error(`${what} did not happen within ${withinMs / 1000} s`);
    try {
      const answer = await attempt();
      if (answer !== undefined) return answer;
    } catch (error) {
      failed = error;
    }
    if (Date.now() > deadline) throw failed;
    await sleep(everyMs);
  }
}

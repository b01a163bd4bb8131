/**
 * Seconds of the chain of steps that decides how long a run takes: heavy steps one at a time, each load beside what comes after its query.
 * What a run takes beyond them is ours: leases, starts, hand-overs, cleaning up.
 */
export function criticalPath(steps: readonly { step: string; seconds: number }[]): number {
  const of = (name: string): number => steps.find(({ step }) => step === name)?.seconds ?? 0;
  const [fact, daily] = [of('fact') + of('load_fact'), of('daily') + of('load_daily')];
  // Whichever query is lent memory first, the other one waits for it.
  const factFirst = Math.max(fact, of('fact') + daily);
  const dailyFirst = Math.max(daily, of('daily') + fact);
  return of('lines') + Math.min(factFirst, dailyFirst);
}

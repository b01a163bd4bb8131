import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { GiB, MiB } from '../../src/policy/sizes.ts';
import { SMALLEST_RUNG_BYTES } from '../../src/policy/rungs.ts';
import { type Run, Stage } from './stage.ts';

/** Ten loads that decode Parquet fit at once. */
const FITS = 10;
const LENDABLE = FITS * SMALLEST_RUNG_BYTES;

let stage: Stage;
beforeAll(async () => {
  const lightSlots = 12;
  const lightStepBytes = 128 * MiB;
  const workerBaselineBytes = 2 * GiB;
  stage = await Stage.open({
    pool: 'load',
    hardware: {
      poolBytes: workerBaselineBytes + lightSlots * lightStepBytes + LENDABLE,
      lightSlots,
      lightStepBytes,
      workerBaselineBytes,
    },
    poolContinuesAfterEvents: 150,
  });
}, 120_000);
afterAll(() => stage.close());

/** How many runs the pool had so far; each continue-as-new is one more. */
const poolRuns = async (): Promise<number> => {
  const { count } = await stage.client.workflow.count(`WorkflowId = '${stage.poolHandle.workflowId}'`);
  return count;
};

test.each([
  [30, 'a pool that continues as new under thirty runs loses no lease and no ask'],
  [60, 'sixty runs at once, of which ten fit, are all served, and never more than the pool is lent'],
])(
  '%i: %s',
  async (count) => {
    stage.steps.calls.length = 0;
    const before = await poolRuns();
    // The first ones work until another has to wait: how fast this machine is must not decide whether anybody queues.
    const somebodyWaits = (async () => {
      while ((await stage.status()).queue.length === 0) await sleep(20);
    })();
    stage.steps.on('load', async () => {
      await Promise.all([somebodyWaits, sleep(50)]);
    });
    const runs: Run[] = await Promise.all(Array.from({ length: count }, () => stage.start('oneLoad')));
    const results = await Promise.all(runs.map((run) => run.result()));
    expect(results).toHaveLength(count);
    expect(new Set(stage.steps.of('load').map(({ workflowId }) => workflowId)).size).toBe(count);
    expect(stage.steps.of('load').map(({ request }) => request.ordinal)).toEqual(
      Array.from({ length: count }, () => 0),
    ); // none asked twice
    expect(stage.steps.maxLentBytes).toBeLessThanOrEqual(LENDABLE);
    const status = await stage.idle();
    expect(status).toMatchObject({ lentBytes: 0, queue: [] });
    expect(status.stats).toMatchObject({ stale: 0, reconciled: 0 });
    expect(status.stats['maxQueue']).toBeGreaterThan(0);
    expect(await poolRuns()).toBeGreaterThan(before);
  },
  60_000,
);

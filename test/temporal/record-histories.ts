import type { WorkflowHandle } from '@temporalio/client';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SpillwayError } from '../../src/contracts/errors.ts';
import { GiB } from '../../src/policy/sizes.ts';
import { historyOf, type RecordedHistory } from './history.ts';
import { proof } from './pool-double.ts';
import { eventually, type Stage } from './stage.ts';

const job = {
  name: 'daily',
  steps: [
    { step: 'lines', verb: 'trino.query', sql: 'select * from lineitem' },
    { step: 'daily', verb: 'datafusion.sql', from: { lines: 'lines' }, sql: 'select 1 from lines', profile: 'M' },
    { step: 'publish', verb: 'postgres.load', from: 'daily', into: 'mart.daily', key: ['day'] },
    { step: 'copy', verb: 'postgres.load', from: 'lines', into: 'mart.lines' },
  ],
};

/**
 * Has runs and the pool go through what their code distinguishes, and answers their histories by name: a run that completes,
 * one that waits and climbs, one that fails, one that is cancelled, one beside an engine that keeps memory, and the pool that served them, in all its runs.
 */
export async function recordHistories(stage: Stage): Promise<Record<string, RecordedHistory>> {
  const recorded: Record<string, RecordedHistory> = {};
  const gate = stage.steps.hold('lines');
  const first = await stage.start('eltPipeline', job);
  await gate.reached;
  const waits = await stage.start('eltPipeline', job);
  await eventually(
    'it waits',
    () => stage.status(),
    ({ queue }) => queue.length > 0,
  );
  gate.open();
  await first.result();
  stage.steps.reset();
  stage.steps.on('daily', ({ request }) => {
    if (request.rung === 'M') throw new SpillwayError('EngineExhausted', 'the engine ran out of memory');
  });
  await waits.result();
  recorded['elt-pipeline-completes'] = await historyOf(first);
  recorded['elt-pipeline-waits-and-climbs'] = await historyOf(waits);

  stage.steps.on('daily', () => {
    throw new SpillwayError('SqlError', 'no column revenue');
  });
  const fails = await stage.start('eltPipeline', job);
  await fails.result().catch(() => undefined);
  recorded['elt-pipeline-fails'] = await historyOf(fails);

  const held = stage.steps.hold('daily');
  const cancelled = await stage.start('eltPipeline', job);
  await held.reached;
  await cancelled.cancel();
  await cancelled.result().catch(() => undefined);
  recorded['elt-pipeline-cancelled'] = await historyOf(cancelled);

  stage.steps.reset();
  stage.steps.on('lines', () => ({ proof: proof({ kind: 'query-gone', bytesLeft: 3 * GiB }) }));
  stage.control.onEvict = () => GiB;
  const wide = await stage.start('eltPipeline', { ...job, steps: job.steps.map((step) => (step.step === 'daily' ? { ...step, profile: 'whole' } : step)) }); // prettier-ignore
  await wide.result();
  delete stage.control.onEvict;
  stage.steps.reset();

  const left = stage.steps.hold('daily');
  const terminated = await stage.start('eltPipeline', job);
  await left.reached;
  await terminated.terminate('the pool has to look after what it held');
  await stage.idle(20_000);
  for (const [index, run] of (await poolRuns(stage)).entries())
    recorded[`memory-pool-${index + 1}`] = await historyOf(run);
  for (const [name, history] of Object.entries(recorded)) recorded[name] = scrub(history) as RecordedHistory;
  return recorded;
}

/** Every run of the pool, oldest first: each continue-as-new has a history of its own. */
async function poolRuns({ client, poolHandle: { workflowId } }: Stage): Promise<WorkflowHandle[]> {
  const runs: { runId: string; startTime: Date }[] = [];
  for await (const run of client.workflow.list({ query: `WorkflowId = '${workflowId}'` })) runs.push(run);
  runs.sort((a, b) => a.startTime.getTime() - b.startTime.getTime());
  return runs.map(({ runId }) => client.workflow.getHandle(workflowId, runId));
}

/** Keeps histories as the files of a release, in the place of those it had. */
export function writeHistories(folder: string, histories: Record<string, RecordedHistory>): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const [name, history] of Object.entries(histories)) {
    writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(history, undefined, 2)}\n`);
  }
}

/** Without what belongs to the machine that ran it; a replay reads none of it. */
function scrub(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(scrub);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, inner]): [string, unknown][] => {
      if (key === 'stackTrace' || key === 'binaryChecksum') return [];
      if (key === 'identity') return [[key, 'worker@reference-host']];
      return [[key, scrub(inner)]];
    }),
  );
}

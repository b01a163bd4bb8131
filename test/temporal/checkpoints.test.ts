import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { checkpointLimits } from '../../src/config/checkpoint-limits.ts';
import { SpillwayError } from '../../src/contracts/errors.ts';
import type { HandoffRef } from '../../src/contracts/handoff.ts';
import { type Checkpoints, openCheckpoints } from '../../src/handoff/checkpoints.ts';
import { openScratch, type ScratchLedger } from '../../src/handoff/scratch-ledger.ts';
import { failureOf } from './history.ts';
import { Stage } from './stage.ts';
import type { Script } from './step-doubles.ts';

/** Steps whose rows are found again do not run again, nor does what only they read. Steps write real files; nothing computes. */
let stage: Stage;
let scratch: ScratchLedger;
let checkpoints: Checkpoints;
beforeAll(async () => {
  stage = await Stage.open({ pool: 'checkpoints' });
  scratch = await openScratch({ root: stage.config.scratch });
  checkpoints = openCheckpoints(scratch, checkpointLimits(stage.config));
}, 120_000);
afterAll(() => stage.close());
beforeEach(async () => {
  stage.steps.reset();
  stage.control.drops.length = 0;
  for (const { id } of await checkpoints.list()) await checkpoints.remove(id);
  for (const step of ['one', 'two', 'three', 'four']) stage.steps.on(step, writes);
});

const writes: Script = async ({ request: { run, spec, handoff, checkpoint }, token }) => {
  const attempt = { run, step: spec.step, token };
  const { directory } = await scratch.reserveAttempt(attempt);
  const path = join(directory, 'rows.parquet');
  await writeFile(path, 'rows');
  const output: HandoffRef = {
    ...{ ...handoff!, schema: [], rows: 1, bytes: 4, host: 'reference-host', fingerprint: 'f', dataId: `${run}/${spec.step}` }, // prettier-ignore
    parts: [{ kind: 'parquet', uri: pathToFileURL(path).href, rows: 1, bytes: 4 }],
  };
  const because = checkpoint && (await checkpoints.keep(attempt, output, checkpoint));
  return { output, ...(because !== undefined && { warnings: [because] }) };
};
/** Five steps in a row; the third is a checkpoint. */
const job = (checkpoint: unknown = true, sql = 'select 1') => ({
  name: 'five',
  steps: [
    { step: 'one', verb: 'trino.query', sql, connection: 'elsewhere', weight: 'light' },
    ...[['two', 'one'], ['three', 'two'], ['four', 'three']].map(([step, source]) => ({
      ...{ step, verb: 'datafusion.sql', from: { rows: source }, sql: 'select 1 from rows', memory: '1 GiB' },
      ...(step === 'three' && { checkpoint }),
    })), // prettier-ignore
    { step: 'load', verb: 'postgres.load', from: 'four', into: 'mart.five', retry: { maximumAttempts: 1 } },
  ],
});
const fails = (): void =>
  stage.steps.on('load', () => {
    throw new SpillwayError('LoadRefused', 'no such column');
  });
/** Names of the steps that ran, in order. */
const ran = (): string[] => stage.steps.calls.map(({ step }) => step);
const ids = async (): Promise<string[]> => (await checkpoints.list()).map(({ id }) => id);

test('a run that failed and is reset goes on from its checkpoint, and takes it along when it succeeds', async () => {
  fails();
  const handle = await stage.start('eltPipeline', job());
  expect(await failureOf(handle)).toMatchObject({ type: 'LoadRefused' });
  expect(ran()).toEqual(['one', 'two', 'three', 'four', 'load']);
  expect(stage.steps.of('three')[0]!.request.handoff).toMatchObject({ mode: 'parquet', because: 'a checkpoint was asked for' }); // prettier-ignore
  expect(await ids()).toHaveLength(1);
  expect(await readdir(join(scratch.root, 'runs'))).toEqual([]);
  expect(stage.control.drops.at(-1)).not.toHaveProperty('checkpoints');

  stage.steps.reset();
  stage.steps.on('four', writes);
  const again = await stage.reset(handle, 'first');
  await again.result();
  expect(ran()).toEqual(['four', 'load']);
  const { steps } = await stage.report(again);
  expect(steps[0]).toMatchObject({ step: 'three', rung: 'checkpoint', leaseBytes: 0, rows: 1, because: expect.stringContaining('that this run made') }); // prettier-ignore
  expect(stage.steps.of('four')[0]!.request.inputs['rows']!.parts[0]!.uri).toContain('/three-');
  expect(await ids()).toEqual([]);
  expect(await readdir(join(scratch.root, 'runs'))).toEqual([]);
  expect(await stage.idle()).toMatchObject({ lentBytes: 0, scratchLentBytes: 0 });
}, 60_000);

test('a run that is reset to its last turn has what went with its failure computed again, from the checkpoint', async () => {
  stage.steps.on('load', ({ request: { inputs } }) => {
    const isThere = stage.steps.of('four').length > 1;
    if (stage.steps.of('load').length < 2) throw new SpillwayError('LoadRefused', 'no such column');
    if (!isThere) throw new SpillwayError('HandoffLost', 'gone', { details: { lost: Object.keys(inputs) } });
  });
  const handle = await stage.start('eltPipeline', job());
  await failureOf(handle);
  stage.steps.calls.splice(0, 4); // as if they had run long ago
  const { events } = await handle.fetchHistory();
  // Where the load was about to be asked for.
  const end = events!.findLastIndex((event) => event.activityTaskScheduledEventAttributes?.activityType?.name === 'postgresLoad'); // prettier-ignore
  const task = events!.slice(0, end).findLast((event) => event.workflowTaskCompletedEventAttributes)!;
  const again = await stage.reset(handle, { eventId: task.eventId });
  await mkdir(join(scratch.root, 'runs'), { recursive: true });
  stage.steps.on('four', (call, attempt) => {
    if (stage.steps.of('four').length < 2)
      throw new SpillwayError('HandoffLost', 'gone', { details: { lost: ['rows'] } });
    return writes(call, attempt);
  });
  await again.result();
  expect(ran()).toEqual(['load', 'load', 'four', 'four', 'load']);
  expect((await stage.report(again)).warnings).toEqual([
    'four is needed again: its rows are gone from scratch.',
    'three is needed again: its rows are gone from scratch.',
  ]);
  expect((await stage.report(again)).steps.map(({ step, rung }) => [step, rung === 'checkpoint'])).toContainEqual(['three', true]); // prettier-ignore
  expect(await stage.idle()).toMatchObject({ lentBytes: 0 });
}, 60_000);

test('the next run does not see it, unless it is for any run; other rows are computed', async () => {
  fails();
  await failureOf(await stage.start('eltPipeline', job()));
  expect(ran()).toHaveLength(5);
  await failureOf(await stage.start('eltPipeline', job()));
  expect(ran()).toHaveLength(10);
  const shared = { reuse: 'any-run', version: 'monday' };
  await failureOf(await stage.start('eltPipeline', job(shared)));
  expect(ran()).toHaveLength(15);
  stage.steps.calls.length = 0;
  stage.steps.on('load', () => undefined);
  await stage.run('eltPipeline', job(shared));
  expect(ran()).toEqual(['four', 'load']);
  await stage.run('eltPipeline', job(shared));
  expect(ran()).toHaveLength(4);
  await stage.run('eltPipeline', job({ ...shared, version: 'tuesday' }));
  await stage.run('eltPipeline', job(shared, 'select 2'));
  expect(ran()).toHaveLength(14);
}, 60_000);

test('one that is to be kept stays when its run succeeds; one that cannot be kept fails no step', async () => {
  await stage.run('eltPipeline', job({ keep: true }));
  expect(await ids()).toHaveLength(1);
  stage.steps.on('three', async (call, attempt) => ({ ...(await writes(call, attempt)), warnings: ['three is no checkpoint: the disk is full.'] })); // prettier-ignore
  const handle = await stage.start('eltPipeline', job());
  await handle.result();
  expect((await stage.report(handle)).warnings).toEqual(['three is no checkpoint: the disk is full.']);
}, 60_000);

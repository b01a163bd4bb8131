import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { followRun } from '../../src/cli/follow-run.ts';
import { eventually, Stage } from './stage.ts';

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.open({ pool: 'following' });
}, 120_000);
afterAll(() => stage.close());

const NOBODY = 'no worker has taken it up yet; start one with `spillway worker`';

test('who follows a run that no worker takes up is told so, once', async () => {
  const handle = await stage.client.workflow.start('threeSteps', { workflowId: `unseen-${randomUUID()}`, taskQueue: 'nobodys' }); // prettier-ignore
  const told: string[] = [];
  const followed = followRun(handle, (line) => told.push(line));
  await eventually(
    'it is told',
    () => Promise.resolve(told),
    (lines) => lines.length > 0,
  );
  await new Promise((resolve) => setTimeout(resolve, 2_500)); // two more looks
  await handle.terminate('a test');
  expect(await followed).toEqual({ kind: 'failed', message: 'the run was terminated' });
  expect(told).toEqual([NOBODY]);
}, 60_000);

test('who follows one that a worker took up is told of its steps alone', async () => {
  const gate = stage.steps.hold('lines');
  const handle = await stage.start('threeSteps', { since: '1998-01-01' });
  const told: string[] = [];
  const followed = followRun(handle, (line) => told.push(line));
  await gate.reached;
  await new Promise((resolve) => setTimeout(resolve, 4_500)); // past the time that a worker has
  gate.open();
  expect(await followed).toMatchObject({ kind: 'completed', report: { steps: { length: 3 } } });
  expect(told).not.toContain(NOBODY);
  expect(told.join('\n')).toMatch(/ {2}publish: done: \d+ rows in/);
}, 60_000);

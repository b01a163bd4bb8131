import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { fileURLToPath } from 'node:url';
import type { SimplePlugin } from '@temporalio/plugin';
import { Worker } from '@temporalio/worker';
import { SpillwayError } from '../../src/contracts/errors.ts';
import { spillway } from '../../src/worker/plugin.ts';
import { countTypes, eventsOf, failureOf } from './history.ts';
import { Stage } from './stage.ts';

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.open({ pool: 'authoring' });
}, 120_000);
afterAll(() => stage.close());
beforeEach(() => stage.steps.reset());

/** A failure must come at once, not after Temporal has retried the workflow task for ever. */
const AT_ONCE = 10_000;
const failureOfRun = async (type: string, ...args: unknown[]): Promise<{ type: string; message: string }> =>
  failureOf(await stage.start(type, ...args));

describe('a run of wrong code or input ends Failed at once, and says what to do', () => {
  test.each<[string, string, unknown[], string, RegExp]>([
    [
      'code that throws',
      'throwsPlainError',
      [],
      'WorkflowBug',
      /^throwsPlainError threw Error: seven is not a colour\. Mend the workflow's code/,
    ],
    [
      'no input where one is needed',
      'threeSteps',
      [],
      'InvalidInput',
      /^threeSteps was started without input, and needs one .* Start it with --input/,
    ],
    [
      'a type that nobody registered',
      'threeStep',
      [],
      'UnknownWorkflow',
      /^no workflow is named 'threeStep'; did you mean 'threeSteps'\? Registered: .*eltPipeline.*threeSteps/,
    ],
    [
      'two steps of one name',
      'namesTwice',
      [],
      'InvalidInput',
      /^two steps are named 'rows'\. Names are unique within a run/,
    ],
    [
      'a job without input',
      'eltPipeline',
      [],
      'InvalidInput',
      /needs a pipeline \{ "name": …, "steps": \[ … \] \} as its input, got null/,
    ],
  ])(
    '%s',
    async (_title, type, args, code, message) => {
      const failure = await failureOfRun(type, ...args);
      expect(failure.type).toBe(code);
      expect(failure.message).toMatch(message);
    },
    AT_ONCE,
  );

  test(
    'a bad job names all its problems',
    async () => {
      const { type, message } = await failureOfRun('eltPipeline', {
        name: 'bad',
        steps: [
          { step: 'lines', verb: 'trino.querry', sql: 'select 1' },
          { step: 'daily', verb: 'datafusion.sql', from: { lines: 'lines' }, sql: '', profil: 'M' },
          { step: 'publish', verb: 'postgres.load', from: 'daily', into: 'daily' },
        ],
      });
      expect(type).toBe('InvalidInput');
      expect(message).toMatch(/^bad: 4 problems:/);
      for (const part of [
        'Did you mean trino.query?',
        'Did you mean profile?',
        'daily.sql must be a statement',
        'publish.into must be schema.table',
      ]) {
        expect(message).toContain(part);
      }
      expect(stage.steps.calls).toEqual([]);
    },
    AT_ONCE,
  );
});

describe('datasets', () => {
  test(
    'awaiting one gives the dataset itself',
    async () => {
      expect(await stage.run('awaitsDataset')).toEqual({ isDataset: true, step: 'rows' });
    },
    AT_ONCE,
  );

  test(
    'one that nobody reads is not computed, and a warning names it',
    async () => {
      const handle = await stage.start('readsOneOfTwo');
      await handle.result();
      expect((await stage.report(handle)).warnings).toEqual([
        "trino.query('forgotten') was never read: no sink needs its rows, so they were not computed.",
      ]);
      expect(stage.steps.of('forgotten')).toEqual([]);
    },
    AT_ONCE,
  );

  test(
    'a sink that nobody awaits is still done before the run ends',
    async () => {
      expect(await stage.run('doesNotWait')).toBe('returned');
      expect(stage.steps.of('load')).toHaveLength(1);
      await stage.idle();
    },
    AT_ONCE,
  );
});

describe('a failure that nobody listens to', () => {
  const failing = (step: string): void =>
    stage.steps.on(step, () => {
      throw new SpillwayError('SqlError', 'no such column');
    });

  test(
    'of a sink that is never awaited fails the run',
    async () => {
      failing('load');
      expect(await failureOf(await stage.start('doesNotWait'))).toEqual({
        type: 'SqlError',
        message: 'load: no such column',
      });
    },
    AT_ONCE,
  );

  test.each(['left', 'right'])(
    'of one of two sinks awaited in turn fails the run, and never its workflow task: %s',
    async (step) => {
      failing(step);
      const handle = await stage.start('awaitsInTurn');
      expect(await failureOf(handle)).toEqual({ type: 'SqlError', message: `${step}: no such column` });
      expect(countTypes(await eventsOf(handle))).not.toHaveProperty('WORKFLOW_TASK_FAILED');
      await stage.idle();
    },
    AT_ONCE,
  );
});

describe('a Worker of the user', () => {
  const taskQueue = 'of the user';
  const withWorker = async <T>(plugins: SimplePlugin[], body: () => Promise<T>): Promise<T> => {
    const workflowsPath = fileURLToPath(new URL('./workflows.ts', import.meta.url));
    const worker = await Worker.create({ connection: stage.env.nativeConnection, taskQueue, workflowsPath, plugins });
    return worker.runUntil(body());
  };
  const start = (type: string, ...args: unknown[]) =>
    stage.client.workflow.start(type, { workflowId: `own-${type}`, taskQueue, args });

  test('without the plugin a verb fails the run and names the plugin', async () => {
    await withWorker([], async () => {
      expect(await failureOf(await start('oneLoad'))).toEqual({
        type: 'PluginMissing',
        message: expect.stringMatching(/add plugins: \[spillway\(\)\]/),
      });
    });
  }, 60_000);

  test('with the plugin runs as on one of ours', async () => {
    const { config, client } = stage;
    await withWorker([spillway({ config, client, searchAttributes: true })], async () => {
      expect(await (await start('threeSteps', { since: '1998-01-01' })).result()).toMatchObject({
        step: 'publish',
        rows: 1000,
      });
    });
    await stage.idle();
  }, 60_000);
});

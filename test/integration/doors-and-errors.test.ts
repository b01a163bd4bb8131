import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { execa } from 'execa';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Exit } from '../../src/cli/exit.ts';
import { load, query, slowJob, smallJob } from './stack-jobs.ts';
import { type Ran, root, Stack } from './stack.ts';
import { runningContainer } from './stack-containers.ts';
import { eventually } from './stack-waiting.ts';
import { freePort } from '../../src/provision/ports.ts';

/** Longest from the start of a run to its end, where nothing but a mistake has to be found. */
const NOTICED_MS = 5_000;
/** What starting a program of ours may take on a busy host, on top. */
const START_MS = 5_000;

let stack: Stack;
/** An address that nobody listens on. */
let nowhere: string;
beforeAll(async () => {
  nowhere = `127.0.0.1:${await freePort([], new Set())}`;
  stack = await Stack.open('errors', { trino: { gone: { url: `http://${nowhere}` } } });
  await stack.worker();
}, 600_000);
afterAll(() => stack?.close(), 90_000);

/** Writes a job file; answers its name. */
function jobFile(name: string, content: unknown): string {
  const file = `${name}.json`;
  writeFileSync(join(stack.directory, file), typeof content === 'string' ? content : JSON.stringify(content));
  return file;
}
const oneQuery = (sql: string, more = {}): object => ({
  name: 'mistaken',
  steps: [query('rows', sql, more), load(stack, 'rows', 'mistaken')],
});

describe('a run that cannot work, started through the Temporal command line', () => {
  afterEach(() => stack?.clean(), 90_000);
  test.each<[string, string, () => string[], RegExp]>([
    ['without input', 'dailyRevenue', () => [], /^dailyRevenue was started without input, and needs one .*--input/],
    [
      'with a mistyped key in its input',
      'dailyRevenue',
      () => ['--input', '{"sinze":"1992-01-01"}'],
      /^trino\.query\('lines'\) got undefined as parameter 1\. Check the names in the workflow's input/,
    ],
    [
      'of a mistyped type',
      'dailyRevenu',
      () => ['--input', '{}'],
      /^no workflow is named 'dailyRevenu'; did you mean 'dailyRevenue'\?/,
    ],
    ['of a pipeline without a file', 'eltPipeline', () => [], /^eltPipeline needs a pipeline .*--input-file job\.json/],
    [
      'of a pipeline with a mistyped verb',
      'eltPipeline',
      () => ['--input', JSON.stringify(oneQuery('select 1', { verb: 'trino.qery' }))],
      /rows\.verb must be one of .*Did you mean trino\.query\?/,
    ],
    [
      'of a pipeline that names a connection nobody configured',
      'eltPipeline',
      () => ['--input', JSON.stringify(oneQuery('select 1 as x', { connection: 'gnoe' }))],
      /gnoe.*(gone|default)/,
    ],
    [
      'with bad SQL',
      'eltPipeline',
      () => ['--input', JSON.stringify(oneQuery('selec 1'))],
      /^rows: Correct the statement: SYNTAX_ERROR at line 1:1: /,
    ],
    [
      'with an unknown table',
      'eltPipeline',
      () => ['--input', JSON.stringify(oneQuery('select * from tpch.tiny.lineitme'))],
      /^rows: Name a table that exists: TABLE_NOT_FOUND at line 1:15: .*nearest: tpch\.tiny\.lineitem/,
    ],
  ])(
    '%s fails with one clear line',
    async (_title, type, args, line) => {
      const workflowId = await stack.start(type, args(), stack.id('mistaken'));
      const startedAtMs = Date.now();
      const failed = await stack.result(workflowId).then(
        () => undefined,
        (error: { cause?: { message?: string } }) => error.cause?.message ?? '',
      );
      expect(failed).toMatch(line);
      expect(failed).not.toContain('\n');
      expect(Date.now() - startedAtMs).toBeLessThan(NOTICED_MS);
      expect((await stack.describe(workflowId)).status).toBe('FAILED');
    },
    30_000,
  );

  test('against a Trino that nobody runs says so while it is tried again, then fails with the same line', async () => {
    const workflowId = await stack.startJob(
      oneQuery('select 1 as x', { connection: 'gone', retry: { maximumAttempts: 2 } }) as { name: string },
    );
    const line = `Start Trino at http://${nowhere} or correct its url`;
    const failed = stack.result(workflowId).then(
      () => undefined,
      (error: { cause?: { message?: string } }) => error.cause?.message,
    );
    const said = await eventually(async () => (await stack.describe(workflowId)).pending[0]?.lastFailure?.message, {
      withinMs: NOTICED_MS + START_MS,
      what: 'a first attempt that says why it failed',
    });
    expect(said).toContain(line);
    expect(await failed).toContain(`rows: ${line}`);
  }, 60_000);
});

describe('a command that cannot work', () => {
  afterAll(() => stack?.clean(), 90_000);
  type Case = [title: string, exit: Exit, run: () => Promise<Ran>, line: RegExp];
  const run = (file: string, args: string[] = []) => stack.spillway('run', [file, ...args]);
  const worker = (args: string[] = [], env: Record<string, string> = {}) => stack.spillway('worker', args, { env });
  test.each<Case>([
    ['run of a file that is not JSON', Exit.BAD_INPUT, () => run(jobFile('torn', '{')), /^spillway: torn\.json is not JSON/],
    ['run of a file that is not there', Exit.BAD_INPUT, () => run('nope.json'), /^spillway: nope\.json is not there\. Give the path/],
    ['run of a pipeline with a wrong key', Exit.BAD_INPUT, () => run(jobFile('key', { name: 'x', stepz: [] })), /stepz is not known\. Did you mean steps\?/],
    ['run of a pipeline with bad SQL', Exit.RUN_FAILED, () => run(jobFile('sql', oneQuery('selec 1'))), /^failed: rows: Correct the statement/m],
    ['run of a mistyped workflow', Exit.RUN_FAILED, () => run('dailyRevenu'), /^failed: no workflow is named 'dailyRevenu'; did you mean/m],
    ['run without Temporal', Exit.UNREACHABLE, () => run(jobFile('fine', smallJob(stack, 'never')), ['--temporal-address', nowhere]), /^spillway: Temporal at \S+ does not answer\. Start it/],
    ['worker without Temporal', Exit.UNREACHABLE, () => worker(['--temporal-address', nowhere]), /^spillway: Temporal at \S+ does not answer\. Start it/],
    ['run in a namespace that is not there', Exit.UNREACHABLE, () => run(jobFile('fine', smallJob(stack, 'never')), ['--temporal-namespace', 'nobodys']), /^spillway: Temporal at \S+ has no namespace 'nobodys'\. Create it with `temporal operator namespace create --namespace nobodys/],
    ['worker in a namespace that is not there', Exit.UNREACHABLE, () => worker(['--temporal-namespace', 'nobodys']), /^spillway: Temporal at \S+ has no namespace 'nobodys'\./],
    ['run under a name that the server does not take', Exit.BAD_INPUT, () => run(jobFile('fine', smallJob(stack, 'never')), ['--workflow-id', 'x'.repeat(2_000)]), /^spillway: Temporal starts no run: WorkflowId length exceeds limit\.$/m],
    ['pool without a pool', Exit.UNREACHABLE, () => stack.spillway('pool', ['--pool-name', 'nobodys']), /^spillway: pool nobodys does not answer\. Start a worker/],
    ['worker with a wrong value', Exit.BAD_INPUT, () => worker(['--pool-limit', 'lots']), /^spillway: pool\.limit must be a size such as 512GB .*, got lots \(--pool-limit\)/],
    ['worker with a mistyped variable', Exit.BAD_INPUT, () => worker([], { SPILLWAY_POOL_LIMITS: '1GB' }), /SPILLWAY_POOL_LIMITS is not a variable of Spillway\. Did you mean SPILLWAY_POOL_LIMIT\?/],
    ['worker with a wrong key in its file', Exit.BAD_INPUT, () => worker(['--config', jobFile('wrong', { pool: { limits: '1GB' } })]), /^spillway: pool\.limits is not a key of the configuration \(wrong\.json\)\. Did you mean pool\.limit\?/],
    ['worker with workflows that are not there', Exit.BAD_INPUT, () => worker(['--workflows', './none.ts']), /^spillway: workflows must be a file that exists/],
    ['an unknown command', Exit.BAD_INPUT, () => stack.spillway('wroker'), /unknown command 'wroker'/],
  ])('%s ends with exit code %i and one clear line', async (_title, exit, act, line) => {
    const ran = await act();
    expect({ exit: ran.exit, stderr: ran.stderr }).toEqual({ exit, stderr: expect.stringMatching(line) });
    expect(ran.stderr).not.toMatch(/^\s+at /m);
    expect(ran.seconds * 1000).toBeLessThan(NOTICED_MS + START_MS);
  }, 30_000); // prettier-ignore

  test('run under the name of one that is under way ends with exit code 2, and the other goes on', async () => {
    const workflowId = await stack.startJob(slowJob(stack, 'slow', 3_000));
    const ran = await run(jobFile('fine', smallJob(stack, 'never')), ['--workflow-id', workflowId]);
    expect(ran).toMatchObject({ exit: Exit.BAD_INPUT, stderr: `spillway: a run with the workflow id ${workflowId} is under way. Choose another --workflow-id, or leave it out.` }); // prettier-ignore
    await stack.result(workflowId);
  }, 90_000);

  test('status of a home where nothing runs ends with exit code 3 and names each part', async () => {
    const home = join(stack.directory, 'empty');
    mkdirSync(home);
    const ran = await stack.spillway('status', ['--home', home, '--temporal-address', nowhere]);
    expect(ran.exit).toBe(Exit.UNREACHABLE);
    for (const part of ['temporal', 'trino', 'postgres']) expect(ran.stdout).toMatch(new RegExp(`^${part}\\b`, 'm'));
  }, 30_000);
});

describe('a command that works', () => {
  afterEach(() => stack?.clean(), 90_000);
  test('run of a job file ends with exit code 0 and says what each step was lent', async () => {
    const ran = await stack.spillway('run', [jobFile('small', smallJob(stack, 'small'))]);
    expect(ran).toMatchObject({ exit: Exit.OK });
    for (const step of ['orders', 'counted', 'publish'])
      expect(ran.stdout).toMatch(new RegExp(`^${step} .*(heavy|light)`, 'm'));
    expect(await stack.sql(`select from ${stack.schema}.small`)).toHaveLength(5);
  }, 60_000);

  test('run that is interrupted ends with exit code 130, and the run goes on', async () => {
    const workflowId = stack.id('interrupted');
    const following = stack.spawnSpillway('run', [
      jobFile('slow', slowJob(stack, 'slow', 10_000)),
      '--workflow-id',
      workflowId,
    ]);
    await runningContainer(stack, 'paired');
    following.kill('SIGINT');
    expect(await following.ran).toMatchObject({ exit: Exit.INTERRUPTED, stderr: expect.stringContaining(workflowId) });
    await stack.result(workflowId);
  }, 120_000);

  test('whoever reads it may stop reading: it ends, without a word', async () => {
    const read = await execa(`${process.execPath} ${join(root, 'bin', 'spillway.js')} status --json ${stack.flags.join(' ')} | true`, { shell: true, cwd: stack.directory, env: stack.env, extendEnv: false }); // prettier-ignore
    expect(read).toMatchObject({ exitCode: 0, stdout: '', stderr: '' });
  }, 30_000);

  test('status answers JSON that names every part, the pool and who polls', async () => {
    const ran = await stack.spillway('status', ['--json']);
    expect(ran.exit).toBe(Exit.OK);
    const told = JSON.parse(ran.stdout) as Record<string, unknown>;
    expect(told).toMatchObject({
      temporal: { address: stack.parts.temporal.address, answers: true },
      trino: { url: stack.parts.trino.url },
      postgres: { url: stack.parts.postgres.url },
      scratch: stack.parts.scratch,
      image: stack.parts.image.name,
      pool: { pool: stack.pool },
      warnings: [],
    });
    // The server lists who polled lately, so workers of a test before may be there too.
    expect(told['workers']).toContainEqual(expect.stringMatching(new RegExp(`^${stack.workers[0]!.pid}@`)));
  }, 30_000);
});

// Long, because starting a stage costs seconds: what runs do while nothing breaks is tested on this one.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { noUsage } from '../../activities/leased.ts';
import { SpillwayError, Verdict } from '../../src/contracts/errors.ts';
import type { Ask } from '../../src/contracts/pool.ts';
import type { SinkResult } from '../../src/contracts/pipeline.ts';
import { GiB, TiB } from '../../src/policy/sizes.ts';
import { countTypes, eventsOf, failureOf, localActivities, scheduled, updates } from './history.ts';
import { proof } from './pool-double.ts';
import { eventually, Stage } from './stage.ts';
import type { Script } from './step-doubles.ts';

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.open({ pool: 'runs' });
}, 120_000);
afterAll(() => stage.close());
beforeEach(() => stage.steps.reset());

const input = { since: '1998-01-01' };
const summaries = async (of: Parameters<typeof eventsOf>[0], type: string): Promise<string[]> =>
  scheduled(await eventsOf(of))
    .filter((activity) => activity.type === type)
    .map(({ summary }) => summary);

describe('a run of three steps', () => {
  test('completes, says what each step was lent and used, and leaves the pool at its standing charges', async () => {
    const handle = await stage.start<SinkResult>('threeSteps', input);
    expect(await handle.result()).toMatchObject({ step: 'publish', rows: 1000, table: 'mart.daily' });
    expect((await stage.report(handle)).steps).toMatchObject([
      { step: 'lines', queue: 'runs.heavy', rung: 'server', leaseBytes: 16 * GiB, attempts: 1 },
      { step: 'daily', queue: 'runs.heavy', rung: 'M', leaseBytes: 6 * GiB, attempts: 1 },
      { step: 'publish', queue: 'runs.light', rung: 'allowance', attempts: 1 },
    ]);
    expect(await stage.idle()).toMatchObject({ lentBytes: 0, standingBytes: 4 * GiB, queue: [] });
    const run = (await handle.describe()).runId;
    expect(stage.control.drops).toContainEqual({
      pool: 'runs',
      run,
      dataIds: [`${run}/lines`, `${run}/daily`, `${run}/publish`],
      everything: false,
    });
  }, 30_000);

  test('costs its history at most two events more per step than its activities do', async () => {
    const handle = await stage.start('threeSteps', input);
    await handle.result();
    const counts = countTypes(await eventsOf(handle));
    const perRun = 1 /* the plan */ + 1 /* the pool's name */ + 1; /* the state at the end */
    const extra = counts['MARKER_RECORDED']! + counts['UPSERT_WORKFLOW_SEARCH_ATTRIBUTES']! - perRun;
    expect(extra).toBeGreaterThan(0);
    expect(extra / 3).toBeLessThanOrEqual(2);
  }, 30_000);

  test('gives the bytes of a step back with the ask of the next one', async () => {
    const handle = await stage.start('threeSteps', input);
    await handle.result();
    const run = (await handle.describe()).runId;
    expect(localActivities(await eventsOf(handle))).toEqual(['planRun', 'acquire', 'acquire', 'endLeases']);
    const said = updates(await eventsOf(stage.poolHandle)).filter(({ args }) => JSON.stringify(args).includes(run));
    expect(said.map(({ name }) => name)).toEqual(['acquire', 'begin', 'acquire', 'begin', 'end', 'drop']);
    const [first, second] = said.filter(({ name }) => name === 'acquire').map(({ args }) => args[0] as Ask);
    expect(first!.returns).toBeUndefined();
    expect(second!.returns).toMatchObject([
      { leaseId: `${run}/lines#0`, proof: { kind: 'query-gone' }, keep: [{ dataId: `${run}/lines` }] },
    ]);
  }, 30_000);

  test('is the same graph when it comes as data', async () => {
    const kinds = async (type: string, args: unknown): Promise<unknown> => {
      const handle = await stage.start(type, args);
      await handle.result();
      return scheduled(await eventsOf(handle));
    };
    const typed = await kinds('threeSteps', input);
    expect(await kinds('runsData', input)).toEqual(typed);
    const job = {
      name: 'daily',
      steps: [
        { step: 'lines', verb: 'trino.query', sql: 'select 1' },
        { step: 'daily', verb: 'datafusion.sql', from: { lines: 'lines' }, sql: 'select 1 from lines', profile: 'M' },
        { step: 'publish', verb: 'postgres.load', from: 'daily', into: 'mart.daily' },
      ],
    };
    expect(await kinds('eltPipeline', job)).toEqual(typed);
  }, 30_000);
});

describe('branches', () => {
  test('run side by side, and sinks called in one turn are planned together', async () => {
    const [left, right] = [stage.steps.hold('left'), stage.steps.hold('right')];
    const handle = await stage.start('twoBranches');
    await Promise.all([left.reached, right.reached]);
    expect((await stage.report(handle)).now).toEqual({
      left: expect.stringContaining('decode'),
      right: expect.stringContaining('decode'),
    });
    left.open();
    right.open();
    await handle.result();
    expect(stage.steps.of('source')).toHaveLength(1);
    expect(localActivities(await eventsOf(handle)).filter((type) => type === 'planRun')).toHaveLength(1);
  }, 30_000);

  test('rows that a later sink reads are computed once, and no warning is given before', async () => {
    const handle = await stage.start<string[]>('twoTurns');
    expect(await handle.result()).toEqual(['one', 'two', 'three']);
    expect(stage.steps.of('first')).toHaveLength(1);
    expect((await stage.report(handle)).warnings).toEqual([]);
  }, 30_000);

  test('the failure of one may be caught, and the run goes on', async () => {
    stage.steps.on('left', () => {
      throw new SpillwayError('SqlError', 'no such column');
    });
    expect(await stage.run('oneBranchMayFail')).toEqual(['rejected', 'fulfilled']);
    await stage.idle();
  }, 30_000);
});

describe('a step that has to wait', () => {
  test('is granted by signal, and people see by search attributes who waits', async () => {
    const gate = stage.steps.hold('lines');
    const first = await stage.start('threeSteps', input);
    await gate.reached;
    const second = await stage.start('threeSteps', input);
    const state = async (): Promise<unknown> => (await second.describe()).searchAttributes['SpillwayState'];
    expect(await eventually('the second waits', state, (seen) => JSON.stringify(seen) === '["waiting"]')).toEqual([
      'waiting',
    ]);
    expect((await second.describe()).searchAttributes).toMatchObject({
      SpillwayPool: ['runs'],
      SpillwayStep: ['lines'],
    });
    expect((await stage.report(second)).now).toEqual({
      lines: expect.stringMatching(/waits: another heavy step runs/),
    });
    const waiting: string[] = [];
    const list = async (): Promise<string[]> => {
      waiting.length = 0;
      for await (const { workflowId } of stage.client.workflow.list({
        query: `SpillwayState = 'waiting' and SpillwayPool = 'runs'`,
      }))
        waiting.push(workflowId);
      return waiting;
    };
    expect(await eventually('it is listed', list, (ids) => ids.length > 0)).toEqual([second.workflowId]);
    gate.open();
    await Promise.all([first.result(), second.result()]);
    expect(await state()).not.toEqual(['waiting']);
    expect(countTypes(await eventsOf(second))['WORKFLOW_EXECUTION_SIGNALED']).toBeGreaterThan(0);
    expect(stage.steps.maxRunning).toBe(1);
    expect(await eventually('nobody is listed', list, (ids) => ids.length === 0)).toEqual([]);
  }, 30_000);

  test('heavy steps of all runs go one at a time', async () => {
    let running = 0;
    let most = 0;
    stage.steps.on('daily', async () => {
      most = Math.max(most, ++running);
      await new Promise((done) => setTimeout(done, 50));
      running -= 1;
    });
    await Promise.all(Array.from({ length: 4 }, () => stage.run('threeSteps', input)));
    expect(most).toBe(1);
    expect(stage.steps.maxLentBytes).toBeLessThanOrEqual(16 * GiB);
  }, 30_000);
});

describe('the ladder', () => {
  const failing = (code: 'EngineExhausted' | 'OutOfMemoryOwn' | 'OutOfMemoryCeiling', below: number): void =>
    stage.steps.on('daily', ({ request }) => {
      if (request.ordinal < below) throw new SpillwayError(code, `out of memory at ${request.rung}`);
    });

  test('a step that ran out of memory climbs one rung at a time, and each try says why', async () => {
    failing('EngineExhausted', 2);
    const handle = await stage.start('threeSteps', input);
    await handle.result();
    expect(await summaries(handle, 'datafusionSql')).toEqual([
      'daily · DataFusion · M 6 GiB',
      'daily · DataFusion · L 12 GiB (M ran out of memory)',
      'daily · DataFusion · whole 60 GiB (L ran out of memory)',
    ]);
    expect(stage.steps.of('daily').map(({ request }) => [request.ordinal, request.rung, request.leaseBytes])).toEqual([
      [0, 'M', 6 * GiB],
      [1, 'L', 12 * GiB],
      [2, 'whole', 60 * GiB],
    ]);
    expect((await stage.report(handle)).steps[1]).toMatchObject({ step: 'daily', rung: 'whole', attempts: 3 });
    await stage.idle();
  }, 30_000);

  test('what five runs took beside their full pools is told to the next, until one is killed for memory', async () => {
    const fills: Script = () => {
      const usage = { ...noUsage(1, 'ok'), peakBytes: 4 * GiB, fullPool: { bytes: 3 * GiB, partitions: 2 } };
      return { used: usage };
    };
    const told = (): (number | undefined)[] =>
      stage.steps.of('daily').map(({ request }) => request.overhead?.partitionBytes);
    stage.steps.on('daily', fills);
    for (let run = 1; run <= 6; run += 1) await stage.run('threeSteps', input);
    expect(told()).toEqual([...Array.from({ length: 5 }, () => undefined), GiB / 2]);
    stage.steps.on('daily', (call, attempt) => {
      const details = { proof: proof(), used: noUsage(1, Verdict.OOM_OWN) };
      if (call.request.overhead) throw new SpillwayError('OutOfMemoryOwn', 'killed', { details });
      return fills(call, attempt);
    });
    for (let run = 7; run <= 8; run += 1) await stage.run('threeSteps', input);
    expect(told().slice(6)).toEqual([GiB / 2, undefined, undefined]);
    await stage.idle();
    await stage.pool.operate('runs', { act: 'forget', history: 'threeSteps/daily' }); // or the next test starts at L
  }, 60_000);

  test('a step that runs out of memory on the whole pool fails with what the engine said', async () => {
    failing('OutOfMemoryOwn', 99);
    const handle = await stage.start('threeSteps', input);
    expect(await failureOf(handle)).toEqual({ type: 'OutOfMemoryOwn', message: 'daily: out of memory at whole' });
    expect(stage.steps.of('daily')).toHaveLength(3);
    await stage.idle();
  }, 30_000);

  test('the whole of a pool is lent beside a resident engine that cannot give all of its memory back', async () => {
    failing('EngineExhausted', 2);
    stage.steps.on('lines', () => ({ proof: proof({ kind: 'query-gone', bytesLeft: 3 * GiB }) }));
    stage.control.onEvict = () => GiB;
    try {
      const handle = await stage.start('threeSteps', input);
      await handle.result();
      expect(stage.control.evictions).toEqual(['trino.default']);
      expect((await summaries(handle, 'datafusionSql')).at(-1)).toBe('daily · DataFusion · whole 59 GiB (L ran out of memory)'); // prettier-ignore
      expect(stage.steps.of('daily').at(-1)!.request).toMatchObject({ rung: 'whole', leaseBytes: 59 * GiB });
      expect((await stage.status()).leases.filter(({ kind }) => kind === 'data')).toMatchObject([
        { leaseId: 'engine:trino.default', bytes: GiB, because: 'kept by lines; its engine was asked for them, and kept them' },
      ]); // prettier-ignore
    } finally {
      delete stage.control.onEvict;
      stage.steps.reset();
      await stage.run('threeSteps', input); // its next query takes them over
    }
    await stage.idle();
  }, 30_000);

  test('a step killed because another passed its lease gets the same size again, at most twice', async () => {
    failing('OutOfMemoryCeiling', 99);
    const handle = await stage.start('threeSteps', input);
    expect(await failureOf(handle)).toMatchObject({ type: 'OutOfMemoryCeiling' });
    expect(await summaries(handle, 'datafusionSql')).toEqual([
      'daily · DataFusion · M 6 GiB',
      'daily · DataFusion · M 6 GiB (M another step passed its lease)',
      'daily · DataFusion · M 6 GiB (M another step passed its lease)',
    ]);
    await stage.idle();
  }, 30_000);

  test('a step whose lease was lost between two attempts asks with the next ordinal', async () => {
    stage.steps.on('daily', async ({ request }) => {
      if (request.ordinal > 0) return;
      await stage.pool.withdraw('runs', [{ leaseId: request.leaseId! }]);
      throw new Error('the attempt breaks down');
    });
    const handle = await stage.start('threeSteps', input);
    await handle.result();
    expect(stage.steps.of('daily').map(({ request, attempt }) => [request.leaseId!.split('#')[1], attempt])).toEqual([
      ['0', 1],
      ['1', 1],
    ]);
    await stage.idle();
  }, 30_000);

  test('a fault that may pass is tried again on the same lease, with a higher token', async () => {
    stage.steps.on('daily', ({ attempt }) => {
      if (attempt === 1) throw new SpillwayError('EngineFailed', 'the engine stumbled');
    });
    await stage.run('threeSteps', input);
    const [first, second] = stage.steps.of('daily');
    expect(second).toMatchObject({ attempt: 2, request: { leaseId: first!.request.leaseId } });
    expect(second!.token).toBeGreaterThan(first!.token);
    await stage.idle();
  }, 30_000);
});

describe('an ask that can never be served', () => {
  const job = (over: object): object => ({
    name: 'large',
    steps: [
      { step: 'rows', verb: 'trino.query', sql: 'select 1', connection: 'elsewhere' },
      { step: 'big', verb: 'datafusion.sql', from: { rows: 'rows' }, sql: 'select 1 from rows', ...over },
      { step: 'load', verb: 'postgres.load', from: 'big', into: 'mart.big' },
    ],
  });

  test('more memory than the pool lends fails the plan, with both numbers, before anything runs', async () => {
    const handle = await stage.start('eltPipeline', job({ memory: '61 GiB' }));
    const { type, message } = await failureOf(handle);
    expect(type).toBe('InvalidInput');
    expect(message).toMatch(
      /^large: big\.memory must be at most 60 GiB \(what pool runs can lend\), got 61 GiB\. Ask for less/,
    );
    expect(stage.steps.calls).toEqual([]);
  }, 30_000);

  test('more scratch than the pool has is refused by the pool, with both numbers', async () => {
    const handle = await stage.start('eltPipeline', job({ scratch: 2 * TiB }));
    const { type, message } = await failureOf(handle);
    expect(type).toBe('LeaseRefused');
    expect(message).toMatch(
      /^big cannot be lent its memory: it asks 2 TiB of scratch; pool runs has 1 TiB\. Ask for less/,
    );
    await stage.idle();
  }, 30_000);

  test('who waits is refused by signal when the pool shrinks under it', async () => {
    const gate = stage.steps.hold('lines');
    const first = await stage.start('threeSteps', input);
    await gate.reached;
    const second = await stage.start('eltPipeline', job({ memory: '40 GiB' }));
    const queued = async (): Promise<number> => (await stage.status()).queue.length;
    await eventually('it waits', queued, (waiting) => waiting === 1); // its first, heavy, query
    gate.open();
    const lines = stage.steps.hold('daily');
    await lines.reached;
    await eventually(
      'its large step waits',
      async () => (await stage.status()).queue.map(({ step }) => step),
      (steps) => steps.includes('big'),
    );
    await stage.pool.announce('runs', {
      host: 'reference-host',
      limitBytes: 32 * GiB,
      scratchLimitBytes: TiB,
      evidence: { alive: [], cgroup: 'none', runtime: 'process' },
    });
    const { type, message } = await failureOf(second);
    expect(type).toBe('LeaseRefused');
    expect(message).toMatch(/asks 40 GiB; pool runs can lend 28 GiB/);
    lines.open();
    await first.result();
    await eventually(
      'the host says its limits again',
      () => stage.status(),
      ({ limitBytes }) => limitBytes === 64 * GiB,
    );
    await stage.idle();
  }, 30_000);
});

import { describe, expect, test } from '@jest/globals';
import { SpillwayError } from '../../../src/contracts/errors.ts';
import type { StepSpec } from '../../../src/contracts/pipeline.ts';
import type { PlannedStep } from '../../../src/contracts/plan.ts';
import { planSteps, type PlanFacts } from '../../../src/policy/plan.ts';
import { GiB, MiB } from '../../../src/policy/sizes.ts';

const facts: PlanFacts = {
  ...{ pool: 'p', lendableBytes: 64 * GiB, lentBytes: 0, otherHeavy: false },
  rungSizes: { kind: 'bytes', S: 4 * GiB, M: 16 * GiB, L: 32 * GiB },
  ...{ lightStepBytes: GiB, stepScratchBytes: 100 * GiB },
  trino: { default: { queryBytes: 40 * GiB, resident: true }, far: { queryBytes: 40 * GiB, resident: false } },
  ...{ postgres: ['default'], searchAttributes: true },
  directories: {
    landing: { access: 'read' },
    lake: { access: 'write' },
    site: { access: 'read', url: 'https://data.example' },
  },
};
const query = (over: object = {}): StepSpec => ({ step: 'q', verb: 'trino.query', sql: 'select 1', ...over });
const join = (over: object = {}): StepSpec => ({
  step: 'j',
  verb: 'datafusion.sql',
  from: { q: 'q' },
  sql: 'select 1',
  ...over,
});
const load = (over: object = {}): StepSpec => ({ step: 'p', verb: 'postgres.load', from: 'j', into: 'a.b', ...over });

const files = (over: object = {}): StepSpec => ({ step: 'f', verb: 'files', directory: 'landing', path: '*.parquet', ...over }); // prettier-ignore
const write = (over: object = {}): StepSpec => ({ step: 'p', verb: 'write.parquet', from: 'j', directory: 'lake', path: 'daily', ...over }); // prettier-ignore

const plan = (steps: StepSpec[], over: Partial<PlanFacts> = {}, sinks = ['p']) =>
  planSteps({ name: 'daily', steps, sinks }, { ...facts, ...over });
function planned(step: string, steps: StepSpec[], over: Partial<PlanFacts> = {}): PlannedStep {
  return plan(steps, over).steps.find((found) => found.step === step)!;
}
/** The problems that a plan names, one a line. */
function problems(steps: StepSpec[], over: Partial<PlanFacts> = {}): string[] {
  try {
    plan(steps, over);
  } catch (error) {
    expect(error).toBeInstanceOf(SpillwayError);
    expect((error as SpillwayError).code).toBe('InvalidInput');
    return (error as Error).message.split('\n');
  }
  return [];
}

describe('a plan', () => {
  test('has the steps that the sinks need, sources first, and names those that nobody reads', () => {
    const made = plan([load(), join(), query(), query({ step: 'spare' })]);
    expect(made.steps.map(({ step, needs }) => [step, needs])).toEqual([
      ['q', []],
      ['j', ['q']],
      ['p', ['j']],
    ]);
    expect(made).toMatchObject({ planVersion: 1, pool: 'p', sinks: ['p'], searchAttributes: true });
    expect(made.warnings).toEqual(['spare (trino.query) is read by nobody and is not computed.']);
  });

  test('is plain JSON', () => {
    const made = plan([load(), join(), query()]);
    expect(JSON.parse(JSON.stringify(made))).toEqual(made);
  });

  test.each<[string, Partial<PlannedStep>]>([
    [
      'q',
      {
        weight: 'heavy',
        taskQueue: 'p.heavy',
        charge: 'lease',
        residentEngine: 'trino.default',
        engine: 'Trino',
        rungs: [{ name: 'server', bytes: 40 * GiB }],
      },
    ],
    [
      'j',
      {
        weight: 'heavy',
        taskQueue: 'p.heavy',
        charge: 'lease',
        engine: 'DataFusion',
        because: 'profile S by default',
        scratchBytes: 100 * GiB,
      },
    ],
    [
      'p',
      {
        weight: 'light',
        taskQueue: 'p.light',
        charge: 'allowance',
        engine: 'PostgreSQL',
        rungs: [{ name: 'allowance', bytes: GiB }],
        scratchBytes: 0,
      },
    ],
  ])('gives %s its defaults', (step, expected) => {
    const made = planned(step, [load(), join(), query()]);
    expect(made).toMatchObject({
      ...expected,
      priority: 3,
      startToCloseMs: 7_200_000,
      heartbeatMs: 20_000,
      maximumAttempts: 4,
      initialIntervalMs: 1_000,
    });
    expect(made.because).not.toBe('');
    expect(made.handoff === undefined).toBe(step === 'p');
  });

  test('takes what a step declares', () => {
    const spec = join({
      scratch: '7 GiB',
      startToClose: '10 min',
      priority: 1,
      retry: { maximumAttempts: 2, initialInterval: '3s' },
    });
    expect(planned('j', [load(), spec, query()])).toMatchObject({
      ...{ scratchBytes: 7 * GiB, startToCloseMs: 600_000, priority: 1, maximumAttempts: 2, initialIntervalMs: 3_000 },
    });
  });
});

describe('sizes to try', () => {
  const ladder = (spec: object, over: Partial<PlanFacts> = {}) =>
    planned('j', [load(), join(spec), query()], over).rungs.map(({ name, bytes }) => `${name} ${bytes / GiB}`);

  test.each<[string, object, string[]]>([
    ['start at S', {}, ['S 4', 'M 16', 'L 32', 'whole 64']],
    ['start at the profile', { profile: 'L' }, ['L 32', 'whole 64']],
    [
      'start at declared bytes and go on with the rungs above',
      { memory: '20 GiB' },
      ['declared 20', 'L 32', 'whole 64'],
    ],
    ['are one, when all is declared', { memory: 64 * GiB }, ['declared 64']],
  ])('%s', (_title, spec, expected) => expect(ladder(spec)).toEqual(expected));

  test('of a step made light end with what a light step may have', () => {
    expect(ladder({ weight: 'light', memory: '2 GiB' }, { lightStepBytes: 5 * GiB })).toEqual(['declared 2', 'S 4']);
    expect(planned('j', [load(), join({ weight: 'light', memory: '1 GiB' }), query()])).toMatchObject({
      taskQueue: 'p.light',
      charge: 'lease',
    });
  });

  test('of a query on an external Trino are none of the pool’s, and it may be light', () => {
    const made = planned('q', [load(), join(), query({ connection: 'far', weight: 'light' })]);
    expect(made).toMatchObject({ charge: 'lease', rungs: [{ name: 'external', bytes: 0 }], taskQueue: 'p.light' });
    expect(made).not.toHaveProperty('residentEngine');
  });
});

describe('a load', () => {
  const loaded = (over: object, from: StepSpec = join()) =>
    planned('p', [load({ from: from.step, ...over }), query(), join(), from]);

  test.each<[string, PlannedStep, Partial<PlannedStep>]>([
    ['of Arrow files streams within the light allowance', loaded({}), { charge: 'allowance', taskQueue: 'p.light' }],
    [
      'that declares no more than the allowance is paid from it',
      loaded({ memory: '500 MiB' }),
      { charge: 'allowance', rungs: [{ name: 'allowance', bytes: GiB }] },
    ],
    [
      'that declares more takes a light lease',
      loaded({ memory: '3 GiB' }),
      { charge: 'lease', weight: 'light', taskQueue: 'p.light', because: '3 GiB declared' },
    ],
    [
      'with a profile takes a light lease of that rung',
      loaded({ profile: 'M' }),
      { charge: 'lease', taskQueue: 'p.light', because: 'profile M' },
    ],
    [
      'made heavy takes a lease and the heavy slot: the allowance is the light slots’',
      loaded({ weight: 'heavy' }),
      { charge: 'lease', weight: 'heavy', taskQueue: 'p.heavy', rungs: [{ name: 'stream', bytes: GiB }] },
    ],
    [
      'of Parquet takes a lease for the container that decodes it',
      loaded({}, query()),
      { charge: 'lease', weight: 'light', rungs: [{ name: 'decode', bytes: 600_000_000 }] },
    ],
    [
      'of Parquet may declare that lease',
      loaded({ memory: '2 GiB' }, query()),
      { charge: 'lease', because: '2 GiB declared' },
    ],
  ])('%s', (_title, made, expected) => expect(made).toMatchObject(expected));

  test('on a host that can lend less than the smallest container takes what there is', () => {
    expect(
      planned('p', [load({ from: 'q' }), query({ connection: 'far' })], { lendableBytes: 300 * MiB }).rungs,
    ).toEqual([{ name: 'decode', bytes: 300 * MiB }]);
  });
});

describe('a reader of rows that may go to Parquet while they are written', () => {
  const transform = (over: object = {}): StepSpec => ({ step: 't', verb: 'transform', from: 'j', run: 'f', ...over });

  test('knows what it asks then', () => {
    const made = plan([load(), join(), query()]);
    expect(made.steps[1]!.handoff).toMatchObject({ mode: 'arrow', parquetPastBytes: Math.floor(0.8 * 64 * GiB) });
    expect(made.steps[2]).toMatchObject({
      ...{ charge: 'allowance' },
      ifParquet: { charge: 'lease', rungs: [{ name: 'decode', bytes: 600_000_000 }], history: 'daily/p' },
    });
  });

  test('that could not be had then keeps them from it', () => {
    const made = plan([load({ from: 't' }), transform({ memory: '512 MiB' }), join(), query()]);
    expect(made.steps[1]!.handoff).toEqual({ mode: 'arrow', because: 'its size is unknown' });
    expect(made.steps[2]!.ifParquet).toBeUndefined();
    expect(
      planned('t', [load({ from: 't' }), transform({ memory: '2 GiB' }), join(), query()]).ifParquet,
    ).toMatchObject({
      rungs: [
        { name: 'declared', bytes: 2 * GiB },
        { name: 'S', bytes: 4 * GiB },
        { name: 'M', bytes: 16 * GiB },
        { name: 'L', bytes: 32 * GiB },
        { name: 'whole', bytes: 64 * GiB },
      ],
    });
  });
});

describe('what cannot be had is said with key, rule, value and fix', () => {
  test.each<[string, StepSpec[], string]>([
    [
      'a heavy verb made light',
      [load(), join({ weight: 'light' }), query()],
      'daily: j.weight light allows 1 GiB (light.stepBytes), and datafusion.sql asks 4 GiB. Remove weight, to run it as a heavy step.',
    ],
    [
      'too little memory',
      [load(), join({ memory: '100m' }), query()],
      'daily: j.memory must be at least 600 MB (600000000 bytes; below it DataFusion is killed instead of spilling), got 100m. Raise it, or remove the key for profile S.',
    ],
    [
      'more memory than can be lent',
      [load(), join({ memory: '65 GiB' }), query()],
      'daily: j.memory must be at most 64 GiB (what pool p can lend), got 65 GiB. Ask for less, or enlarge the pool.',
    ],
    [
      'a size for a Trino query',
      [load(), join(), query({ profile: 'L' })],
      'daily: q.profile does not apply to trino.query, because a Trino server has one size, got L. Remove it; set trino.default in the configuration instead.',
    ],
    [
      'a mistyped Trino',
      [load(), join(), query({ connection: 'defalt' })],
      "daily: q: no Trino named 'defalt' is configured. Did you mean 'default'? Configured: default, far.",
    ],
    [
      'a Trino named like a property of every object',
      [load(), join(), query({ connection: 'constructor' })],
      "daily: q: no Trino named 'constructor' is configured. Choose one that is: default, far.",
    ],
    [
      'a mistyped directory',
      [files({ directory: 'lak' }), load({ from: 'f' })],
      "daily: f: no directory named 'lak' is configured. Did you mean 'lake'? Configured: landing, lake, site.",
    ],
    [
      'a folder where nothing may be written',
      [write({ directory: 'landing' }), join(), query()],
      "daily: p: directory 'landing' may only be read. Set directories.landing.access to 'write' in the configuration.",
    ],
    [
      'files of a web server by a pattern',
      [files({ directory: 'site', path: ['a.csv', '2026/*.csv'] }), load({ from: 'f' })],
      "daily: f.path must name each file of directory 'site': a web server does not say which there are, got 2026/*.csv. Name them.",
    ],
    [
      'more files of a web server than a history holds',
      [files({ directory: 'site', path: Array.from({ length: 5_001 }, (_, at) => `${at}.csv`) }), load({ from: 'f' })],
      'daily: f.path may name 5000 files at most, got 5001. Name fewer, in several steps.',
    ],
    [
      'a folder of a web server',
      [write({ directory: 'site' }), join(), query()],
      "daily: p: directory 'site' is a web server, which is only read. Write to one that has a path.",
    ],
    [
      'a size for files',
      [files({ memory: '1 GiB' }), load({ from: 'f' })],
      'daily: f.memory does not apply to files, which are read by the steps that use them, got 1 GiB. Remove it.',
    ],
    [
      'an unknown PostgreSQL',
      [load({ connection: 'warehouse' }), join(), query()],
      "daily: p: no PostgreSQL named 'warehouse' is configured. Choose one that is: default.",
    ],
  ])('%s', (_title, steps, message) => expect(problems(steps)).toEqual([message]));

  test('nothing configured names the command that mends it', () => {
    expect(problems([load(), join(), query()], { postgres: [] })).toEqual([
      "daily: p: no PostgreSQL named 'default' is configured. Run `spillway up`, or set postgres.default in the configuration.",
    ]);
  });

  test('all of it at once', () => {
    const found = problems([
      load({ connection: 'x' }),
      join({ memory: '1 TiB' }),
      query({ connection: 'y', memory: '1 GiB' }),
    ]);
    expect(found[0]).toBe('daily: 3 problems:');
    expect(found.slice(1).map((line) => line.slice(0, 4))).toEqual(['- q:', '- j.', '- p:']);
  });
});

describe('files', () => {
  test('are read where they lie, within the light allowance; what reads Parquet decodes it', () => {
    const steps = [files(), load({ from: 'f' })];
    expect(planned('f', steps)).toMatchObject({ charge: 'allowance', weight: 'light', handoff: { mode: 'parquet', because: 'files that are there, read where they lie' } }); // prettier-ignore
    expect(planned('p', steps)).toMatchObject({ rungs: [{ name: 'decode' }] });
  });
  test('of a web server are lent the scratch that they take', () => {
    const steps = [files({ directory: 'site', path: 'a.parquet', scratch: '3 GiB' }), load({ from: 'f' })];
    expect(planned('f', steps)).toMatchObject({ charge: 'lease', weight: 'light', rungs: [{ name: 'download', bytes: 64 * 2 ** 20 }], scratchBytes: 3 * GiB, handoff: { mode: 'parquet', because: 'files as they were downloaded' } }); // prettier-ignore
  });
  test.each<[string, StepSpec[], object]>([
    ['copied, when its input is of that kind', [query(), join(), write()], { charge: 'allowance' }],
    ['written anew in a container, when it is not', [files({ path: '*.arrow' }), write({ from: 'f' })], { charge: 'lease', because: 'arrow is written anew in a container' }], // prettier-ignore
    ['lent a container, when a query of Trino may find no rows', [query(), write({ from: 'q' })], { charge: 'lease' }],
    ['lent what they ask for', [files({ path: '*.csv', format: 'arrow' }), write({ from: 'f', memory: '2 GiB' })], { charge: 'lease', rungs: [{ name: 'declared', bytes: 2 * GiB }, { name: 'S' }, { name: 'M' }, { name: 'L' }, { name: 'whole' }] }], // prettier-ignore
  ])('that are written are %s', (_title, steps, says) => expect(planned('p', steps)).toMatchObject({ weight: 'light', ...says })); // prettier-ignore
});

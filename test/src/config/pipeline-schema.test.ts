// Long, as every rule of every verb has its line: what is given, and the one message that names key, rule, value and fix.
import { describe, expect, test } from '@jest/globals';
import { SpillwayError } from '../../../src/contracts/errors.ts';
import type { PlanRequest } from '../../../src/contracts/plan.ts';
import { readPipeline } from '../../../src/config/pipeline-schema.ts';

const query = { step: 'lines', verb: 'trino.query', sql: 'select 1' };
const join = { step: 'daily', verb: 'datafusion.sql', from: { lines: 'lines' }, sql: 'select 1' };
const load = { step: 'publish', verb: 'postgres.load', from: 'daily', into: 'mart.daily' };
const good = [query, join, load];

const job = (steps: unknown, over: object = {}): PlanRequest => ({
  kind: 'job',
  job: { name: 'daily', steps, ...over },
});
const called = (steps: unknown[], sinks = ['publish']): PlanRequest => ({
  kind: 'steps',
  decided: {},
  pipeline: 'daily',
  steps,
  sinks,
});

/** The problems that a request has, one a line. */
function problems(request: PlanRequest): string[] {
  try {
    readPipeline(request);
  } catch (error) {
    expect(error).toBeInstanceOf(SpillwayError);
    expect((error as SpillwayError).code).toBe('InvalidInput');
    return (error as Error).message.split('\n');
  }
  return [];
}

describe('both doors', () => {
  test('read the same steps', () => {
    expect(readPipeline(job(good))).toEqual({ name: 'daily', steps: good, sinks: ['publish'] });
    expect(readPipeline(called(good))).toEqual({ ...readPipeline(job(good)), decided: {} });
  });

  test('take every option of every verb', () => {
    const options = {
      ...{ weight: 'heavy', scratch: 1024, startToClose: '2 hours', priority: 5 },
      retry: { maximumAttempts: 1, initialInterval: 500 },
    };
    const steps = [
      {
        ...query,
        ...options,
        params: ['a', 1, true, null],
        connection: 'far',
        checkpoint: { reuse: 'any-run', version: '1' },
      },
      { ...join, ...options, memory: '6 GiB', checkpoint: true },
      {
        ...{
          ...load,
          ...options,
          profile: 'L',
          key: ['day'],
          write: 'replace',
          strategy: 'unlogged',
          connection: 'far',
        },
        ...{ indexes: [{ columns: ['a', 'b'], unique: true }], indexOrder: 'before-logged' },
      },
    ];
    expect(readPipeline(job(steps, { $schema: 'x' })).steps).toEqual(steps);
  });

  test('take files and folders, and tell which steps are sinks', () => {
    const steps = [
      {
        step: 'there',
        verb: 'files',
        directory: 'landing',
        path: ['a/*.csv', 'b/**/*.csv'],
        csv: { header: false, delimiter: ';', types: 'text' },
      },
      { step: 'cast', verb: 'datafusion.sql', from: { there: 'there' }, sql: 'select 1 from there' },
      { step: 'out', verb: 'write.parquet', from: 'cast', directory: 'lake', path: 'daily/28' },
      { step: 'feather', verb: 'write.arrow', from: 'cast', path: 'arrow' },
    ];
    expect(readPipeline(job(steps))).toMatchObject({ steps, sinks: ['out', 'feather'] });
    expect(
      problems(job([...steps, { step: 'again', verb: 'datafusion.sql', from: { out: 'out' }, sql: 'select 1' }])),
    ).toEqual(["daily: again reads 'out', which writes files and gives no rows. Read what 'out' reads: 'cast'."]);
    expect(problems(job([...steps, { ...load, from: 'there' }]))).toEqual([
      "daily: publish reads 'there', which are CSV files, and only datafusion.sql reads those. Put a datafusion.sql step between them.",
    ]);
  });

  test('a job runs all its loads, a turn of a workflow the sinks it called', () => {
    const second = { ...load, step: 'second' };
    expect(readPipeline(job([...good, second])).sinks).toEqual(['publish', 'second']);
    expect(readPipeline(called([...good, second], ['second'])).sinks).toEqual(['second']);
  });

  test.each<[string, PlanRequest]>([
    ['a job', job([{ ...query, sqll: 'x' }, join, load])],
    ['a turn', called([{ ...query, sqll: 'x' }, join, load])],
  ])('%s is checked alike', (_title, request) => {
    expect(problems(request)).toEqual([
      'daily: lines.sqll is not known. Did you mean sql? Known: step, weight, profile, memory, scratch, startToClose, retry, priority, verb, checkpoint, sql, params, connection.',
    ]);
  });
});

describe('each problem names key, rule, value and fix', () => {
  const optional = 'Change it, or remove the key for the default.';
  test.each<[string, unknown, string]>([
    ['a key that is missing', { ...query, sql: undefined }, 'lines.sql must be a statement, but is missing. Add it.'],
    ['an empty statement', { ...query, sql: ' ' }, 'lines.sql must be a statement, got " ". Change it.'],
    [
      'a mistyped word',
      { ...query, weight: 'hevy' },
      'lines.weight must be one of heavy, light, got "hevy". Did you mean heavy?',
    ],
    [
      'a wrong word',
      { ...query, profile: 'huge' },
      `lines.profile must be one of S, M, L, whole, got "huge". ${optional}`,
    ],
    [
      'a size',
      { ...query, memory: '6 apples' },
      `lines.memory must be a size such as "6 GiB" or a whole number of bytes, got "6 apples". ${optional}`,
    ],
    [
      'a size of another type',
      { ...query, scratch: {} },
      `lines.scratch must be a size such as "6 GiB" or a whole number of bytes, got {}. ${optional}`,
    ],
    [
      'a duration',
      { ...query, startToClose: 'soon' },
      `lines.startToClose must be a duration such as "2 hours" or a number of milliseconds, got "soon". ${optional}`,
    ],
    [
      'a priority',
      { ...query, priority: 9 },
      `lines.priority must be a whole number from 1 (first) to 5 (last), got 9. ${optional}`,
    ],
    ...(
      [
        [
          'files of no known kind',
          { path: 'a.txt' },
          'path must end with .parquet, .arrow or .csv, all alike, where no format is given, got "a.txt". Add format.',
        ],
        [
          'files of two kinds',
          { path: ['a.csv', 'b.parquet'] },
          'path must end with .parquet, .arrow or .csv, all alike, where no format is given, got ["a.csv","b.parquet"]. Add format.',
        ],
        [
          'files elsewhere',
          { path: '/etc/a.csv' },
          'path must be a path below its directory, without . and .., got "/etc/a.csv". Change it.',
        ],
        [
          'files above',
          { path: 'a/../../b.csv' },
          'path must be a path below its directory, without . and .., got "a/../../b.csv". Change it.',
        ],
        [
          'a delimiter of two characters',
          { path: 'a.csv', csv: { delimiter: '||' } },
          'csv.delimiter must be one character, got "||". Change it.',
        ],
        [
          'how to read what is no CSV',
          { path: 'a.parquet', csv: { header: false } },
          'csv says how CSV is read, and these files are parquet. Remove it.',
        ],
      ] as const
    ).map(
      ([title, over, says]) =>
        [title, { step: 'lines', verb: 'files', ...over }, `lines.${says}`] as [string, object, string],
    ),
    [
      'a statement after what is no sink',
      { step: 'sums', verb: 'postgres.sql', sql: 'select 1', after: ['daily'] },
      "sums.after must name sinks, and 'daily' gives rows, which are there when somebody reads them. Remove it.",
    ],
    [
      'a statement after nothing',
      { step: 'sums', verb: 'postgres.sql', sql: 'select 1', after: ['publsh'] },
      "sums.after must name sinks, and 'publsh' is no step of this pipeline. Did you mean 'publish'?",
    ],
    [
      'a checkpoint of another kind',
      { ...query, checkpoint: { reuse: 'any' } },
      `lines.checkpoint must be true, or { reuse: "run" | "any-run", version, keep }, got {"reuse":"any"}. ${optional}`,
    ],
    [
      'a shared checkpoint that says not when it is old',
      { ...query, checkpoint: { reuse: 'any-run' } },
      'lines.checkpoint needs a version with reuse any-run: nobody else knows when what it reads has changed. Add version, for example the day.',
    ],
    [
      'attempts',
      { ...query, retry: { maximumAttempts: 0 } },
      'lines.retry.maximumAttempts must be a whole number >= 1, got 0. Change it.',
    ],
    [
      'a key inside a key',
      { ...query, retry: { maximumAttemts: 1 } },
      'lines.retry.maximumAttemts is not known. Did you mean maximumAttempts? Known: maximumAttempts, initialInterval.',
    ],
    [
      'an unknown key near none',
      { ...query, retry: { often: true } },
      'lines.retry.often is not known. Remove it. Known: maximumAttempts, initialInterval.',
    ],
    [
      'a parameter',
      { ...query, params: ['a', {}] },
      'lines.params.1 must be a text, a number, true, false or null, got {}. Change it.',
    ],
    [
      'tables',
      { ...join, step: 'j2', from: {} },
      'j2.from must name at least one dataset: table name → step, got {}. Change it.',
    ],
    [
      'a table name',
      { ...join, step: 'j2', from: { 'a b': 'lines' } },
      'j2.from.a b must have a plain table name as its key, got "lines". Change it.',
    ],
    ['a target', { ...load, step: 'p2', into: 'daily' }, 'p2.into must be schema.table, got "daily". Change it.'],
    [
      'a primary key',
      { ...load, step: 'p2', key: [] },
      `p2.key must be a list of at least one column, got []. ${optional}`,
    ],
    [
      'an index',
      { ...load, step: 'p2', indexes: [{ columns: ['a'], uniqe: true }] },
      'p2.indexes.0.uniqe is not known. Did you mean unique? Known: columns, unique.',
    ],
    [
      'a step name',
      { ...query, step: '1st' },
      '1st.step must start with a letter and have at most 63 letters, digits, _ or -, got "1st". Change it.',
    ],
    ['no step name', { verb: 'trino.query', sql: 'x' }, 'steps[3].step must be a name, but is missing. Add it.'],
    [
      'a mistyped verb',
      { step: 'x', verb: 'trino.qury' },
      'x.verb must be one of trino.query, datafusion.sql, transform, files, postgres.load, postgres.sql, write.parquet, write.arrow, got "trino.qury". Did you mean trino.query?',
    ],
    [
      'no verb',
      { step: 'x' },
      'x.verb must be one of trino.query, datafusion.sql, transform, files, postgres.load, postgres.sql, write.parquet, write.arrow, but is missing. Choose one.',
    ],
    [
      'a verb of every object',
      { step: 'x', verb: 'constructor' },
      'x.verb must be one of trino.query, datafusion.sql, transform, files, postgres.load, postgres.sql, write.parquet, write.arrow, got "constructor". Choose one.',
    ],
    ['no step at all', null, 'steps[3] must be a step { "step": …, "verb": … }, got null. Remove it, or write a step.'],
    [
      'two ways to size',
      { ...query, step: 'x', profile: 'M', memory: '6 GiB' },
      'x has both profile M and memory 6 GiB. Keep one: a rung, or a size.',
    ],
  ])('%s', (_title, step, message) => {
    const others = [query, join, load].filter((one) => one.step !== (step as { step?: string } | null)?.step);
    const given = others.length === 3 ? [...others, step] : [step, ...others];
    expect(problems(job(given))).toEqual([`daily: ${message}`]);
  });

  test('a statement that makes a table says how, and takes no values', () => {
    const statement = (over: object): string[] =>
      problems(job([{ step: 'sums', verb: 'postgres.sql', sql: 'select 1 as day', ...over }]));
    expect(statement({ into: 'mart.sums', key: ['day'], indexes: [{ columns: ['day'] }] })).toEqual([]);
    expect(statement({ into: 'mart.sums', params: [1] })).toEqual(['daily: sums.params are not for a statement that makes a table, which PostgreSQL takes none for, got [1]. Write the values into sql.']); // prettier-ignore
    expect(statement({ key: ['day'] })).toEqual(['daily: sums.key is of the table that into names, and there is no into, got ["day"]. Add into, or remove it.']); // prettier-ignore
  });

  test('a load that adds rows needs a key to merge by, and nothing that replaces tables', () => {
    const write = (over: object): string[] => problems(job([query, join, { ...load, ...over }]));
    expect(write({ write: 'append' })).toEqual([]);
    expect(write({ write: 'merge', key: ['day'] })).toEqual([]);
    expect(write({ write: 'merge' })).toEqual(['daily: publish.write merge needs a key to tell rows by. Add key: the columns of a unique index of the table.']); // prettier-ignore
    expect(write({ write: 'append', strategy: 'unlogged', indexOrder: 'before-logged' })).toEqual([
      'daily: 2 problems:',
      '- publish.strategy says how a table is replaced, and write is append, got unlogged. Remove it.',
      '- publish.indexOrder says how a table is replaced, and write is append, got before-logged. Remove it.',
    ]);
    expect(write({ write: 'append', evolve: ['add', 'widen'] })).toEqual([]);
    expect(write({ evolve: ['widen'] })).toEqual([]);
    expect(write({ partition: { in: ['de', null] } })).toEqual([]);
    expect(write({ partition: { from: '2026-11-01', to: ['2026-12-01'] } })).toEqual([]);
    expect(write({ partition: { from: 1 } })).toEqual(['daily: publish.partition must be { in: [values] }, or { from, to } with a value each, or a list of values, got {"from":1}. Change it, or remove the key for the default.']); // prettier-ignore
    expect(write({ partition: { in: [1] }, key: ['day'] })).toEqual(['daily: publish.partition takes columns, keys and indexes from its table, got key beside it. Remove that, and make it in mart.daily.']); // prettier-ignore
    expect(write({ write: 'append', partition: { in: [1] } })).toEqual(['daily: publish.partition says how a table is replaced, and write is append, got {"in":[1]}. Remove it.']); // prettier-ignore
    expect(write({ evolve: ['add'] })).toEqual(['daily: publish.evolve add is for tables that rows are added to, and write is replace, which makes every column of the rows. Remove it.']); // prettier-ignore
    expect(write({ write: 'append', evolve: ['drop'] })).toEqual([
      'daily: publish.evolve.0 must be one of add, widen, got "drop". Change it.',
    ]);
    expect(write({ write: 'upsert' })).toEqual([
      'daily: publish.write must be one of replace, append, merge, got "upsert". Change it, or remove the key for the default.',
    ]);
  });

  test('several connections go with strategies that commit their staging table', () => {
    const replace = (over: object): string[] => problems(job([query, join, { ...load, ...over }]));
    expect(replace({ connections: 4 })).toEqual([]);
    expect(replace({ connections: 4, strategy: 'parallel' })).toEqual([]);
    expect(replace({ connections: 1, strategy: 'freeze' })).toEqual([]);
    expect(replace({ connections: 4, strategy: 'freeze' })).toEqual(['daily: publish.connections must be 1 with strategy freeze, which is one transaction of one connection, got 4. Use strategy parallel, or remove connections.']); // prettier-ignore
    expect(replace({ connections: 17 })).toEqual(['daily: publish.connections must be a whole number from 1 to 16, got 17. Change it, or remove the key for the default.']); // prettier-ignore
    expect(replace({ connections: 2, write: 'append' })).toEqual(['daily: publish.connections says how a table is replaced, and write is append, got 2. Remove it.']); // prettier-ignore
  });

  test('long values are shortened', () => {
    const [message] = problems(job([{ ...query, weight: 'x'.repeat(10_000) }, join, load]));
    expect(message!.length).toBeLessThan(250);
  });

  test.each<[string, unknown, string]>([
    [
      'nothing',
      undefined,
      'eltPipeline needs a pipeline { "name": …, "steps": [ … ] } as its input, but is missing. Pass one with --input-file job.json.',
    ],
    [
      'a list',
      [],
      'eltPipeline needs a pipeline { "name": …, "steps": [ … ] } as its input, got []. Pass one with --input-file job.json.',
    ],
    ['a job without a name', { steps: good }, 'pipeline: name must be a text, but is missing. Name the pipeline.'],
    [
      'a job without steps',
      { name: 'n', steps: [] },
      'n: steps must be a list of at least one step, got []. Add a step.',
    ],
    [
      'a job with a mistyped key',
      { name: 'n', step: [], steps: good },
      'n: step is not known. Did you mean steps? Known: $schema, name, steps.',
    ],
    [
      'a job without a sink',
      { name: 'n', steps: [query] },
      'n: no step makes anything happen. Add a sink, for example a postgres.load step.',
    ],
  ])('%s is no job', (_title, given, message) => expect(problems({ kind: 'job', job: given })).toEqual([message]));
});

describe('rules across steps', () => {
  test.each<[string, unknown[], string]>([
    [
      'two steps of one name',
      [...good, query],
      "two steps are named 'lines'. Names are unique within a run; rename one.",
    ],
    [
      'a mistyped source',
      [query, { ...join, from: { l: 'line' } }, load],
      "daily reads 'line', which is no step of this pipeline. Did you mean 'lines'?",
    ],
    [
      'a source that is nowhere',
      [query, { ...join, from: { l: 'customers' } }, load],
      "daily reads 'customers', which is no step of this pipeline. Add that step, or read another.",
    ],
    [
      'a load that is read',
      [...good, { ...load, step: 'again', from: 'publish' }],
      "again reads 'publish', which loads a table and gives no rows. Read what 'publish' reads: 'daily'.",
    ],
    [
      'a step that reads itself',
      [{ ...join, from: { d: 'daily' } }, load],
      'steps read each other in a circle: daily → daily. Have one of them read another step.',
    ],
    [
      'a circle',
      [
        { ...join, step: 'a', from: { t: 'b' } },
        { ...join, step: 'b', from: { t: 'c', q: 'lines' } },
        { ...join, step: 'c', from: { t: 'a' } },
        query,
        { ...load, from: 'a' },
      ],
      'steps read each other in a circle: a → b → c → a. Have one of them read another step.',
    ],
  ])('%s', (_title, steps, message) => expect(problems(job(steps))).toEqual([`daily: ${message}`]));

  test('two circles are named, each once', () => {
    const circle = (one: string, two: string) => [
      { ...join, step: one, from: { t: two } },
      { ...join, step: two, from: { t: one } },
    ];
    expect(problems(job([...circle('a', 'b'), ...circle('c', 'd'), { ...load, from: 'b' }])).slice(1)).toEqual([
      '- steps read each other in a circle: a → b → a. Have one of them read another step.',
      '- steps read each other in a circle: c → d → c. Have one of them read another step.',
    ]);
  });

  test('steps that are read twice, on two ways, are no circle', () => {
    const other = { ...join, step: 'other' };
    const both = { ...join, step: 'both', from: { a: 'daily', b: 'other', c: 'lines' } };
    expect(problems(job([query, join, other, both, { ...load, from: 'both' }]))).toEqual([]);
  });
});

describe('all problems are told at once', () => {
  test('of the job, of several steps, and of how they are joined', () => {
    const steps = [
      { ...query, weight: 'hevy', memory: 'much' },
      { ...join, from: { l: 'lins' } },
      { ...load, into: 'x' },
      { ...query, step: 'a', verb: 'datafusion.sql', from: { t: 'a' } },
    ];
    expect(problems(job(steps, { nam: 1 }))).toEqual([
      'daily: 6 problems:',
      expect.stringMatching(/^- nam is not known\. Did you mean name\?/),
      expect.stringMatching(/^- lines\.weight /),
      expect.stringMatching(/^- lines\.memory /),
      expect.stringMatching(/^- publish\.into /),
      expect.stringMatching(/^- daily reads 'lins'.* Did you mean 'lines'\?$/),
      expect.stringMatching(/^- steps read each other in a circle: a → a/),
    ]);
  });

  test('a step that breaks a rule of its own is still there for its readers, and a broken load is still a sink', () => {
    expect(problems(job([{ ...query, priority: 0 }, join, { ...load, into: 'x' }]))).toHaveLength(3);
  });
});

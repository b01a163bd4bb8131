import { describe, expect, test } from '@jest/globals';
import { dailyRevenue } from '../../../examples/daily-revenue/workflows.ts';
import { filesOfDay, monthlyRevenue, ratesOfDay } from '../../../examples/files/workflows.ts';
import { datafusion, perPartition, postgres, runPipeline, sortExternal, trino } from '../../../src/sdk/index.ts';
import { GiB } from '../../../src/policy/sizes.ts';
import { runRecorded } from '../../../src/testing/index.ts';

const rows = () => trino.query('rows', { sql: 'select 1 as a' });
const nothing = async (): Promise<void> => undefined;

describe('a workflow that is run without any engine', () => {
  test('is planned as a worker would, and its sinks give back what the test says', async () => {
    const run = await runRecorded(dailyRevenue, [{ since: '1998-01-01' }], { results: { publish: { rows: 7 } } });
    expect(run.steps.map(({ step, taskQueue, rungs }) => [step, taskQueue, rungs[0]?.name])).toEqual([
      ['lines', 'test.heavy', 'server'],
      ['daily', 'test.heavy', 'M'],
      ['publish', 'test.light', 'allowance'],
    ]);
    expect(run.result).toEqual({
      step: 'publish',
      rows: 7,
      bytes: 0,
      mode: 'recorded',
      because: 'no engine ran',
      table: 'mart.daily_revenue',
    });
    expect(run.warnings).toEqual([]);
  });

  test('may read files and write folders', async () => {
    const run = await runRecorded(monthlyRevenue, [{ month: '2026-11', day: '2026-11-28' }], { results: { export: { rows: 30 } } }); // prettier-ignore
    expect(run.steps.map(({ step, charge, handoff }) => [step, charge, handoff?.mode])).toEqual([
      ['orders', 'allowance', 'parquet'],
      ['daily', 'lease', 'parquet'],
      ['export', 'allowance', undefined],
    ]);
    expect(run.result).toMatchObject({ rows: 30, path: 'revenue/2026-11-28' });
  });

  test('may read files that a web server has', async () => {
    const run = await runRecorded(ratesOfDay, [{ day: '2026-11-28', banks: ['ecb', 'boe'] }]);
    expect(run.steps[0]).toMatchObject({ step: 'rates', spec: { path: ['ecb/2026-11-28.csv', 'boe/2026-11-28.csv'] } });
    expect(run.result).toMatchObject({ path: 'rates/2026-11-28' });
  });

  test('may merge files, sort rows, and have a step for each partition', async () => {
    const run = await runRecorded(filesOfDay, [{ day: '2026-11-28', countries: ['DE', "CÔTE D'IVOIRE"] }]);
    expect(run.steps.map(({ step }) => step)).toEqual([
      ...['merged-files', 'merged-rows', 'merged', 'orders'],
      ...['of-DE', 'of-DE-sorted', 'of-DE-out', 'of-C-TE-D-IVOIRE', 'of-C-TE-D-IVOIRE-sorted', 'of-C-TE-D-IVOIRE-out'],
    ]);
    const sqlOf = (name: string): unknown =>
      (run.steps.find(({ step }) => step === name)!.spec as { sql?: unknown }).sql;
    expect(sqlOf('of-C-TE-D-IVOIRE')).toBe(`select * from rows where "country" = 'CÔTE D''IVOIRE'`);
    expect(sqlOf('of-DE-sorted')).toBe('select * from rows order by "orderdate", "totalprice" desc');
    expect([run.plans.length, run.warnings]).toEqual([2, []]);
  });

  test.each<[string, () => unknown, string]>([
    ['nothing to sort by', () => sortExternal('s', { from: rows(), by: [] }), "sortExternal('s').by must be a list of at least one column, got []. Write by: ['day', { column: 'revenue', descending: true }]."],
    ['a value that is there twice', () => perPartition('p', { from: rows(), by: 'a', values: ['x y', 'x-y'] }, nothing), `perPartition('p').values must give each step a name of its own, got "x-y" as another p-x-y. Name each value once.`],
    ['a value that is no value', () => perPartition('p', { from: rows(), by: 'a', values: [Number.NaN] }, nothing), "perPartition('p').values must be texts, finite numbers, booleans or null, got null. Write dates as texts, such as '2026-11-29'."],
  ])('refuses %s', async (_, build, message) => {
    await expect(runRecorded(async () => void (await build()), [])).rejects.toMatchObject({ message });
  }); // prettier-ignore

  test('a partition of rows without a value, columns with any name, and where those without a value stand', async () => {
    const by = { column: 'c', nulls: 'first' } as const;
    const run = await runRecorded(
      () =>
        perPartition('p', { from: rows(), by: 'a "b"', values: [null, true, 1.5] }, (of, value, name) => {
          const from = sortExternal(`${name}-sorted`, { from: of, by: [by], memory: '1 GiB' });
          return postgres.load(`${name}-load`, { from, into: `a.t${String(value).replace('.', '_')}` });
        }),
      [],
    );
    const statements = run.steps.flatMap(({ spec }) => (spec.verb === 'datafusion.sql' ? [spec.sql] : []));
    const filters = ['is null', '= true', '= 1.5'].map((of) => `select * from rows where "a ""b""" ${of}`);
    expect(statements).toEqual(expect.arrayContaining([...filters, 'select * from rows order by "c" nulls first']));
  });

  test('goes the way that the given results lead', async () => {
    async function twoWays() {
      const from = trino.query('rows', { sql: 'select 1 as a' });
      const first = await postgres.load('first', { from, into: 'a.first' });
      if (first.rows > 10) await postgres.load('second', { from, into: 'a.second' });
      return first.rows;
    }
    const few = await runRecorded(twoWays, []);
    const many = await runRecorded(twoWays, [], { results: { first: { rows: 11 } } });
    expect(few.steps.map(({ step }) => step)).toEqual(['rows', 'first']);
    expect(many.steps.map(({ step }) => step)).toEqual(['rows', 'first', 'second']);
    expect([many.plans.length, many.result]).toEqual([2, 11]);
  });

  test('warns of rows that nobody reads', async () => {
    const run = await runRecorded(async () => {
      trino.query('unread', { sql: 'select 1' });
    }, []);
    expect(run.warnings).toEqual([
      "trino.query('unread') was never read: no sink needs its rows, so they are not computed.",
    ]);
  });

  test('runs a pipeline that is data', async () => {
    const job = {
      name: 'job',
      steps: [
        { step: 'a', verb: 'trino.query', sql: 'select 1 as a' },
        { step: 'b', verb: 'postgres.load', from: 'a', into: 'x.y' },
      ],
    };
    const run = await runRecorded(() => runPipeline(job), [], { results: { b: { rows: 1 } } });
    expect(run.result).toMatchObject([{ step: 'b', rows: 1, table: 'x.y' }]);
  });

  test.each<[string, Parameters<typeof datafusion.sql>[1], RegExp]>([
    ['a step that reads nothing', { from: {}, sql: 'select 1' }, /big\.from must name at least one dataset/],
    [
      'a wrong option',
      { from: {}, sql: 'select 1', profile: 'XL' as 'S' },
      /big\.profile must be one of S, M, L, whole/,
    ],
  ])('fails for %s', async (_title, options, message) => {
    const run = runRecorded(async () => {
      const from = datafusion.sql('big', options);
      return postgres.load('out', { from, into: 'a.b' });
    }, []);
    await expect(run).rejects.toMatchObject({ code: 'InvalidInput', message: expect.stringMatching(message) });
  });

  test('names the step that can never fit, and both numbers', async () => {
    const run = runRecorded(
      async () => {
        const rows = trino.query('rows', { sql: 'select 1 as a' });
        const big = datafusion.sql('big', { from: { rows }, sql: 'select a from rows', memory: '20 GiB' });
        return postgres.load('out', { from: big, into: 'a.b' });
      },
      [],
      { facts: { lendableBytes: 9 * GiB } },
    );
    await expect(run).rejects.toThrow(/big\.memory must be at most 9 GiB \(what pool test can lend\), got 20 GiB/);
  });

  test('leaves no run behind: a verb outside of one says what is missing', async () => {
    await runRecorded(dailyRevenue, [{ since: '1998-01-01' }]);
    expect(() => trino.query('late', { sql: 'select 1' })).toThrow(/lacks the Spillway interceptor/);
  });
});

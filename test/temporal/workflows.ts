import { datafusion, Dataset, postgres, runPipeline, trino, type SinkResult } from '../../src/sdk/index.ts';

/** Rows that take no memory of the pool: an external Trino, on the light queue, so that runs do not wait for each other. */
const rows = (step: string): Dataset =>
  trino.query(step, { sql: 'select 1', connection: 'elsewhere', weight: 'light' });

/** Reads, computes, loads: the main job. */
export async function threeSteps({ since }: { since: string }): Promise<SinkResult> {
  const lines = trino.query('lines', { sql: 'select * from lineitem where shipdate >= date(?)', params: [since] });
  const daily = datafusion.sql('daily', { from: { lines }, sql: 'select 1 from lines', profile: 'M' });
  return postgres.load('publish', { from: daily, into: 'mart.daily', key: ['day'] });
}

/** Two loads of the same rows, called in one turn; each is lent memory of its own to decode Parquet. */
export async function twoBranches(): Promise<SinkResult[]> {
  const source = rows('source');
  return Promise.all([
    postgres.load('left', { from: source, into: 'mart.left' }),
    postgres.load('right', { from: source, into: 'mart.right' }),
  ]);
}

/** As {@link twoBranches}; the failure of one is not the end. */
export async function oneBranchMayFail(): Promise<string[]> {
  const source = rows('source');
  const loads = ['left', 'right'].map((step) => postgres.load(step, { from: source, into: `mart.${step}` }));
  return (await Promise.allSettled(loads)).map(({ status }) => status);
}

/** Two sinks, one after the other; the first one's rows are read again. */
export async function twoTurns(): Promise<string[]> {
  const first = rows('first');
  const second = rows('second');
  const a = await postgres.load('one', { from: first, into: 'mart.one' });
  const b = await postgres.load('two', { from: second, into: 'mart.two' });
  const c = await postgres.load('three', { from: first, into: 'mart.three' });
  return [a.step, b.step, c.step];
}

/** Rows of a container, which may keep them in memory. */
const computed = (step: string): Dataset =>
  datafusion.sql(step, { from: { lines: rows('lines') }, sql: 'select 1 from lines', memory: '4 GiB' });

/** Two loads of the same computed rows, called in one turn. */
export async function twoReaders(): Promise<SinkResult[]> {
  const source = computed('source');
  return Promise.all(['left', 'right'].map((step) => postgres.load(step, { from: source, into: `mart.${step}` })));
}

/** Two loads of the same computed rows, one after the other. */
export async function readsAgain(): Promise<string[]> {
  const first = computed('first');
  const a = await postgres.load('one', { from: first, into: 'mart.one' });
  const b = await postgres.load('two', { from: first, into: 'mart.two' });
  return [a.step, b.step];
}

const summed = (step: string, rows: Dataset): Dataset => datafusion.sql(step, { from: { rows }, sql: `select 1 from rows -- ${step}` }); // prettier-ignore

/** Three steps of one engine in a row, read by one load; then the one in the middle is read by another. */
export async function inARow({ again = false }: { again?: boolean }): Promise<string[]> {
  const first = summed('first', rows('rows'));
  const second = summed('second', first);
  const third = summed('third', second);
  const loads = [await postgres.load('load', { from: third, into: 'mart.third' })];
  if (again) loads.push(await postgres.load('later', { from: second, into: 'mart.second' }));
  return loads.map(({ step }) => step);
}

/** Two steps of one engine read a third, and each is loaded. */
export async function inAFork(): Promise<string[]> {
  const shared = summed('shared', rows('rows'));
  const loads = ['left', 'right'].map((side) =>
    postgres.load(`load-${side}`, { from: summed(side, shared), into: `mart.${side}` }),
  );
  return (await Promise.all(loads)).map(({ step }) => step);
}

/** One load whose decoding is lent memory: the smallest run that asks the pool. */
export async function oneLoad(): Promise<SinkResult> {
  return postgres.load('load', { from: rows('rows'), into: 'mart.load' });
}

/** A heavy query whose memory is declared. */
export async function asksFor({ memory }: { memory: string }): Promise<SinkResult> {
  const big = datafusion.sql('big', { from: { r: rows('rows') }, sql: 'select 1 from r', memory });
  return postgres.load('load', { from: big, into: 'mart.big' });
}

/** Has a dataset that nobody reads. */
export async function readsOneOfTwo(): Promise<SinkResult> {
  trino.query('forgotten', { sql: 'select 2' });
  return postgres.load('load', { from: rows('rows'), into: 'mart.load' });
}

/** Forgets to await its sink. */
export async function doesNotWait(): Promise<string> {
  void postgres.load('load', { from: rows('rows'), into: 'mart.load' });
  return 'returned';
}

/** Awaits its sinks one after the other: nobody listens to the second while the first one runs. */
export async function awaitsInTurn(): Promise<string[]> {
  const source = rows('source');
  const left = postgres.load('left', { from: source, into: 'mart.left' });
  const right = postgres.load('right', { from: source, into: 'mart.right' });
  return [(await left).step, (await right).step];
}

export async function awaitsDataset(): Promise<{ isDataset: boolean; step: string }> {
  const awaited = await (rows('rows') as unknown);
  return { isDataset: awaited instanceof Dataset, step: (awaited as Dataset).step };
}

export async function namesTwice(): Promise<SinkResult> {
  rows('rows');
  return postgres.load('load', { from: rows('rows'), into: 'mart.load' });
}

export async function throwsPlainError(): Promise<never> {
  throw new Error('seven is not a colour');
}

/** The same graph as {@link threeSteps}, as data within a workflow. */
export async function runsData({ since }: { since: string }): Promise<SinkResult[]> {
  return runPipeline({
    name: 'daily',
    steps: [
      { step: 'lines', verb: 'trino.query', sql: 'select * from lineitem where shipdate >= date(?)', params: [since] },
      { step: 'daily', verb: 'datafusion.sql', from: { lines: 'lines' }, sql: 'select 1 from lines', profile: 'M' },
      { step: 'publish', verb: 'postgres.load', from: 'daily', into: 'mart.daily', key: ['day'] },
    ],
  });
}

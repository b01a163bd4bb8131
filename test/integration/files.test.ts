import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { existsSync, mkdirSync, readdirSync, watch, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { FilesStep, PipelineSpec, SinkResult, WriteStep } from '../../src/contracts/pipeline.ts';
import { RUN_REPORT_QUERY, type RunReport } from '../../src/contracts/report.ts';
import { sharedHome } from './provision-home.ts';
import { datafusion, load, query } from './stack-jobs.ts';
import { root, Stack } from './stack.ts';

/** Files as sources and as sinks, with all real engines between them. */
let stack: Stack;
let home: string;
/** 15,000 orders that Trino made, in daily/orders of the lake and in table direct. */
let wrote: SinkResult;
beforeAll(async () => {
  mkdirSync(join(sharedHome, 'tmp'), { recursive: true });
  home = await mkdtemp(join(sharedHome, 'tmp', 'files-data-'));
  for (const name of ['landing', 'lake']) mkdirSync(join(home, name), { mode: 0o755 });
  stack = await Stack.open('files', {
    pool: { limit: '8 GiB' },
    directories: { landing: { path: join(home, 'landing') }, lake: { path: join(home, 'lake'), access: 'write' } },
    transforms: join(root, 'test', 'integration', 'transforms-of-stack.ts'),
  });
  await stack.worker();
  wrote = (await run('writes', orders, write('parquet', 'orders', 'daily/orders'), load(stack, 'orders', 'direct')))
    .sinks[0]!;
}, 600_000);
afterEach(async () => {
  await stack?.clean();
  const left = readdirSync(join(home, 'lake'), { recursive: true, encoding: 'utf8' }).filter((name) => name.includes('.spillway-')); // prettier-ignore
  expect(left).toEqual([]);
}, 90_000);
afterAll(async () => {
  await stack?.close();
  await rm(home, { recursive: true, force: true });
}, 90_000);

const ORDERS = 15_000;
const files = (step: string, path: string, more: Partial<FilesStep> = {}): FilesStep => ({ step, verb: 'files', directory: 'lake', path, ...more }); // prettier-ignore
const write = (kind: 'parquet' | 'arrow', from: string, path: string): WriteStep => ({ step: `to-${path.replace('/', '-')}`, verb: `write.${kind}`, from, directory: 'lake', path }); // prettier-ignore
const orders = query('orders', 'select orderkey, custkey, totalprice, orderdate, comment from tpch.tiny.orders');

const job = (name: string, steps: PipelineSpec['steps']): PipelineSpec => ({ name, steps });

async function run(name: string, ...steps: PipelineSpec['steps']): Promise<{ sinks: SinkResult[]; report: RunReport }> {
  const workflowId = await stack.startJob(job(name, steps));
  const sinks = (await stack.result(workflowId)) as SinkResult[];
  return { sinks, report: await stack.client.workflow.getHandle(workflowId).query<RunReport>(RUN_REPORT_QUERY) };
}
const content = async (table: string): Promise<unknown> =>
  stack.sql(`select count(*)::int as rows, sum(orderkey)::bigint as keys, sum(totalprice)::text as prices, min(orderdate)::text as first, md5(string_agg(comment, '' order by orderkey)) as comments from ${stack.schema}.${table}`); // prettier-ignore

test('rows written as Parquet, read again, written as Arrow, and read again are the same rows', async () => {
  expect(wrote).toMatchObject({ rows: ORDERS, mode: 'parquet', path: join(home, 'lake', 'daily', 'orders'), because: expect.stringContaining('copied as they were') }); // prettier-ignore
  const parquet = files('there', 'daily/orders/*.parquet');
  await run('reads', parquet, load(stack, 'there', 'parquet'));
  const anew = await run('anew', parquet, write('arrow', 'there', 'arrow'));
  expect(anew.sinks[0]).toMatchObject({ rows: ORDERS, mode: 'arrow', because: 'written anew as arrow' });
  await run('arrow', files('there', 'arrow/*.arrow'), load(stack, 'there', 'arrow'));
  const direct = await content('direct');
  expect(direct).toMatchObject([{ rows: ORDERS }]);
  expect(await content('parquet')).toEqual(direct);
  expect(await content('arrow')).toEqual(direct);
}, 300_000);

test('engines and transforms read files where they lie, and nothing of them is copied to scratch', async () => {
  const { report } = await run(
    'reads',
    files('there', 'daily/**/*.parquet'),
    datafusion('counted', 'there', 'select custkey, count(*) as orders from there group by custkey'),
    { step: 'told', verb: 'transform', from: 'counted', run: 'hold', args: { bytes: 0 } },
    load(stack, 'told', 'counted'),
    write('parquet', 'told', 'counted'),
    files('arrows', 'arrow/*.arrow'),
    write('parquet', 'arrows', 'anew'),
  );
  const told = (step: string): unknown => report.steps.find((found) => found.step === step);
  expect(told('there')).toMatchObject({ rung: 'allowance', mode: 'parquet', rows: ORDERS, because: '1 file of lake, read where they lie' }); // prettier-ignore
  expect(told('to-counted')).toMatchObject({ rung: 'allowance', because: expect.stringContaining('of parquet copied as they were') }); // prettier-ignore
  expect(told('to-anew')).toMatchObject({ rung: 'encode', because: 'written anew as parquet', rows: ORDERS });
  const [{ orders: counted }] = (await stack.sql<{ orders: number }>(`select sum(orders)::int as orders from ${stack.schema}.counted`)) as [{ orders: number }]; // prettier-ignore
  expect(counted).toBe(ORDERS);
}, 300_000);

test('CSV is read by a statement: with types of its own, or as texts that the statement casts', async () => {
  writeFileSync(join(home, 'landing', 'a.csv'), 'id,price,note\n1,1.50,first\n2,2.25,"with, comma"\n');
  writeFileSync(join(home, 'landing', 'b.csv'), 'id,price,note\n3,,third\n');
  writeFileSync(join(home, 'landing', 'plain.txt'), '0007;4\n0008;5\n');
  await run(
    'csv',
    files('typed', '*.csv', { directory: 'landing' }),
    datafusion('both', 'typed', 'select id, price, note from typed'),
    load(stack, 'both', 'typed'),
  );
  expect(await stack.sql(`select * from ${stack.schema}.typed order by id`)).toEqual([
    { id: '1', price: 1.5, note: 'first' },
    { id: '2', price: 2.25, note: 'with, comma' },
    { id: '3', price: null, note: 'third' },
  ]);
  await run(
    'texts',
    files('plain', 'plain.txt', { directory: 'landing', format: 'csv', csv: { header: false, delimiter: ';', types: 'text' } }), // prettier-ignore
    datafusion('cast', 'plain', 'select column_1 as code, cast(column_2 as int) as number from plain'),
    load(stack, 'cast', 'texts'),
  );
  expect(await stack.sql(`select * from ${stack.schema}.texts order by code`)).toEqual([
    { code: '0007', number: 4 },
    { code: '0008', number: 5 },
  ]);
}, 300_000);

test('a value that is not of the type of the first lines is named, with what to do', async () => {
  const lines = Array.from({ length: 12_000 }, (_, at) => (at === 11_000 ? 'n/a' : String(at)));
  writeFileSync(join(home, 'landing', 'late.csv'), ['id', ...lines, ''].join('\n'));
  const late = (csv?: { types: 'text' }) => files('late', 'late.csv', { directory: 'landing', ...(csv && { csv }) });
  const sum = datafusion('sum', 'late', "select sum(cast(nullif(id, 'n/a') as bigint)) as n from late");
  await expect(run('late', late(), datafusion('sum', 'late', 'select sum(id) as n from late'), load(stack, 'sum', 'late'))).rejects.toMatchObject({
    cause: { type: 'SqlError', message: expect.stringMatching(/value 'n\/a' as type 'Int64' for column 0 at line 11001.*csv: \{ types: 'text' \}/) },
  }); // prettier-ignore
  await run('late-text', late({ types: 'text' }), sum, load(stack, 'sum', 'late'));
  expect(await stack.sql(`select n::int from ${stack.schema}.late`)).toEqual([{ n: 71_983_000 }]);
}, 300_000);

test('a query without rows leaves a file with its columns, which is read as none', async () => {
  const none = query('none', 'select orderkey, comment from tpch.tiny.orders where orderkey < 0');
  await run('none', none, write('parquet', 'none', 'none'));
  await run('reads-none', files('there', 'none/*.parquet'), load(stack, 'there', 'none'));
  expect(await stack.sql(`select count(*)::int as rows from ${stack.schema}.none`)).toEqual([{ rows: 0 }]);
  expect(await stack.sql(`select column_name::text as name from information_schema.columns where table_schema = $1 and table_name = 'none' order by ordinal_position`, [stack.schema])).toEqual([{ name: 'orderkey' }, { name: 'comment' }]); // prettier-ignore
}, 300_000);

test('kill -9 of the worker while a folder is written: it is whole in the end, and nothing lies beside it', async () => {
  const lines = query('lines', 'select orderkey, linenumber, comment from tpch.sf1.lineitem where orderkey <= 3000000');
  mkdirSync(join(home, 'lake', 'big'));
  const watcher = watch(join(home, 'lake', 'big'), () => stack.workers.forEach((worker) => void worker.kill()));
  const workflowId = await stack.startJob(job('big', [lines, write('parquet', 'lines', 'big/lines')]));
  await new Promise((resolve) => watcher.once('change', resolve));
  watcher.close();
  const [written] = [existsSync(join(home, 'lake', 'big', 'lines'))];
  await stack.worker();
  const [sink] = (await stack.result(workflowId)) as SinkResult[];
  expect([written, readdirSync(join(home, 'lake', 'big'))]).toEqual([false, ['lines']]);
  expect(sink!.rows).toBeGreaterThan(2_900_000);
  const { report } = await run('count', files('there', 'big/lines/*.parquet'), datafusion('counted', 'there', 'select count(*) as n from there'), load(stack, 'counted', 'big')); // prettier-ignore
  expect(report.steps[0]!.rows).toBe(sink!.rows);
  expect(await stack.sql(`select n::int from ${stack.schema}.big`)).toEqual([{ n: sink!.rows }]);
}, 300_000);

test('a statement runs once, after the sinks that it names', async () => {
  const { sinks, report } = await run(
    'statement',
    orders,
    load(stack, 'orders', 'summed'),
    {
      ...{ step: 'sums', verb: 'postgres.sql', after: ['publish'], params: [100_000] },
      sql: `insert into ${stack.schema}.summed (orderkey, custkey) select -count(*), 0 from ${stack.schema}.summed where totalprice < $1`,
    },
  ); // prettier-ignore
  expect(sinks.map(({ step, rows, mode }) => [step, rows, mode])).toEqual([['publish', ORDERS, 'freeze'], ['sums', 1, 'sql']]); // prettier-ignore
  expect(report.steps.at(-1)).toMatchObject({ step: 'sums', rung: 'allowance' });
  const [{ keys }] = (await stack.sql<{ keys: number }>(`select orderkey::int as keys from ${stack.schema}.summed where custkey = 0`)) as [{ keys: number }]; // prettier-ignore
  expect(keys).toBeLessThan(-1000);
}, 300_000);

describe('is refused before anything runs:', () => {
  test.each<[string, () => PipelineSpec['steps'], string]>([
    ['a directory that nobody configured', () => [files('there', 'x.parquet', { directory: 'lakes' }), load(stack, 'there', 't')], "Did you mean 'lake'?"], // prettier-ignore
    ['one that may only be read', () => [orders, { ...write('parquet', 'orders', 'x'), directory: 'landing' }], "directory 'landing' may only be read"], // prettier-ignore
    [
      'a path that leaves it',
      () => [orders, { ...write('parquet', 'orders', '../x'), step: 'out' }],
      'must be a path below its directory',
    ],
    ['CSV for a load', () => [files('there', 'x.csv'), load(stack, 'there', 't')], 'only datafusion.sql reads those'],
  ])('%s', async (_title, steps, says) => {
    await expect(run('refused', ...steps())).rejects.toMatchObject({ cause: { type: 'InvalidInput', message: expect.stringContaining(says) } }); // prettier-ignore
  });
});

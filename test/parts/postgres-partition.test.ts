import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { listLeftovers } from '../../src/engines/postgres/janitor.ts';
import { loadTable } from '../../src/engines/postgres/load.ts';
import type { LoadRequest } from '../../src/engines/postgres/load-request.ts';
import { gate, idBatch, StagedSource } from './postgres-arrow.ts';
import { copying, filePostgres } from './postgres-fixture.ts';

// Real servers on machines that do other things as well.
jest.setTimeout(60_000);

const postgres = filePostgres();

let runs = 0;
let run: string;
/** Ten thousand ids each; a view, a grant, a key and an index hang on the whole. */
const RANGES = `create table mart.t (id bigint not null, name text default 'none', twice bigint generated always as (id * 2) stored, primary key (id)) partition by range (id);
  create index on mart.t (name desc) where id > 5; alter table mart.t add constraint both_once unique (id, name);
  create table mart.t_low partition of mart.t for values from (0) to (10000); create table mart.t_high partition of mart.t for values from (10000) to (20000);
  insert into mart.t (id, name) values (1, 'old'), (10001, 'stays');
  create view mart.v as select * from mart.t; grant select on mart.t to pg_monitor; grant select on mart.t_low to public`;
beforeEach(async () => {
  run = `0199dd-run-${(runs += 1)}`;
  await postgres.client.query('drop schema if exists mart cascade; create schema mart');
});
afterEach(async () => {
  expect(await listLeftovers({ connect: postgres.server.connect })).toEqual({ loads: [], strayTables: [] });
  expect(await rows(`select relname from pg_class where relname like 'stg\\_%' or relname like 'spillway_bound%'`)).toEqual([]); // prettier-ignore
  expect(await rows(`select conname from pg_constraint where conname like 'stg\\_%'`)).toEqual([]);
});

const rows = async (sql: string) => (await postgres.client.query<Record<string, unknown>>(sql)).rows;
const load = (source: StagedSource, more: Partial<LoadRequest> = {}) =>
  loadTable(
    { connect: postgres.server.connect },
    {
      ...{ run, step: 'publish', token: 1, into: 'mart.t', source: source.open, signal: new AbortController().signal },
      ...more,
    },
  );
const partitions = (): Promise<unknown> =>
  rows(
    `select c.relname as name, pg_get_expr(c.relpartbound, c.oid) as bound from pg_inherits join pg_class c on c.oid = inhrelid where inhparent = 'mart.t'::regclass order by 1`,
  );
const LOW = { from: 0, to: 10_000 };

describe.each(['freeze', 'parallel', 'unlogged'] as const)('strategy %s', (strategy) => {
  test('replaces one partition; others, views, grants, keys and indexes of the table stay', async () => {
    await postgres.client.query(RANGES);
    const outcome = await load(new StagedSource(idBatch(0, 5000)), { strategy, partition: LOW, expectedRows: 5000 });
    expect(outcome).toMatchObject({ rows: 5000, strategy, table: 'mart.t', warnings: [] });
    expect(outcome.because).toContain("it is the partition FOR VALUES FROM ('0') TO ('10000') of the table");
    expect(await partitions()).toEqual([
      { name: 't_high', bound: "FOR VALUES FROM ('10000') TO ('20000')" },
      { name: 't_low', bound: "FOR VALUES FROM ('0') TO ('10000')" },
    ]);
    expect(await rows('select count(*)::int as n, max(twice)::int as twice from mart.v')).toEqual([{ n: 5001, twice: 20_002 }]); // prettier-ignore
    expect(await rows(`select has_table_privilege('pg_monitor', 'mart.t', 'select') as whole, has_table_privilege('public', 'mart.t_low', 'select') as part`)).toEqual([{ whole: true, part: true }]); // prettier-ignore
    // Each index of the partition belongs to one of the table: none was built a second time when it was attached.
    expect(await rows(`select count(*)::int as all, count(i.inhparent)::int as attached from pg_index x left join pg_inherits i on i.inhrelid = x.indexrelid where indrelid = 'mart.t_low'::regclass`)).toEqual([{ all: 3, attached: 3 }]); // prettier-ignore
    await expect(postgres.client.query(`insert into mart.t values (1, 'twice')`)).rejects.toThrow(/duplicate key/);
  });
});

test('a partition that is not there yet is made, beside readers of the others', async () => {
  await postgres.client.query(RANGES);
  const reader = await postgres.server.connect();
  await reader.query('begin; select count(*) from mart.t');
  await load(new StagedSource(idBatch(20_000, 10)), { partition: { from: 20_000, to: 30_000 } });
  await reader.end();
  expect(await partitions()).toContainEqual({ name: 't_20000', bound: "FOR VALUES FROM ('20000') TO ('30000')" });
  expect(await rows('select count(*)::int as n from mart.v')).toEqual([{ n: 12 }]);
});

test('lists, dates and several columns bound partitions as well', async () => {
  await postgres.client.query('create table mart.t (id bigint, name text) partition by list (name)');
  await load(new StagedSource(idBatch(7, 1)), { partition: { in: ['row 7', null, "o'clock"] } });
  await load(new StagedSource(idBatch(7, 1)), { partition: { in: ["o'clock", 'row 7', null] }, step: 'again' });
  expect(await partitions()).toEqual([{ name: 't_row_7_null_o_clock', bound: "FOR VALUES IN ('o''clock', 'row 7', NULL)" }]); // prettier-ignore
  expect(await rows('select count(*)::int as n from mart.t')).toEqual([{ n: 1 }]);
  await postgres.client.query(
    'drop table mart.t; create table mart.t (id bigint, name text) partition by range (name, id)',
  );
  await load(new StagedSource(idBatch(1, 3)), { partition: { from: ['row', 0], to: ['rox', 0] }, step: 'both' });
  expect(await rows('select count(*)::int as n from mart.t')).toEqual([{ n: 3 }]);
});

test('a reader of a partition that is replaced is waited for, and then the attempt given up', async () => {
  await postgres.client.query(RANGES);
  const reader = await postgres.server.connect();
  await reader.query('begin; select count(*) from mart.t_low');
  await expect(load(new StagedSource(idBatch(0, 10)), { partition: LOW, limits: { swapWaitMs: 600 } })).rejects.toMatchObject({ code: 'LoadInterrupted', message: expect.stringMatching(/other sessions kept it locked/) }); // prettier-ignore
  const loading = load(new StagedSource(idBatch(0, 10)), { partition: LOW, token: 2 });
  await new Promise((resolve) => setTimeout(resolve, 800));
  expect((await reader.query<{ n: number }>('select count(*)::int as n from mart.t_low')).rows).toEqual([{ n: 1 }]);
  await reader.end();
  expect(await loading).toMatchObject({ rows: 10 });
});

test('rows outside of the bound are refused while they are copied, and change nothing', async () => {
  await postgres.client.query(RANGES);
  await expect(load(new StagedSource(idBatch(9_990, 20)), { partition: LOW })).rejects.toMatchObject({
    code: 'LoadRefused',
    message: expect.stringMatching(/violates check constraint .*_bound/),
  });
  expect(await rows('select id::int, name from mart.t order by id')).toEqual([{ id: 1, name: 'old' }, { id: 10_001, name: 'stays' }]); // prettier-ignore
});

test('happens once, over an attempt whose backend was ended', async () => {
  await postgres.client.query(RANGES);
  const held = gate();
  const failing = load(new StagedSource(idBatch(0, 5000), held.promise), { partition: LOW });
  const failed = expect(failing).rejects.toMatchObject({ code: 'LoadInterrupted' });
  await postgres.client.query('select pg_terminate_backend($1)', [await copying(postgres)]);
  await failed;
  held.open();
  await load(new StagedSource(idBatch(0, 3)), { partition: LOW, token: 2 });
  expect(await load(new StagedSource(idBatch(0, 9)), { partition: LOW, token: 3 })).toMatchObject({ rows: 3, alreadyPublished: true }); // prettier-ignore
  expect(await rows('select count(*)::int as n from mart.t')).toEqual([{ n: 4 }]);
});

test.each<[string, string, Partial<LoadRequest>, RegExp]>([
  ['a table that is not partitioned', 'create table mart.t (id bigint, name text)', { partition: LOW }, /mart\.t is no partitioned table/],
  ['a table that is not there', 'select 1', { partition: LOW }, /mart\.t is no partitioned table/],
  ['a table partitioned by hash', 'create table mart.t (id bigint, name text) partition by hash (id)', { partition: { in: [1] } }, /partitioned by hash/],
  ['a table partitioned by an expression', 'create table mart.t (id bigint, name text) partition by list ((id % 7))', { partition: { in: [1] } }, /partitioned by an expression/],
  ['a list for a range', RANGES, { partition: { in: [1] } }, /it is partitioned by range: say partition: \{ from, to \}/],
  ['a range for a list', 'create table mart.t (id bigint, name text) partition by list (name)', { partition: LOW }, /it is partitioned by list: say partition: \{ in: \[values\] \}/],
  ['too few values', RANGES, { partition: { from: [0, 1], to: [1, 1] } }, /must have a value for each of its columns \(id\)/],
  ['a value that is none of its type', RANGES, { partition: { from: 'x', to: 'y' } }, /invalid input syntax for type bigint: "x"/],
  ['a range that ends before it begins', RANGES, { partition: { from: 10, to: 0 } }, /empty range bound/],
  ['a key of its own', RANGES, { partition: LOW, key: ['id'] }, /has the keys and indexes of the table/],
  ['a column that the table lacks', 'create table mart.t (id bigint) partition by range (id)', { partition: LOW }, /column "name" is not in the table/],
])('%s is refused before a row is sent', async (_title, setUp, more, message) => {
  await postgres.client.query(setUp);
  const before = await rows(`select relname from pg_class where relnamespace = 'mart'::regnamespace order by 1`);
  await expect(load(new StagedSource(idBatch(0, 1)), more)).rejects.toMatchObject({ code: 'LoadRefused', message: expect.stringMatching(message) }); // prettier-ignore
  expect(await rows(`select relname from pg_class where relnamespace = 'mart'::regnamespace order by 1`)).toEqual(before);
}); // prettier-ignore

test('what overlaps another partition is refused, with its name', async () => {
  await postgres.client.query(RANGES);
  await expect(load(new StagedSource(idBatch(5_000, 1)), { partition: { from: 5_000, to: 6_000 } })).rejects.toMatchObject({ code: 'LoadRefused', message: expect.stringMatching(/would overlap partition "t_low"/) }); // prettier-ignore
});

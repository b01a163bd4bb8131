import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { Client } from 'pg';
import { listLeftovers } from '../../src/engines/postgres/janitor.ts';
import { loadTable } from '../../src/engines/postgres/load.ts';
import type { LoadRequest } from '../../src/engines/postgres/load-request.ts';
import { gate, idBatch, StagedSource, textBatch } from './postgres-arrow.ts';
import { copying, filePostgres } from './postgres-fixture.ts';

jest.setTimeout(60_000);

const postgres = filePostgres();

let runs = 0;
let run: string;
beforeEach(async () => {
  run = `0199bb-run-${(runs += 1)}`;
  await postgres.client.query('drop schema if exists mart cascade; create schema mart');
});
afterEach(async () => {
  expect((await listLeftovers({ connect: postgres.server.connect })).loads).toEqual([]);
  const sessions = `select application_name from pg_stat_activity where application_name like 'spillway/%'`;
  expect((await postgres.client.query(sessions)).rows).toEqual([]);
  const staging = `select relname from pg_class where relname like 'stg%'`;
  expect((await postgres.client.query(staging)).rows).toEqual([]);
});

const load = (source: StagedSource, more: Partial<LoadRequest> = {}) =>
  loadTable(
    { connect: postgres.server.connect },
    {
      ...{ run, step: 'publish', token: 1, into: 'mart.t', source: source.open, signal: new AbortController().signal },
      ...more,
    },
  );
const rows = async (sql = 'select id::int, name from mart.t order by id, name') =>
  (await postgres.client.query<Record<string, unknown>>(sql)).rows;
const KEYED = 'create table mart.t (id bigint primary key, name text)';

describe('append', () => {
  test('adds rows to a table that views, triggers and other columns hang on', async () => {
    await postgres.client
      .query(`create table mart.t (nr int generated always as identity, id bigint, name text, at date default '2026-01-01', twice bigint generated always as (id * 2) stored);
      insert into mart.t (id, name) values (0, 'old'); create view mart.v as select * from mart.t; create table mart.log (id bigint);
      create function mart.note() returns trigger language plpgsql as $$ begin insert into mart.log values (new.id); return new; end $$;
      create trigger note after insert on mart.t for each row execute function mart.note()`);
    const outcome = await load(new StagedSource(idBatch(1, 2)), { write: 'append', expectedRows: 2 });
    expect(outcome).toMatchObject({ rows: 2, strategy: 'append', because: expect.stringContaining('in the transaction that publishes them') }); // prettier-ignore
    expect(await rows('select nr, id::int, name, at::text, twice::int from mart.v order by id')).toEqual([
      { nr: 1, id: 0, name: 'old', at: '2026-01-01', twice: 0 },
      { nr: 2, id: 1, name: 'row 1', at: '2026-01-01', twice: 2 },
      { nr: 3, id: 2, name: 'row 2', at: '2026-01-01', twice: 4 },
    ]);
    expect(await rows('select count(*)::int as n from mart.log')).toEqual([{ n: 2 }]);
  });

  test('happens once: a later attempt of the same step is answered from the ledger', async () => {
    await postgres.client.query(KEYED);
    const first = await load(new StagedSource(idBatch(0, 3)), { write: 'append' });
    const again = new StagedSource(idBatch(10, 3));
    expect(await load(again, { write: 'append', token: 2 })).toEqual({ ...first, alreadyPublished: true });
    expect(again.opened).toBe(0);
    expect(await rows()).toHaveLength(3);
    await load(new StagedSource(idBatch(10, 3)), { write: 'append', step: 'another' });
    expect(await rows()).toHaveLength(6);
  });

  test('makes a table that is not there, with its key and indexes', async () => {
    const asked: Partial<LoadRequest> = { write: 'append', key: ['id'], indexes: [{ columns: ['name'] }] };
    expect(await load(new StagedSource(idBatch(0, 3)), asked)).toMatchObject({ rows: 3, strategy: 'freeze' });
    const names = await rows(`select indexrelid::regclass::text as name from pg_index where indrelid = 'mart.t'::regclass order by 1`); // prettier-ignore
    expect(names).toEqual([{ name: 'mart.t_name_idx' }, { name: 'mart.t_pkey' }]);
    await load(new StagedSource(idBatch(3, 3)), { write: 'append', key: ['id'], step: 'next' });
    expect(await rows()).toHaveLength(6);
  });

  test('shows no row before all are there, and does not wait for readers', async () => {
    await postgres.client.query(KEYED);
    const reader = await postgres.server.connect();
    await reader.query('begin; select count(*) from mart.t');
    const held = gate();
    const loading = load(new StagedSource(idBatch(0, 50_000), held.promise, idBatch(50_000, 10)), { write: 'append' });
    await copying(postgres);
    expect(await rows('select count(*)::int as n from mart.t')).toEqual([{ n: 0 }]);
    held.open();
    expect(await loading).toMatchObject({ rows: 50_010 });
    expect(await rows('select count(*)::int as n from mart.t')).toEqual([{ n: 50_010 }]);
    await reader.end();
  });

  test('reaches the partitions of a partitioned table', async () => {
    await postgres.client.query(`create table mart.t (id bigint, name text) partition by range (id);
      create table mart.t_low partition of mart.t for values from (0) to (5); create table mart.t_high partition of mart.t for values from (5) to (100)`);
    await load(new StagedSource(idBatch(0, 8)), { write: 'append' });
    expect(await rows('select count(*)::int as n from mart.t_high')).toEqual([{ n: 3 }]);
  });
});

describe('merge', () => {
  test('updates rows whose key is there, adds the others, and leaves other columns alone', async () => {
    await postgres.client.query(`create table mart.t (id bigint primary key, name text, note text default 'new');
      insert into mart.t values (1, 'one', 'kept'), (2, 'two', 'kept'), (9, 'nine', 'kept')`);
    const outcome = await load(new StagedSource(idBatch(1, 3)), { write: 'merge', key: ['id'], expectedRows: 3 });
    expect(outcome).toMatchObject({ rows: 3, strategy: 'merge' });
    expect(await rows('select id::int, name, note from mart.t order by id')).toEqual([
      { id: 1, name: 'row 1', note: 'kept' },
      { id: 2, name: 'row 2', note: 'kept' },
      { id: 3, name: 'row 3', note: 'new' },
      { id: 9, name: 'nine', note: 'kept' },
    ]);
  });

  test('takes a unique index for the key, in whatever order of its columns, and rows that are all key', async () => {
    await postgres.client
      .query(`create table mart.t (name text not null, id bigint not null); create unique index on mart.t (name, id);
      insert into mart.t values ('row 1', 1)`);
    expect(await load(new StagedSource(idBatch(1, 2)), { write: 'merge', key: ['id', 'name'] })).toMatchObject({ rows: 2 }); // prettier-ignore
    expect(await rows()).toHaveLength(2);
  });

  test('of rows that have one key twice is refused, and changes nothing', async () => {
    await postgres.client.query(`${KEYED}; insert into mart.t values (1, 'one')`);
    const twice = new StagedSource(textBatch(1, 'a'), textBatch(1, 'b'));
    await expect(load(twice, { write: 'merge', key: ['id'] })).rejects.toMatchObject({
      code: 'LoadRefused',
      message:
        'The rows cannot be merged into mart.t: two of them have the same key (id). Choose one of them in the query; nothing was published.',
    });
    expect(await rows()).toEqual([{ id: 1, name: 'one' }]);
  });

  test('happens once, over an attempt whose backend was ended', async () => {
    await postgres.client.query(`${KEYED}; insert into mart.t values (1, 'one')`);
    const held = gate();
    const failing = load(new StagedSource(idBatch(0, 20_000), held.promise), { write: 'merge', key: ['id'] });
    const failed = expect(failing).rejects.toMatchObject({ code: 'LoadInterrupted' });
    const pid = await copying(postgres);
    await postgres.client.query('select pg_terminate_backend($1)', [pid]);
    held.open();
    await failed;
    expect(await rows()).toEqual([{ id: 1, name: 'one' }]);
    await load(new StagedSource(idBatch(0, 3)), { write: 'merge', key: ['id'], token: 2 });
    expect(await rows()).toHaveLength(3);
  });
});

describe.each(['append', 'merge'] as const)('%s that fails adds nothing', (write) => {
  const key = write === 'merge' ? { key: ['id'] } : {};
  beforeEach(() => postgres.client.query(`create table mart.t (id bigint primary key, name varchar(10) unique); insert into mart.t values (7, 'row 99')`)); // prettier-ignore

  test('at the last row, by another constraint of the table', async () => {
    const source = new StagedSource(idBatch(100, 99), textBatch(300, 'row 99'));
    await expect(load(write === 'merge' ? new StagedSource(textBatch(98, 'row 99')) : source, { write, ...key })).rejects.toMatchObject({ code: 'LoadRefused', message: expect.stringMatching(/nothing was published/) }); // prettier-ignore
    expect(await rows()).toEqual([{ id: 7, name: 'row 99' }]);
  });

  test('by a value that does not fit', async () => {
    const source = new StagedSource(idBatch(100, 5), textBatch(8, 'much too long a text'));
    await expect(load(source, { write, ...key })).rejects.toMatchObject({ code: 'LoadRefused' });
    expect(await rows()).toHaveLength(1);
  });

  test('when it is cancelled while copying', async () => {
    const abort = new AbortController();
    const held = gate();
    const loading = load(new StagedSource(idBatch(1_000, 20_000), held.promise), {
      write,
      ...key,
      signal: abort.signal,
    });
    const failed = expect(loading).rejects.toMatchObject({ code: 'LoadInterrupted' });
    await copying(postgres);
    abort.abort();
    held.open();
    await failed;
    expect(await rows()).toHaveLength(1);
  });
});

test.each<[string, string, Partial<LoadRequest>, RegExp]>([
  ['a column that the table lacks', 'create table mart.t (id bigint)', { write: 'append' }, /column "name" is not in the table \(id\)\. Leave it out in the query, let the load add it \(evolve: \['add'\]\), or add it: alter table mart\.t add column "name" text\./],
  ['a column that must have a value', 'create table mart.t (id bigint, name text, day date not null)', { write: 'append' }, /column "day" of the table must have a value, has no default, and is not in the rows/],
  ['a column that is computed', 'create table mart.t (id bigint, name text generated always as (\'x\') stored)', { write: 'append' }, /column "name" is computed by PostgreSQL/],
  ['a key without an index', 'create table mart.t (id bigint, name text)', { write: 'merge', key: ['id'] }, /no unique index on its key: create unique index on mart\.t \("id"\)/],
  ['a key of a column that the rows lack, and of that alone', 'create table mart.t (id bigint, name text)', { write: 'merge', key: ['ids'] }, /into mart\.t: key names "ids", which is no column of the rows \(id, name\)\.$/],
  ['a key that may be NULL', 'create table mart.t (id bigint unique, name text)', { write: 'merge', key: ['id'] }, /key column "id" may be NULL.*alter table mart\.t alter column "id" set not null/],
  ['a view', 'create table mart.x (id bigint, name text); create view mart.t as select * from mart.x', { write: 'append' }, /mart\.t is no table that rows can be added to/],
  ['indexes of a table that is there', KEYED, { write: 'append', indexes: [{ columns: ['name'] }] }, /indexes are built when a table is made, and it is there/],
])('%s is refused before a row is sent', async (_, setUp, more, message) => {
  await postgres.client.query(setUp);
  await expect(load(new StagedSource(idBatch(0, 1)), more)).rejects.toMatchObject({ code: 'LoadRefused', message: expect.stringMatching(message) }); // prettier-ignore
}); // prettier-ignore

test('what a role may not do is named with the grant', async () => {
  await postgres.client
    .query(`${KEYED}; drop role if exists reader; create role reader login; grant usage on schema mart to reader; grant insert on mart.t to reader;
    create schema if not exists spillway; grant usage, create on schema spillway to reader`);
  await load(new StagedSource(idBatch(0, 1)), { write: 'append' });
  await postgres.client.query('grant all on all tables in schema spillway to reader');
  const connect = async () => {
    const session = await postgres.server.connect();
    await session.query('set role reader');
    return session;
  };
  const asReader = (more: Partial<LoadRequest>) =>
    loadTable({ connect }, { run, step: 'r', token: 1, into: 'mart.t', source: new StagedSource(idBatch(5, 1)).open, signal: new AbortController().signal, ...more }); // prettier-ignore
  await expect(asReader({ write: 'merge', key: ['id'] })).rejects.toMatchObject({ message: expect.stringContaining('The role reader may not select and update in mart.t: grant select, update on mart.t to reader.') }); // prettier-ignore
  expect(await asReader({ write: 'append', token: 2 })).toMatchObject({ rows: 1 });
  await postgres.client.query('drop owned by reader; drop role reader');
});

describe('a table that changes with its rows', () => {
  const NARROW = 'create table mart.t (id integer primary key, note text)';

  test.each(['append', 'merge'] as const)(
    '%s adds columns that it lacks and widens those that are too narrow',
    async (write) => {
      await postgres.client.query(`${NARROW}; insert into mart.t values (1, 'kept')`);
      const far = 2 ** 40;
      const outcome = await load(new StagedSource(idBatch(far, 2)), { write, key: ['id'], evolve: ['add', 'widen'] });
      expect(outcome).toMatchObject({ rows: 2, strategy: write });
      expect(outcome.warnings).toEqual(['column "id" was integer and is bigint', 'column "name" text was added']);
      expect(await rows('select id::float8, note, name from mart.t order by id')).toEqual([
        { id: 1, note: 'kept', name: null },
        { id: far, note: null, name: `row ${far}` },
        { id: far + 1, note: null, name: `row ${far + 1}` },
      ]);
      // Nothing to change any more: rows go in as always.
      expect((await load(new StagedSource(idBatch(5, 1)), { write, key: ['id'], evolve: ['add', 'widen'], step: 'next' })).warnings).toEqual([]); // prettier-ignore
    },
  );

  test('without being asked it stays as it is, and the load is refused before the first byte', async () => {
    await postgres.client.query(NARROW);
    await expect(load(new StagedSource(idBatch(0, 1)), { write: 'append', evolve: ['widen'] })).rejects.toMatchObject({
      code: 'LoadRefused',
      message: expect.stringContaining('column "name" is not in the table (id, note). Leave it out in the query, let the load add it (evolve: [\'add\'])'), // prettier-ignore
    });
    await expect(load(new StagedSource(idBatch(2 ** 40, 1)), { write: 'append', evolve: ['add'] })).rejects.toThrow(/1099511627776 is outside/); // prettier-ignore
    expect(await rows(`select attname::text from pg_attribute where attrelid = 'mart.t'::regclass and attnum > 0`)).toHaveLength(2); // prettier-ignore
  });

  test('a replaced table keeps its types, or gets wider ones where that is asked', async () => {
    const types = `select format_type(atttypid, atttypmod) as type from pg_attribute where attrelid = 'mart.t'::regclass and attnum > 0 order by attnum`;
    await postgres.client.query('create table mart.t (id integer, name varchar(5))');
    await load(new StagedSource(idBatch(0, 2)));
    expect(await rows(types)).toEqual([{ type: 'integer' }, { type: 'character varying(5)' }]);
    const { warnings } = await load(new StagedSource(idBatch(2 ** 40, 1)), { evolve: ['widen'], step: 'next' });
    expect(warnings).toEqual(['column "id" was integer and is bigint', 'column "name" was character varying(5) and is text']); // prettier-ignore
    expect(await rows(types)).toEqual([{ type: 'bigint' }, { type: 'text' }]);
  });

  test('a failure after it was altered leaves it as it was', async () => {
    await postgres.client.query(`${NARROW}; insert into mart.t values (3, 'kept')`);
    await expect(load(new StagedSource(idBatch(0, 5)), { write: 'append', evolve: ['add'] })).rejects.toMatchObject({
      code: 'LoadRefused',
      message: expect.stringMatching(/Key \(id\)=\(3\) already exists/),
    });
    expect(await rows('select * from mart.t')).toEqual([{ id: 3, note: 'kept' }]);
  });

  test('readers are waited for, and a view of what is widened refuses it', async () => {
    await postgres.client.query(NARROW);
    const reader = await postgres.server.connect();
    await reader.query('begin; select count(*) from mart.t');
    const asked = { write: 'append', evolve: ['add', 'widen'] } as const;
    await expect(
      load(new StagedSource(idBatch(0, 1)), { ...asked, limits: { swapWaitMs: 600 } }),
    ).rejects.toMatchObject({
      code: 'LoadInterrupted',
      message: expect.stringMatching(/other sessions kept it locked/),
    });
    await reader.end();
    await postgres.client.query('create view mart.v as select id from mart.t');
    await expect(load(new StagedSource(idBatch(0, 1)), { ...asked, token: 2 })).rejects.toMatchObject({
      code: 'LoadRefused',
      message: expect.stringMatching(/cannot alter type of a column used by a view/),
    });
    expect(await load(new StagedSource(idBatch(0, 1)), { ...asked, evolve: ['add'], token: 3 })).toMatchObject({
      rows: 1,
    });
  });

  test('a table of somebody else is not altered', async () => {
    await postgres.client
      .query(`${NARROW}; drop role if exists loader; create role loader login; grant usage on schema mart to loader; grant insert, select on mart.t to loader;
      grant usage on schema spillway to loader; grant all on all tables in schema spillway to loader; grant temporary on database postgres to loader`);
    const as = async (): Promise<Client> => {
      const made = await postgres.server.connect();
      await made.query('set role loader');
      return made;
    };
    await expect(
      loadTable(
        { connect: as },
        {
          ...{ run, step: 'publish', token: 1, into: 'mart.t', source: new StagedSource(idBatch(0, 1)).open },
          ...{ write: 'append', evolve: ['add'], signal: new AbortController().signal },
        },
      ),
    ).rejects.toMatchObject({
      code: 'LoadRefused',
      message: expect.stringMatching(/belongs to spillway: make the role/),
    });
    await postgres.client.query('drop owned by loader; drop role loader');
  });
});

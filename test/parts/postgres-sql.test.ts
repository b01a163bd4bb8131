import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { listLeftovers, removeRun } from '../../src/engines/postgres/janitor.ts';
import {
  runStatement,
  type StatementOutcome,
  type StatementRequest,
} from '../../src/engines/postgres/run-statement.ts';
import { filePostgres } from './postgres-fixture.ts';
import { startProxy } from './postgres-proxy.ts';
import { eventually } from '../integration/stack-waiting.ts';

/** A statement happens once per run and step, whatever dies. */
jest.setTimeout(60_000);

const postgres = filePostgres();

let runs = 0;
let run: string;
beforeEach(async () => {
  run = `0199cc-run-${(runs += 1)}`;
  await postgres.client.query('drop schema if exists mart cascade; create schema mart; create table mart.t (n int)');
});
afterEach(async () => {
  expect((await listLeftovers({ connect: postgres.server.connect })).loads).toEqual([]);
  expect((await postgres.client.query(`select 1 from pg_stat_activity where application_name like 'spillway/%'`)).rows).toEqual([]); // prettier-ignore
});

const sql = (text: string, more: Partial<StatementRequest> = {}): Promise<StatementOutcome> =>
  runStatement({ connect: postgres.server.connect }, { run, step: 'sums', token: 1, sql: text, signal: new AbortController().signal, ...more }); // prettier-ignore
const numbers = async (): Promise<unknown[]> =>
  (await postgres.client.query<{ n: number }>('select n from mart.t order by n')).rows.map(({ n }) => n);
const ONE = 'insert into mart.t values (1)';
/** The backend that runs it, once it does. */
const running = (): Promise<number> =>
  eventually(async () => (await postgres.client.query<{ pid: number }>(`select pid from pg_stat_activity where application_name like 'spillway/%' and query like '%pg_sleep%' and state = 'active'`)).rows[0]?.pid); // prettier-ignore

test('it runs, and a later attempt is told so from the ledger', async () => {
  expect(await sql('insert into mart.t select generate_series($1::int, $2::int)', { params: [1, 3] })).toEqual({ rows: 3, alreadyRun: false }); // prettier-ignore
  expect(await sql(ONE, { token: 2 })).toEqual({ rows: 3, alreadyRun: true });
  expect(await numbers()).toEqual([1, 2, 3]);
  expect(await sql(ONE, { step: 'other' })).toEqual({ rows: 1, alreadyRun: false });
});

test('names without a schema are looked for where the role says', async () => {
  await postgres.client.query('alter role spillway set search_path to mart');
  await sql('create table found as select 7 as n');
  await postgres.client.query('alter role spillway reset search_path');
  expect((await postgres.client.query('select n from mart.found')).rows).toEqual([{ n: 7 }]);
});

describe('nothing of it happens, and the next attempt may, when', () => {
  test.each<[string, string, RegExp]>([
    ['it is wrong', 'insert into mart.t select m from mart.t', /^PostgreSQL refused the statement of sums: column "m"/],
    ['it fails half-way', 'insert into mart.t select 10 / (3 - n) from generate_series(1, 5) n', /division by zero/],
    ['it is two', `${ONE}; ${ONE}`, /multiple commands/],
    ['it ends its transaction', 'commit', /ends its own transaction/],
    ['it cannot run in a transaction', 'vacuum mart.t', /cannot run inside a transaction block/],
  ])('%s', async (_title, text, says) => {
    await expect(sql(text)).rejects.toMatchObject({ code: 'LoadRefused', message: expect.stringMatching(says) });
    expect(await numbers()).toEqual([]);
    expect(await sql(ONE, { token: 2 })).toMatchObject({ rows: 1, alreadyRun: false });
  });

  test('it is cancelled', async () => {
    const stop = new AbortController();
    const cancelled = sql('insert into mart.t select 1 from pg_sleep(60)', { signal: stop.signal });
    const pid = await running();
    stop.abort(new Error('not wanted any more'));
    await expect(cancelled).rejects.toMatchObject({ code: 'LoadInterrupted', message: expect.stringContaining('was cancelled; nothing of it happened') }); // prettier-ignore
    expect((await postgres.client.query('select 1 from pg_stat_activity where pid = $1', [pid])).rows).toEqual([]);
    expect(await numbers()).toEqual([]);
  });

  test('its backend is killed', async () => {
    const killed = sql('insert into mart.t select 1 from pg_sleep(60)');
    killed.catch(() => undefined);
    await postgres.client.query('select pg_terminate_backend($1)', [await running()]);
    await expect(killed).rejects.toMatchObject({ code: 'LoadInterrupted' });
    expect(await sql(ONE, { token: 2 })).toMatchObject({ rows: 1 });
    expect(await numbers()).toEqual([1]);
  });

  test('the server crashes', async () => {
    const crashed = sql('insert into mart.t select 1 from pg_sleep(60)', { cleanUpMs: 500 });
    crashed.catch(() => undefined);
    await running();
    await postgres.client.end().catch(() => undefined);
    await postgres.server.stop('immediate');
    await expect(crashed).rejects.toMatchObject({ code: 'LoadInterrupted' });
    await postgres.server.start();
    postgres.client = await postgres.server.connect();
    expect(await sql(ONE, { token: 2 })).toMatchObject({ rows: 1, alreadyRun: false });
    expect(await numbers()).toEqual([1]);
  });

  test('its connection goes dead while it runs', async () => {
    const proxy = await startProxy(postgres.server);
    let open = 0;
    const connect = () => ((open += 1) === 1 ? proxy.connect() : postgres.server.connect());
    const asked = { run, step: 'sums', token: 1, sql: 'insert into mart.t select 1 from pg_sleep(1)', watchMs: 200 };
    const dead = runStatement({ connect }, { ...asked, signal: new AbortController().signal });
    const failed = expect(dead).rejects.toMatchObject({ code: 'LoadInterrupted', message: expect.stringMatching(/gone dead: its backend \d+ waits for us/) }); // prettier-ignore
    await running();
    proxy.holdAll();
    await failed;
    proxy.close();
    expect(await numbers()).toEqual([]);
    expect(await sql(ONE, { token: 2 })).toMatchObject({ rows: 1, alreadyRun: false });
  });

  test('a later attempt comes while it runs', async () => {
    const first = sql('insert into mart.t select 1 from pg_sleep(60)');
    first.catch(() => undefined);
    await running();
    expect(await sql('insert into mart.t values (2)', { token: 2 })).toEqual({ rows: 1, alreadyRun: false });
    await expect(first).rejects.toMatchObject({ code: expect.stringMatching(/LoadInterrupted|LeaseLost/) });
    await expect(sql(ONE, { token: 1 })).resolves.toEqual({ rows: 1, alreadyRun: true });
    expect(await numbers()).toEqual([2]);
  });

  test('its run is cleaned up after a worker that died', async () => {
    const left = sql('insert into mart.t select 1 from pg_sleep(60)');
    left.catch(() => undefined);
    await running();
    await removeRun({ connect: postgres.server.connect }, { run });
    await expect(left).rejects.toThrow();
    expect(await numbers()).toEqual([]);
  });
});

describe('a statement that makes a table', () => {
  const into = (text: string, more: Partial<StatementRequest> = {}) => sql(text, { into: 'mart.sums', ...more });
  const REVENUE = `select day::date, count(*)::int as orders from generate_series(1, 3) day(n), lateral (select date '2026-11-01' + n) as d(day) group by day`;
  const sums = async (): Promise<unknown[]> => (await postgres.client.query<Record<string, unknown>>('select day::text, orders from mart.sums order by day')).rows; // prettier-ignore
  const THREE = [2, 3, 4].map((day) => ({ day: `2026-11-0${day}`, orders: 1 }));

  test('replaces it as a load does: rights, key and indexes, once', async () => {
    await postgres.client.query(
      `create table mart.sums as select date '2000-01-01' as day, 0 as orders; grant select on mart.sums to public; comment on table mart.sums is 'mine'`,
    );
    const asked = { key: ['day'], indexes: [{ columns: ['orders'] }] };
    expect(await into(`${REVENUE};`, asked)).toEqual({ rows: 3, alreadyRun: false });
    expect(await into(ONE, { ...asked, token: 2 })).toEqual({ rows: 3, alreadyRun: true });
    expect(await sums()).toEqual(THREE);
    const { rows } = await postgres.client.query(
      `select has_table_privilege('public', 'mart.sums', 'select') as seen, obj_description('mart.sums'::regclass) as says,
        array(select indexrelid::regclass::text from pg_index where indrelid = 'mart.sums'::regclass order by 1) as indexes, (select reltuples::int from pg_class where oid = 'mart.sums'::regclass) as known`,
    );
    expect(rows).toEqual([{ seen: true, says: 'mine', indexes: ['mart.sums_orders_idx', 'mart.sums_pkey'], known: 3 }]);
  });

  test('makes it where there is none, from what it may read itself', async () => {
    await into(REVENUE);
    await into('select day, orders + 1 as orders from mart.sums', { step: 'again' });
    expect(await sums()).toEqual(THREE.map(({ day }) => ({ day, orders: 2 })));
  });

  test.each<[string, string, Partial<StatementRequest>, RegExp]>([
    ['it is none that gives rows', ONE, {}, /syntax error/],
    ['it is two', `${REVENUE}; drop table mart.t`, {}, /multiple commands/],
    ['its key names no column', REVENUE, { key: ['date'] }, /key names "date", which is no column of the rows \(day, orders\)/],
    ['two rows have one key', `select 1 as day, n as orders from generate_series(1, 2) n`, { key: ['day'] }, /could not create unique index/],
    ['a key is null', 'select null::int as day', { key: ['day'] }, /contains null values/],
    ['a view hangs on the table', `select 1 as day`, { into: 'mart.t' }, /mart\.v/],
  ])('changes nothing when %s', async (_title, text, more, says) => {
    await postgres.client.query('create view mart.v as select * from mart.t');
    await expect(into(text, more)).rejects.toMatchObject({ code: 'LoadRefused', message: expect.stringMatching(says) });
    const { rows } = await postgres.client.query(`select relname::text as name from pg_class where relnamespace in ('mart'::regnamespace, 'spillway'::regnamespace) and relkind = 'r' order by 1`); // prettier-ignore
    expect(rows).toEqual([{ name: 'chunks' }, { name: 'loads' }, { name: 't' }]);
  }); // prettier-ignore

  test('leaves the table as it was when its backend is killed, and the next attempt makes it', async () => {
    await postgres.client.query(`create table mart.sums as select date '2000-01-01' as day, 0 as orders`);
    const killed = into(`select date '2026-11-02' as day, 1 as orders from pg_sleep(60)`);
    killed.catch(() => undefined);
    await postgres.client.query('select pg_terminate_backend($1)', [await running()]);
    await expect(killed).rejects.toMatchObject({ code: 'LoadInterrupted' });
    expect(await sums()).toEqual([{ day: '2000-01-01', orders: 0 }]);
    expect(await into(REVENUE, { token: 2 })).toMatchObject({ rows: 3, alreadyRun: false });
    expect(await sums()).toEqual(THREE);
  });
});

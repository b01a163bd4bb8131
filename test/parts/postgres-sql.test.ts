import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { Client } from 'pg';
import { listLeftovers, removeRun } from '../../src/engines/postgres/janitor.ts';
import {
  runStatement,
  type StatementOutcome,
  type StatementRequest,
} from '../../src/engines/postgres/run-statement.ts';
import { type PostgresServer, startPostgres } from './postgres-server.ts';
import { eventually } from '../integration/stack-waiting.ts';

/** A statement happens once per run and step, whatever dies. */
jest.setTimeout(60_000);

let server: PostgresServer;
let client: Client;
beforeAll(async () => {
  server = await startPostgres();
  client = await server.connect();
}, 60_000);
afterAll(async () => {
  await client?.end();
  await server?.remove();
});

let runs = 0;
let run: string;
beforeEach(async () => {
  run = `0199cc-run-${(runs += 1)}`;
  await client.query('drop schema if exists mart cascade; create schema mart; create table mart.t (n int)');
});
afterEach(async () => {
  expect((await listLeftovers({ connect: server.connect })).loads).toEqual([]);
  expect((await client.query(`select 1 from pg_stat_activity where application_name like 'spillway/%'`)).rows).toEqual([]); // prettier-ignore
});

const sql = (text: string, more: Partial<StatementRequest> = {}): Promise<StatementOutcome> =>
  runStatement({ connect: server.connect }, { run, step: 'sums', token: 1, sql: text, signal: new AbortController().signal, ...more }); // prettier-ignore
const numbers = async (): Promise<unknown[]> =>
  (await client.query<{ n: number }>('select n from mart.t order by n')).rows.map(({ n }) => n);
const ONE = 'insert into mart.t values (1)';
/** The backend that runs it, once it does. */
const running = (): Promise<number> =>
  eventually(async () => (await client.query<{ pid: number }>(`select pid from pg_stat_activity where application_name like 'spillway/%' and query like '%pg_sleep%' and state = 'active'`)).rows[0]?.pid); // prettier-ignore

test('it runs, and a later attempt is told so from the ledger', async () => {
  expect(await sql('insert into mart.t select generate_series($1::int, $2::int)', { params: [1, 3] })).toEqual({ rows: 3, alreadyRun: false }); // prettier-ignore
  expect(await sql(ONE, { token: 2 })).toEqual({ rows: 3, alreadyRun: true });
  expect(await numbers()).toEqual([1, 2, 3]);
  expect(await sql(ONE, { step: 'other' })).toEqual({ rows: 1, alreadyRun: false });
});

test('names without a schema are looked for where the role says', async () => {
  await client.query('alter role spillway set search_path to mart');
  await sql('create table found as select 7 as n');
  await client.query('alter role spillway reset search_path');
  expect((await client.query('select n from mart.found')).rows).toEqual([{ n: 7 }]);
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
    expect((await client.query('select 1 from pg_stat_activity where pid = $1', [pid])).rows).toEqual([]);
    expect(await numbers()).toEqual([]);
  });

  test('its backend is killed', async () => {
    const killed = sql('insert into mart.t select 1 from pg_sleep(60)');
    killed.catch(() => undefined);
    await client.query('select pg_terminate_backend($1)', [await running()]);
    await expect(killed).rejects.toMatchObject({ code: 'LoadInterrupted' });
    expect(await sql(ONE, { token: 2 })).toMatchObject({ rows: 1 });
    expect(await numbers()).toEqual([1]);
  });

  test('the server crashes', async () => {
    const crashed = sql('insert into mart.t select 1 from pg_sleep(60)', { cleanUpMs: 500 });
    crashed.catch(() => undefined);
    await running();
    await client.end().catch(() => undefined);
    await server.stop('immediate');
    await expect(crashed).rejects.toMatchObject({ code: 'LoadInterrupted' });
    await server.start();
    client = await server.connect();
    expect(await sql(ONE, { token: 2 })).toMatchObject({ rows: 1, alreadyRun: false });
    expect(await numbers()).toEqual([1]);
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
    await removeRun({ connect: server.connect }, { run });
    await expect(left).rejects.toThrow();
    expect(await numbers()).toEqual([]);
  });
});

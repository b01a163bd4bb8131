import { afterAll, afterEach, beforeAll, beforeEach, expect, jest, test } from '@jest/globals';
import * as arrow from 'apache-arrow';
import { mkdtempSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Client } from 'pg';
import { openArrowSource } from '../../src/engines/postgres/arrow-source.ts';
import { CopyIn } from '../../src/engines/postgres/copy-in.ts';
import { listLeftovers, removeAttempts, removeRun } from '../../src/engines/postgres/janitor.ts';
import { loadTable } from '../../src/engines/postgres/load.ts';
import type { LoadRequest } from '../../src/engines/postgres/load-request.ts';
import { batchOf, builtColumn, idBatch, rawColumn } from './postgres-arrow.ts';
import { filePostgres } from './postgres-fixture.ts';

// Real servers on machines that do other things as well.
jest.setTimeout(60_000);

const BATCHES = 24;
const BATCH_ROWS = 1000;
const ROWS = BATCHES * BATCH_ROWS;
/** Two batches. */
const CHUNK_BYTES = 40_000;

const postgres = filePostgres();
let folder: string;
let file: string;
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'spillway-chunks-'))));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let runs = 0;
let run: string;
beforeEach(async () => {
  run = `0199cc-run-${(runs += 1)}`;
  file = join(folder, `${run}.arrow`);
  write(Array.from({ length: BATCHES }, (_, batch) => idBatch(batch * BATCH_ROWS, BATCH_ROWS)));
  await postgres.client.query('drop schema if exists mart cascade; create schema mart');
});
afterEach(async () => {
  expect(await listLeftovers({ connect: postgres.server.connect })).toEqual({ loads: [], strayTables: [] });
  expect(await rowsOf('select * from spillway.chunks')).toEqual([]);
  expect(await rowsOf(`select relname from pg_class where relname like 'stg\\_%'`)).toEqual([]);
  expect(await rowsOf(`select pid from pg_stat_activity where application_name like 'spillway/%'`)).toEqual([]);
});

const write = (batches: arrow.RecordBatch[]): void =>
  writeFileSync(file, arrow.tableToIPC(new arrow.Table(batches), 'file'));
const rowsOf = async (sql: string): Promise<unknown[]> =>
  (await postgres.client.query<Record<string, unknown>>(sql)).rows;
const published = () =>
  rowsOf(`select count(*)::int as n, count(distinct id)::int as ids, min(id)::int as a, max(id)::int as z from mart.t`);
const ALL = [{ n: ROWS, ids: ROWS, a: 0, z: ROWS - 1 }];

/** Connections that count COPYs, and do `before` ahead of each, by its number. */
function counted(before: (copy: number, made: Client) => Promise<unknown> | void = () => undefined) {
  const seen = { copies: 0 };
  const connect = async (): Promise<Client> => {
    const made = await postgres.server.connect();
    const query = made.query.bind(made) as (...given: unknown[]) => unknown;
    made.query = ((...given: unknown[]) => {
      if (given[0] instanceof CopyIn) void before((seen.copies += 1), made);
      return query(...given);
    }) as never;
    return made;
  };
  return { seen, connect };
}
const kill = async (made: Client): Promise<unknown> => {
  const { rows } = await made.query<{ pid: number }>('select pg_backend_pid() as pid');
  return postgres.client.query('select pg_terminate_backend($1)', [rows[0]!.pid]);
};

const load = (more: Partial<LoadRequest> = {}, connect = postgres.server.connect) =>
  loadTable(
    { connect },
    {
      ...{ run, step: 'publish', token: 1, into: 'mart.t', strategy: 'parallel', expectedRows: ROWS },
      source: () =>
        openArrowSource([{ kind: 'arrow', uri: pathToFileURL(file).href, rows: ROWS, bytes: statSync(file).size }]),
      limits: { chunkBytes: CHUNK_BYTES },
      signal: new AbortController().signal,
      ...more,
    },
  );

/** An attempt whose connection is lost at its eighth chunk; answers the chunks that are there then. */
async function interrupted(more: Partial<LoadRequest> = {}): Promise<number> {
  const { connect } = counted((copy, made) => (copy === 8 ? kill(made) : undefined));
  await expect(load({ triedAgain: true, ...more }, connect)).rejects.toMatchObject({ code: 'LoadInterrupted' });
  expect(await rowsOf('select * from mart.t limit 1').catch(() => 'no table')).toBe('no table');
  const [{ n }] = (await rowsOf(`select count(*)::int as n from spillway.chunks where run = '${run}'`)) as [{ n: number }]; // prettier-ignore
  return n;
}

test('rows go chunk by chunk over the connections, each with its row in the ledger', async () => {
  const { seen, connect } = counted();
  const during: number[] = [];
  const outcome = await load({ key: ['id'], onProgress: ({ rows }) => void during.push(rows) }, connect);
  expect(outcome).toMatchObject({ rows: ROWS, strategy: 'parallel' });
  expect(seen.copies).toBe(BATCHES / 2);
  expect(Math.max(...during)).toBe(ROWS);
  expect(await published()).toEqual(ALL);
});

test('a second attempt goes on where the first was interrupted, with its own names', async () => {
  const there = await interrupted({ key: ['id'] });
  expect(there).toBeGreaterThanOrEqual(6);
  expect((await listLeftovers({ connect: postgres.server.connect })).loads).toMatchObject([
    { run, state: 'ended', token: 1 },
  ]);
  const { seen, connect } = counted();
  expect(await load({ token: 2, key: ['id'] }, connect)).toMatchObject({ rows: ROWS, alreadyPublished: false });
  expect(seen.copies).toBe(BATCHES / 2 - there);
  expect(await published()).toEqual(ALL);
});

test.each(['indexing', 'analyzing'])(
  'an attempt that was lost while %s goes on with its rows, and builds its indexes again',
  async (during) => {
    const killed = counted();
    let struck = false;
    const failing = load(
      {
        ...{ triedAgain: true, key: ['id'], indexes: [{ columns: ['name'] }] },
        onProgress: ({ phase }) => {
          if (phase !== during || struck) return;
          struck = true;
          void postgres.client.query(`select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'spillway/${run}/%'`); // prettier-ignore
        },
      },
      killed.connect,
    );
    await expect(failing).rejects.toMatchObject({ code: 'LoadInterrupted' });
    const { seen, connect } = counted();
    await load({ token: 2, key: ['id'], indexes: [{ columns: ['name'] }] }, connect);
    expect(seen.copies).toBe(0);
    expect(await published()).toEqual(ALL);
    expect(await rowsOf(`select indexrelid::regclass::text as name from pg_index where indrelid = 'mart.t'::regclass order by 1`)).toEqual([{ name: 'mart.t_name_idx' }, { name: 'mart.t_pkey' }]); // prettier-ignore
  },
);

test('a partition goes on as well, and is attached', async () => {
  await postgres.client.query('create table mart.t (id bigint primary key, name text) partition by range (id)');
  const partition = { from: 0, to: ROWS };
  const { connect: failing } = counted((copy, made) => (copy === 8 ? kill(made) : undefined));
  await expect(load({ triedAgain: true, partition }, failing)).rejects.toMatchObject({ code: 'LoadInterrupted' });
  const { seen, connect } = counted();
  await load({ token: 2, partition }, connect);
  expect(seen.copies).toBeLessThanOrEqual(6);
  expect(await published()).toEqual(ALL);
});

test.each<[string, () => void, Partial<LoadRequest>]>([
  ['files that have changed', () => utimesSync(file, new Date(), new Date(1)), {}],
  ['another cut of the files', () => undefined, { limits: { chunkBytes: 2 * CHUNK_BYTES } }],
  ['another table', () => undefined, { key: ['id'] }],
])('%s are loaded from the start', async (_title, change, more) => {
  expect(await interrupted()).toBeGreaterThan(0);
  change();
  const { seen, connect } = counted();
  await load({ token: 2, ...more }, connect);
  expect(seen.copies).toBe(more.limits ? BATCHES / 4 : BATCHES / 2);
  expect(await published()).toEqual(ALL);
});

test('another strategy starts over as well', async () => {
  expect(await interrupted()).toBeGreaterThan(0);
  expect(await load({ token: 2, strategy: 'freeze' })).toMatchObject({ rows: ROWS, strategy: 'freeze' });
  expect(await published()).toEqual(ALL);
});

test('the last attempt, a cancel, and rows that are refused keep nothing', async () => {
  expect(await interrupted({ triedAgain: false })).toBe(0);
  const cancel = new AbortController();
  const { connect } = counted((copy) => (copy === 5 ? cancel.abort() : undefined));
  await expect(load({ token: 2, triedAgain: true, signal: cancel.signal }, connect)).rejects.toMatchObject({ code: 'LoadInterrupted' }); // prettier-ignore
  const ids = Array.from({ length: BATCH_ROWS }, (_, row) => BigInt(row === 500 ? 2 ** 40 : row));
  const bad = batchOf({
    id: rawColumn(new arrow.Int64(), ids, (value: bigint) => [value], BigInt64Array, 1),
    name: builtColumn(
      new arrow.Utf8(),
      ids.map((id) => `row ${id}`),
    ),
  });
  write([...Array.from({ length: BATCHES - 1 }, (_, batch) => idBatch(batch * BATCH_ROWS, BATCH_ROWS)), bad]);
  await postgres.client.query('create table mart.t (id integer, name text)');
  await expect(load({ token: 3, triedAgain: true })).rejects.toMatchObject({
    code: 'LoadRefused',
    message: expect.stringMatching(new RegExp(`^Row ${ROWS - BATCH_ROWS + 501}, column "id" does not fit integer`)),
  });
});

test('an attempt that hangs is ended by the next one, which goes on from its chunks', async () => {
  let hang!: () => void;
  const hung = new Promise<void>((resolve) => (hang = resolve));
  const first = counted((copy, made) => {
    if (copy < 6) return;
    const gone = new Promise<never>((_, reject) => made.once('end', () => reject(new Error('the connection is gone'))));
    gone.catch(() => undefined);
    made.query = () => gone;
    hang();
  });
  const stuck = load({ triedAgain: true }, first.connect);
  const failed = expect(stuck).rejects.toMatchObject({ code: 'LoadInterrupted' });
  await hung;
  await new Promise((resolve) => setTimeout(resolve, 300));
  // As the look after a lost lease does: the attempt is ended, its chunks stay.
  await removeAttempts({ connect: postgres.server.connect }, { run, step: 'publish', belowToken: 2 });
  const there = ((await rowsOf(`select count(*)::int as n from spillway.chunks where run = '${run}'`)) as [{ n: number }])[0].n; // prettier-ignore
  expect(there).toBeGreaterThan(0);
  const { seen, connect } = counted();
  await load({ token: 2 }, connect);
  await failed;
  expect(seen.copies).toBe(BATCHES / 2 - there);
  expect(await published()).toEqual(ALL);
});

test('a server that crashes loses no chunk that it said was there', async () => {
  const { connect } = counted((copy) => (copy === 8 ? postgres.server.stop('immediate') : undefined));
  await expect(load({ triedAgain: true, limits: { chunkBytes: CHUNK_BYTES, cleanUpMs: 200 } }, connect)).rejects.toMatchObject({ code: 'LoadInterrupted' }); // prettier-ignore
  await postgres.server.start();
  postgres.client = await postgres.server.connect();
  await load({ token: 2 });
  expect(await published()).toEqual(ALL);
});

test('what is kept for an attempt that never comes goes with the run', async () => {
  expect(await interrupted()).toBeGreaterThan(0);
  expect(await removeAttempts({ connect: postgres.server.connect }, { run, step: 'publish', belowToken: 9 })).toEqual(
    [],
  );
  expect(await removeRun({ connect: postgres.server.connect }, { run })).toMatchObject([
    { run, token: 1, state: 'ended' },
  ]);
});

test('files with other rows than their step said are refused before the first byte', async () => {
  const { seen, connect } = counted();
  await expect(load({ expectedRows: ROWS + 1 }, connect)).rejects.toThrow(/24001 expected, 24000 in the files/);
  expect(seen.copies).toBe(0);
});

// Long, because a server of its own costs seconds: what becomes of rows, by every strategy, is tested on one.
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import * as arrow from 'apache-arrow';
import type { Client } from 'pg';
import type { ArrowInput } from '../../src/engines/postgres/arrow-source.ts';
import { openArrowSource } from '../../src/engines/postgres/arrow-source.ts';
import type { LoadProgress, LoadRequest } from '../../src/engines/postgres/load-request.ts';
import { loadTable } from '../../src/engines/postgres/load.ts';
import { listLeftovers } from '../../src/engines/postgres/janitor.ts';
import { batchOf, builtColumn, gate, idBatch, rawColumn, StagedSource, textBatch, words } from './postgres-arrow.ts';
import { copying, filePostgres } from './postgres-fixture.ts';

// Real servers on machines that do other things as well.
jest.setTimeout(60_000);

const postgres = filePostgres();

let runs = 0;
let run: string;
beforeEach(async () => {
  runs += 1;
  run = `0199aa-run-${runs}`;
  await postgres.client.query('drop schema if exists mart cascade');
});
afterEach(async () => {
  expect((await listLeftovers({ connect: postgres.server.connect })).loads).toEqual([]);
  expect((await tables('spillway')).map(({ name }) => name)).toEqual(['chunks', 'loads']);
  expect((await postgres.client.query('select * from spillway.chunks')).rows).toEqual([]);
  const { rows } = await postgres.client.query(
    `select application_name, state from pg_stat_activity where application_name like 'spillway/%'`,
  );
  expect(rows).toEqual([]);
});

interface TableRow {
  name: string;
  kind: string;
  persistence: string;
  options: string[] | null;
}

/** Tables, or with kind 'i' indexes, of a schema. */
async function tables(schema: string, kind = 'r'): Promise<TableRow[]> {
  const { rows } = await postgres.client.query<TableRow>(
    `select relname as name, relkind as kind, relpersistence as persistence, reloptions as options
     from pg_class where relnamespace = to_regnamespace($1) and relkind = $2 order by 1`,
    [schema, kind],
  );
  return rows;
}

const load = (source: StagedSource, more: Partial<LoadRequest> = {}) =>
  loadTable(
    { connect: postgres.server.connect },
    {
      run,
      step: 'publish',
      token: 1,
      into: 'mart.t',
      source: source.open,
      signal: new AbortController().signal,
      ...more,
    },
  );

describe.each([
  ['freeze', 'after-logged'],
  ['unlogged', 'after-logged'],
  ['unlogged', 'before-logged'],
  ['parallel', 'after-logged'],
] as const)('strategy %s, indexes %s', (strategy, indexOrder) => {
  test('publishes all rows in a logged table with its key and indexes, and leaves no staging', async () => {
    const during: Record<string, string[]> = {};
    const held = gate();
    const source = new StagedSource(idBatch(0, 50_000), held.promise, idBatch(50_000, 50_000));
    const loading = load(source, {
      strategy,
      indexOrder,
      key: ['id'],
      indexes: [{ columns: ['name'] }, { columns: ['name', 'id'], unique: true }],
      expectedRows: 100_000,
      onProgress: ({ phase, rows }: LoadProgress) => ((during[phase] ??= []).push(String(rows)), undefined),
    });
    await copying(postgres);
    const staged = (await tables('spillway')).filter(({ name }) => name.startsWith('stg_'));
    // One transaction shows nothing; other staging is there, and UNLOGGED where that was asked for.
    expect(staged.map(({ persistence }) => persistence)).toEqual(
      { freeze: [], unlogged: ['u'], parallel: ['p'] }[strategy],
    );
    held.open();
    const outcome = await loading;
    expect(outcome).toMatchObject({ table: 'mart.t', rows: 100_000, strategy, alreadyPublished: false, warnings: [] });
    expect(await tables('mart')).toEqual([{ name: 't', kind: 'r', persistence: 'p', options: null }]);
    expect(await tables('mart', 'i')).toEqual(
      ['t_name_id_key', 't_name_idx', 't_pkey'].map((name) => expect.objectContaining({ name, persistence: 'p' })),
    );
    const { rows } = await postgres.client
      .query(`select count(*)::int as n, min(id)::int as a, max(id)::int as z, count(distinct name)::int as names,
      (select count(*)::int from pg_index where indrelid = 'mart.t'::regclass and indisvalid and indisready) as indexes from mart.t`);
    expect(rows[0]).toEqual({ n: 100_000, a: 0, z: 99_999, names: 100_000, indexes: 3 });
    const [pages] = (
      await postgres.client.query<{ n: number; visible: number }>(
        `select reltuples::int as n, relallvisible::float8 / relpages as visible from pg_class where oid = 'mart.t'::regclass`,
      )
    ).rows;
    expect(pages).toMatchObject({ n: 100_000, ...(strategy === 'unlogged' ? { visible: 1 } : {}) });
    expect(source).toMatchObject({ opened: 1, closed: 1 });
    expect(Object.keys(during)).toEqual(expect.arrayContaining(['copying', 'indexing', 'publishing']));
  }, 60_000);

  test('a second load replaces the table, keeps its column types, rights and comments', async () => {
    await postgres.client
      .query(`create schema mart; create table mart.t (id numeric(10,0) not null, name varchar(40) default 'none', gone int);
      comment on table mart.t is 'it''s mine'; comment on column mart.t.name is 'a name'; grant select on mart.t to public; grant update (name) on mart.t to pg_monitor;
      create index old_index on mart.t (gone)`);
    const outcome = await load(new StagedSource(idBatch(0, 10)), { strategy, indexOrder });
    expect(outcome.warnings).toEqual([
      'column "gone" of the replaced table is not in the rows and is gone',
      'index mart.old_index of the replaced table was not asked for and is gone',
    ]);
    const { rows } = await postgres.client
      .query(`select attname as name, format_type(atttypid, atttypmod) as type, attnotnull as nn, attacl::text as acl,
      col_description(attrelid, attnum) as comment from pg_attribute where attrelid = 'mart.t'::regclass and attnum > 0 order by attnum`);
    expect(rows).toEqual([
      { name: 'id', type: 'numeric(10,0)', nn: true, acl: null, comment: null },
      { name: 'name', type: 'character varying(40)', nn: false, acl: '{pg_monitor=w/spillway}', comment: 'a name' },
    ]);
    expect(
      (
        await postgres.client.query(
          `select obj_description('mart.t'::regclass) as comment, has_table_privilege('pg_monitor', 'mart.t', 'SELECT') as granted, count(*)::int as n from mart.t`,
        )
      ).rows[0],
    ).toEqual({ comment: `it's mine`, granted: true, n: 10 });
    expect(
      (
        await postgres.client.query(
          `select pg_get_expr(adbin, adrelid) as d from pg_attrdef where adrelid = 'mart.t'::regclass`,
        )
      ).rows,
    ).toEqual([{ d: `'none'::character varying` }]);
  });

  test('no rows make an empty table', async () => {
    expect(await load(new StagedSource(), { strategy, indexOrder, key: ['id'] })).toMatchObject({ rows: 0 });
    expect(await tables('mart')).toHaveLength(1);
  });

  test('rows wider than a buffer, and many batches of few rows, arrive whole', async () => {
    const wide = Array.from({ length: 20 }, (_, index) =>
      String.fromCharCode(97 + index).repeat(index % 2 === 0 ? 1_000_000 : 10),
    );
    const batches = wide.flatMap((text, index) => [textBatch(index, text), idBatch(1000 + index, 1)]);
    expect(await load(new StagedSource(...batches), { strategy, indexOrder, expectedRows: 40 })).toMatchObject({
      rows: 40,
    });
    const { rows } = await postgres.client.query(
      `select sum(length(name))::int as n, count(distinct left(name, 1))::int as letters from mart.t where id < 1000`,
    );
    expect(rows[0]).toEqual({ n: 10_000_100, letters: 20 });
  });

  test('a load that is published already is answered from the ledger', async () => {
    const first = await load(new StagedSource(idBatch(0, 10)), { strategy, indexOrder });
    const again = new StagedSource(idBatch(0, 99));
    expect(await load(again, { strategy, indexOrder, token: 2 })).toEqual({ ...first, alreadyPublished: true });
    expect(again.opened).toBe(0);
    expect((await postgres.client.query('select count(*)::int as n from mart.t')).rows[0]).toEqual({ n: 10 });
  });
});

describe('several connections', () => {
  /** Backends of ours that copy at this moment. */
  const backends = async (): Promise<number> =>
    (await postgres.client.query(`select 1 from pg_stat_activity where application_name like 'spillway/%' and query like 'copy %' and state = 'active'`)).rows.length; // prettier-ignore

  test.each([
    ['parallel', undefined, 2],
    ['parallel', 4, 4],
    ['unlogged', 3, 3],
    ['auto', 3, 3],
  ] as const)(
    'strategy %s with connections %s copies over %d, each row once',
    async (strategy, connections, expected) => {
      const batches = Array.from({ length: 60 }, (_, index) => idBatch(index * 5000, 5000));
      const held = gate();
      const loading = load(new StagedSource(batches[0]!, held.promise, ...batches.slice(1)), {
        ...{ strategy, key: ['id'], expectedRows: 300_000 },
        ...(connections !== undefined && { connections }),
      });
      await until(async () => (await backends()) === expected);
      held.open();
      expect(await loading).toMatchObject({ rows: 300_000, strategy: strategy === 'auto' ? 'parallel' : strategy });
      const { rows } = await postgres.client.query(
        'select count(*)::int as n, count(distinct id)::int as ids, sum(id)::text as sum from mart.t',
      );
      expect(rows[0]).toEqual({ n: 300_000, ids: 300_000, sum: String((300_000 * 299_999) / 2) });
    },
  );

  test('one that ends fails the attempt: nothing is published, and no other of its sessions stays', async () => {
    const held = gate();
    const failed = expect(
      load(new StagedSource(idBatch(0, 5000), held.promise), { strategy: 'parallel', connections: 3 }),
    ).rejects.toMatchObject({ code: 'LoadInterrupted', message: expect.stringContaining('nothing was published') });
    await until(async () => (await backends()) === 3);
    await postgres.client.query(
      `select pg_terminate_backend((select pid from pg_stat_activity where application_name like 'spillway/%' order by backend_start desc limit 1))`,
    );
    await failed;
    held.open();
    expect(await tables('mart')).toEqual([]);
  });

  test('go on with fewer where the server takes no more', async () => {
    const [{ free }] = (
      await postgres.client.query<{ free: number }>(
        `select (current_setting('max_connections')::int - count(*))::int as free from pg_stat_activity where backend_type = 'client backend'`,
      )
    ).rows as [{ free: number }];
    const others = await Promise.all(Array.from({ length: free - 2 }, () => postgres.server.connect()));
    try {
      expect(await load(new StagedSource(idBatch(0, 1000)), { strategy: 'parallel', connections: 16 })).toMatchObject({ rows: 1000 }); // prettier-ignore
    } finally {
      await Promise.all(others.map((other) => other.end()));
    }
  });
});

describe('rows from outside the process', () => {
  const table = new arrow.Table([idBatch(0, 5000), idBatch(5000, 5000)]);
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'spillway-load-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));
  const open = (input: ArrowInput): Partial<LoadRequest> => ({ source: (signal) => openArrowSource(input, signal) });

  test('are loaded from Arrow files', async () => {
    const parts = ['a', 'b'].map((name) => pathToFileURL(join(folder, name)));
    for (const part of parts) await writeFile(part, arrow.tableToIPC(table, 'file'));
    const input = parts.map(({ href: uri }) => ({ kind: 'arrow' as const, uri, rows: 10_000, bytes: 0 }));
    expect(await load(new StagedSource(), { ...open(input), expectedRows: 20_000 })).toMatchObject({ rows: 20_000 });
  });

  test.each([
    ['are loaded from a FIFO', 0],
    ['are not published when their writer dies before its end mark', 8],
  ])('%s', async (_title, missing) => {
    const fifo = join(folder, 'rows.fifo');
    await promisify(execFile)('mkfifo', [fifo]);
    const bytes = arrow.tableToIPC(table, 'stream');
    const loading = load(new StagedSource(), open({ fifo }));
    await writeFile(fifo, bytes.subarray(0, bytes.length - missing));
    if (missing === 0) {
      expect(await loading).toMatchObject({ rows: 10_000 });
    } else {
      await expect(loading).rejects.toMatchObject({
        code: 'LoadInterrupted',
        message: expect.stringMatching(/ends without its end mark/),
      });
      expect(await tables('mart')).toEqual([]);
    }
  });

  test('are not waited for after a cancel: a FIFO that nobody writes to is let go of', async () => {
    const fifo = join(folder, 'rows.fifo');
    await promisify(execFile)('mkfifo', [fifo]);
    const abort = new AbortController();
    const onProgress = ({ phase }: LoadProgress): unknown =>
      phase === 'opening the rows' && setTimeout(() => abort.abort(), 50);
    await expect(
      load(new StagedSource(), { ...open({ fifo }), signal: abort.signal, onProgress }),
    ).rejects.toMatchObject({
      code: 'LoadInterrupted',
      message: expect.stringMatching(/cancelled while opening the rows; nothing was published/),
    });
  });
});

test('a key column of type null is refused', async () => {
  const column = arrow.makeData({ type: new arrow.Null(), length: 2 });
  await expect(load(new StagedSource(batchOf({ id: column })), { key: ['id'] })).rejects.toMatchObject({
    message: expect.stringMatching(/^Row 1, column "id" is NULL/),
  });
});

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 10_000; !(await holds());) {
    if (Date.now() > deadline) throw new Error('it did not happen within 10 s');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const list = (item: arrow.DataType): arrow.DataType => new arrow.List(new arrow.Field('item', item, true));

test('over two connections two indexes are built at one time, with the maintenance memory of one', async () => {
  const seen = { together: 0 };
  const memory = new Set<string>();
  let building = true;
  const watch = (async () => {
    while (building) {
      const { rows } = await postgres.client.query<{ n: number }>(
        `select count(*)::int as n from pg_stat_activity where query like 'create %index%' and state = 'active' and backend_type = 'client backend' and pid <> pg_backend_pid()`,
      );
      seen.together = Math.max(seen.together, rows[0]!.n);
    }
  })();
  const connect = async (): Promise<Client> => {
    const made = await postgres.server.connect();
    const query = made.query.bind(made) as (...given: unknown[]) => unknown;
    made.query = ((...given: unknown[]) => {
      const answer = query(...given);
      if (String(given[0]).includes('maintenance_work_mem'))
        void (answer as Promise<{ rows: { set_config: string }[] }>).then(({ rows }) =>
          memory.add(rows[0]!.set_config),
        );
      return answer;
    }) as never;
    return made;
  };
  await loadTable(
    { connect },
    {
      ...{ run, step: 'publish', token: 1, into: 'mart.t', strategy: 'parallel', key: ['id'] },
      indexes: [{ columns: ['name'] }, { columns: ['name', 'id'] }],
      source: new StagedSource(...Array.from({ length: 6 }, (_, part) => idBatch(part * 50_000, 50_000))).open,
      signal: new AbortController().signal,
    },
  );
  building = false;
  await watch;
  expect(seen.together).toBe(2);
  expect([...memory]).toEqual(['64MB']);
  const { rows } = await postgres.client.query(
    `select count(*)::int as n from pg_index where indrelid = 'mart.t'::regclass and indisvalid`,
  );
  expect(rows).toEqual([{ n: 3 }]);
});

const decimals = (values: bigint[], scale: number) =>
  rawColumn(new arrow.Decimal(scale, 38, 128), values, (value: bigint) => words(value, 4), Uint32Array, 4);

test.each<[string, string, () => arrow.RecordBatch, Partial<LoadRequest>, RegExp]>([
  [
    'a view reads the old table',
    `create table mart.t (id bigint, name text); create view mart.v as select * from mart.t`,
    () => idBatch(0, 1),
    {},
    /mart\.t cannot be replaced .*view mart\.v/,
  ],
  [
    'a foreign key points at it',
    `create table mart.t (id bigint primary key, name text); create table mart.u (id bigint references mart.t)`,
    () => idBatch(0, 1),
    {},
    /foreign key of mart\.u/,
  ],
  ['it is a view', `create view mart.t as select 1 as id`, () => idBatch(0, 1), {}, /mart\.t is a view/],
  [
    'a type does not fit',
    `create table mart.t (id date, name integer)`,
    () => idBatch(0, 1),
    {},
    /column "id": int64 cannot be loaded into date\. .*column "name": utf8 cannot be loaded into integer/,
  ],
  [
    'decimals would be rounded',
    `create table mart.t (id numeric(10,1))`,
    () => batchOf({ id: decimals([123n], 2) }),
    {},
    /decimal128\(38, 2\) cannot be loaded into numeric\(10,1\): it has 2 decimal places/,
  ],
  [
    'a decimal has too many digits',
    `create table mart.t (id numeric(5,2))`,
    () => batchOf({ id: decimals([1n, 99_999n, 100_000n], 2) }),
    {},
    /^Row 3, column "id" .*1000\.00 has more than the 3 integer digits/,
  ],
  [
    'an integer is out of range',
    `create table mart.t (id smallint, name text)`,
    () => idBatch(32_700, 100),
    {},
    /^Row 69, column "id" does not fit smallint: 32768 is outside/,
  ],
  [
    'a text holds a zero byte',
    `select 1`,
    () => batchOf({ name: builtColumn(new arrow.Utf8(), ['a', null, 'b\0']) }),
    {},
    /^Row 3, column "name" .*zero byte/,
  ],
  [
    'a key column is null',
    `select 1`,
    () => batchOf({ name: builtColumn(new arrow.Utf8(), ['a', null]) }),
    { key: ['name'] },
    /^Row 2, column "name" is NULL/,
  ],
  [
    'a text is too long',
    `create table mart.t (name varchar(3))`,
    () => batchOf({ name: builtColumn(new arrow.Utf8(), ['abc', 'abcd']) }),
    {},
    /row 2, column "name": value too long/,
  ],
  [
    'the key names no column',
    `select 1`,
    () => idBatch(0, 1),
    { key: ['nope'] },
    /key names "nope", which is no column/,
  ],
  [
    'a column has a type that nothing holds',
    `select 1`,
    () => batchOf({ l: rawColumn(new arrow.Decimal(-2, 5), [1n], (value: bigint) => words(value, 4), Uint32Array, 4) }),
    {},
    /column "l": no PostgreSQL type is known for decimal128\(5, -2\)/,
  ],
  [
    'an element of a list is out of range',
    `create table mart.t (l smallint[])`,
    () => batchOf({ l: builtColumn(list(new arrow.Int32()), [[1], null, [], [2, 40_000]]) }),
    {},
    /^Row 4, column "l" does not fit smallint\[\]: element 2: 40000 is outside -32768 to 32767/,
  ],
  [
    'a nested text holds a zero byte',
    `select 1`,
    () => batchOf({ l: builtColumn(list(list(new arrow.Utf8())), [[['\\u0000']], [['a\0']]]) }),
    {},
    /^Row 2, column "l" does not fit jsonb: it holds a zero byte/,
  ],
  [
    'lists go into a column that is none',
    `create table mart.t (l integer)`,
    () => batchOf({ l: builtColumn(list(new arrow.Int32()), [[1]]) }),
    {},
    /column "l": list<int32> cannot be loaded into integer/,
  ],
  [
    'a name is too long',
    `select 1`,
    () => batchOf({ ['x'.repeat(64)]: builtColumn(new arrow.Bool(), [true]) }),
    {},
    /has 64 bytes/,
  ],
])('a load is refused and changes nothing when %s', async (_title, setUp, batch, more, message) => {
  await postgres.client.query(`create schema mart`);
  await postgres.client.query(setUp);
  const before = await tables('mart');
  await expect(load(new StagedSource(batch()), more)).rejects.toMatchObject({
    code: expect.stringMatching(/^(LoadRefused|InvalidInput)$/),
    message: expect.stringMatching(message),
  });
  expect(await tables('mart')).toEqual(before);
});

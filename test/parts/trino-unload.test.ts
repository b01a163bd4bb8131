import { access, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { attemptSource } from '../../src/engines/trino/attempt-names.ts';
import { openTrino } from '../../src/engines/trino/client.ts';
import type { Trino } from '../../src/engines/trino/trino-port.ts';
import { shrinkHeap } from '../../src/engines/trino/heap.ts';
import { askJvm } from '../../src/host/jvm-attach.ts';
import { dropRunTables, lakeTable } from '../../src/engines/trino/lake-tables.ts';
import { collectStatement } from '../../src/engines/trino/statement-reader.ts';
import type { QueryProgress } from '../../src/engines/trino/statement-reader.ts';
import { unloadQuery } from '../../src/engines/trino/unload.ts';
import type { UnloadRequest, Unloaded } from '../../src/engines/trino/unload.ts';
import { openScratch } from '../../src/handoff/scratch-ledger.ts';
import type { ScratchLedger } from '../../src/handoff/scratch-ledger.ts';
import { MiB } from '../../src/policy/sizes.ts';
import { startTrinoServer } from './trino-server.ts';
import type { TrinoServer } from './trino-server.ts';

// A first query compiles for seconds on a busy machine.
jest.setTimeout(60_000);

let server: TrinoServer;
let trino: Trino;
let scratch: ScratchLedger;
beforeAll(async () => {
  server = await startTrinoServer();
  trino = openTrino({ url: server.url, user: 'test' });
  scratch = await openScratch({ root: server.lakeRoot });
  await trino.ready({ starting: true, withinMs: 100_000, scan: 'select count(*) from tpch.tiny.region' });
}, 420_000);
afterAll(() => server?.stop(), 60_000);

/** Nothing of an unload outlives it but its files: no query, no table; no entry without files. */
afterEach(async () => {
  expect(await trino.queriesBySource('spillway/run-1/')).toEqual([]);
  expect(await tables()).toEqual([]);
  await scratch.dropRun('run-1');
  expect(await scratch.listEntries()).toEqual([]);
  expect(await there(join(server.lakeRoot, 'runs/run-1'))).toBe(false);
});

const tables = async (): Promise<unknown[]> =>
  (await trino.short("select table_name from lake.information_schema.tables where table_schema = 'spillway'")).flat();
const there = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );
const attempt = (token = 1) => ({ run: 'run-1', step: 'lines', token });
const unload = (sql: string, options: Partial<UnloadRequest> = {}): Promise<Unloaded> =>
  unloadQuery(trino, { attempt: attempt(), sql, lakeCatalog: 'lake', scratch, ...options });

/** Reads an unload's files through Trino, by column names, as another engine would. */
async function readBack(unloaded: Unloaded, columns: string[], token = 1): Promise<unknown[][]> {
  const table = lakeTable('lake', 'read.back');
  await trino.short(
    `CREATE TABLE ${table} (${columns.join(', ')}) WITH (format = 'PARQUET', external_location = 'local:///runs/run-1/lines-${token}')`,
  );
  try {
    const names = unloaded.schema.map((column) => `"${column.name}"`).join(', ');
    return (await collectStatement(trino.endpoint, `SELECT ${names} FROM ${table}`)).values;
  } finally {
    await trino.short(`DROP TABLE ${table}`);
  }
}

describe('what is written', () => {
  test('every type arrives, cast where the lake cannot carry it', async () => {
    const cases: [string, string, string, unknown, string?][] = [
      ['true', 'boolean', 'Bool', true],
      ["tinyint '-1'", 'tinyint', 'Int8', -1],
      ["smallint '2'", 'smallint', 'Int16', 2],
      ['3', 'integer', 'Int32', 3],
      ['9007199254740993', 'bigint', 'Int64', 9007199254740993n],
      ["real '1.5'", 'real', 'Float32', 1.5],
      ['1e0 / 3', 'double', 'Float64', 1 / 3],
      ["decimal '12.34'", 'decimal(4,2)', 'Decimal[4e+2]', '12.34'],
      [
        "cast('12345678901234567890.123' as decimal(38,3))",
        'decimal(38,3)',
        'Decimal[38e+3]',
        '12345678901234567890.123',
      ],
      ["'ä'", 'varchar', 'Utf8', 'ä'],
      ["cast('ab' as char(5))", 'varchar', 'Utf8', 'ab   ', 'char(5)'],
      ["X'00ff'", 'varbinary', 'Binary', 'AP8='],
      ["date '2024-02-29'", 'date', 'Date32<DAY>', '2024-02-29'],
      ["time '10:00:00.123456'", 'varchar', 'Utf8', '10:00:00.123456', 'time(6)'],
      ["time '10:00+01:00'", 'varchar', 'Utf8', '10:00:00+01:00', 'time(0) with time zone'],
      ["timestamp '1900-01-01 00:00:00'", 'timestamp(6)', 'Timestamp<NANOSECOND>', '1900-01-01 00:00:00.000000'],
      ["timestamp '2020-01-01 00:00:00.123456'", 'timestamp(6)', 'Timestamp<NANOSECOND>', '2020-01-01 00:00:00.123456'],
      [
        "timestamp '2020-01-01 00:00:00.123456789012'",
        'varchar',
        'Utf8',
        '2020-01-01 00:00:00.123456789012',
        'timestamp(12)',
      ],
      [
        "timestamp '2020-07-01 00:00:00.123 Europe/Berlin'",
        'timestamp(6)',
        'Timestamp<NANOSECOND>',
        '2020-06-30 22:00:00.123000',
        'timestamp(3) with time zone',
      ],
      [
        "uuid '12151fd2-7586-11e9-8f9e-2a86e4085a59'",
        'varchar',
        'Utf8',
        '12151fd2-7586-11e9-8f9e-2a86e4085a59',
        'uuid',
      ],
      ['json \'{"a":[1,2]}\'', 'varchar', 'Utf8', '{"a":[1,2]}', 'json'],
      ["ipaddress '10.0.0.1'", 'varchar', 'Utf8', '10.0.0.1', 'ipaddress'],
      ["interval '1' day", 'varchar', 'Utf8', '1 00:00:00.000', 'interval day to second'],
      ["interval '1-2' year to month", 'varchar', 'Utf8', '1-2', 'interval year to month'],
      ['null', 'varchar', 'Utf8', null, 'unknown'],
      ['cast(null as bigint)', 'bigint', 'Int64', null],
      ['array[1, null]', 'array(integer)', 'List<Int32>', [1, null]],
      ['array[json \'{"a":1}\', null]', 'array(varchar)', 'List<Utf8>', ['{"a":1}', null], 'array(json)'],
      [
        "map(array['k'], array[timestamp '2020-01-01 00:00:00.5 UTC'])",
        'map(varchar, timestamp(6))',
        'Map<{key:Utf8, value:Timestamp<NANOSECOND>}>',
        { k: '2020-01-01 00:00:00.500000' },
        'map(varchar(1), timestamp(1) with time zone)',
      ],
      ["row(1, 'x')", 'row(field0 integer, field1 varchar)', 'Struct<{field0:Int32, field1:Utf8}>', [1, 'x']],
      [
        'cast(row(1, json \'2\') as row("B c" bigint, b json))',
        'row(b_c bigint, b varchar)',
        'Struct<{b_c:Int64, b:Utf8}>',
        [1n, '2'],
        'row(B c bigint, b json)',
      ],
      ['cast(null as row(u uuid))', 'row(u varchar)', 'Struct<{u:Utf8}>', null, 'row(u uuid)'],
      [
        "array[row(array[uuid '12151fd2-7586-11e9-8f9e-2a86e4085a59'])]",
        'array(row(field0 array(varchar)))',
        'List<Struct<{field0:List<Utf8>}>>',
        [[['12151fd2-7586-11e9-8f9e-2a86e4085a59']]],
        'array(row(array(uuid)))',
      ],
    ];
    const unloaded = await unload(`select ${cases.map(([sql], index) => `${sql} as c${index}`).join(',\n')}`);
    expect(unloaded.schema).toEqual(
      cases.map(([, , type, , logicalType], index) => ({
        name: `c${index}`,
        type,
        nullable: true,
        ...(logicalType ? { logicalType } : {}),
      })),
    );
    const rows = await readBack(
      unloaded,
      cases.map(([, type], index) => `c${index} ${type}`),
    );
    expect(rows).toEqual([cases.map(([, , , value]) => value)]);
  }, 60_000);

  test('nanoseconds are kept', async () => {
    const unloaded = await unload(
      "select timestamp '2020-01-01 00:00:00.123456789' as t, timestamp '2020-01-01 00:00:00' as u",
    );
    expect(unloaded.schema.map((column) => [column.type, column.logicalType])).toEqual(
      Array(2).fill(['Timestamp<NANOSECOND>', undefined]),
    );
    const table = lakeTable('lake', 'read.back');
    await trino.short(
      `CREATE TABLE ${table} (t timestamp(6), u timestamp(6)) WITH (format = 'PARQUET', external_location = 'local:///runs/run-1/lines-1')`,
    );
    const session = { 'lake.timestamp_precision': 'NANOSECONDS' };
    const { values } = await collectStatement(trino.endpoint, `SELECT t, u FROM ${table}`, { session });
    await trino.short(`DROP TABLE ${table}`);
    expect(values).toEqual([['2020-01-01 00:00:00.123456789', '2020-01-01 00:00:00.000000000']]);
  });

  test('select 1, 1 has two columns of different names', async () => {
    const unloaded = await unload('select 1, 1;');
    expect(unloaded).toMatchObject({ rows: 1, schema: [{ name: 'column_1' }, { name: 'column_2' }] });
    expect(await readBack(unloaded, ['column_1 integer', 'column_2 integer'])).toEqual([[1, 1]]);
  });

  test('awkward and repeated names are mended', async () => {
    const unloaded = await unload('select 1 as "Foo", 2 as foo, 3 as "a,b", 4 as " x ", 5 as "ä b", 6 as "q""q"');
    expect(unloaded.schema.map((column) => column.name)).toEqual(['foo', 'foo_2', 'a_b', 'x', 'ä b', 'q"q']);
    const columns = unloaded.schema.map((column) => `"${column.name.replaceAll('"', '""')}" integer`);
    const table = lakeTable('lake', 'read.back');
    await trino.short(
      `CREATE TABLE ${table} (${columns.join(', ')}) WITH (format = 'PARQUET', external_location = 'local:///runs/run-1/lines-1')`,
    );
    expect(await trino.short(`SELECT * FROM ${table}`)).toEqual([[1, 2, 3, 4, 5, 6]]);
    await trino.short(`DROP TABLE ${table}`);
  });

  test('an empty result has a schema, no rows and no files', async () => {
    const unloaded = await unload('select * from tpch.tiny.region where regionkey > ?', { params: [99] });
    expect(unloaded).toMatchObject({ rows: 0, bytes: 0, parts: [] });
    expect(unloaded.schema.map((column) => column.name)).toEqual(['regionkey', 'name', 'comment']);
  });

  test('a large result: files, rows and bytes are those on disk, progress is reported, queries of any form go in', async () => {
    const seen: QueryProgress[] = [];
    const unloaded = await unload(
      'with l as (select * from tpch.sf1.lineitem where shipdate >= date(?)) select * from l order by orderkey -- the end',
      { params: ['1998-06-01'], queryMaxMemoryPerNodeBytes: 350 * MiB, onProgress: (progress) => seen.push(progress) },
    );
    const [[expected]] = (await trino.short(
      "select count(*) from tpch.sf1.lineitem where shipdate >= date '1998-06-01'",
    )) as [[number]];
    expect(unloaded.rows).toBe(expected);
    expect(unloaded.parts.reduce((sum, part) => sum + part.rows, 0)).toBe(expected);
    expect(await scratch.bytesOf(attempt())).toBe(unloaded.bytes);
    expect(await scratch.listEntries()).toMatchObject([{ ...attempt(), sealedBytes: unloaded.bytes }]);
    for (const part of unloaded.parts) expect(await there(fileURLToPath(part.uri))).toBe(true);
    expect(seen.length).toBeGreaterThan(2);
    expect(unloaded.stats).toMatchObject({ queryId: seen[0]!.queryId, spilledBytes: 0 });
    expect(unloaded.stats.peakMemoryBytes).toBeGreaterThan(MiB);
  }, 120_000);
});

describe('what fails leaves nothing', () => {
  test.each<[string, string, Partial<UnloadRequest>, string, string]>([
    ['a syntax error', 'select\nfrom', {}, 'SqlError', 'SYNTAX_ERROR at line 2:1'],
    ['an unknown table', 'select * from tpch.tiny.regionn', {}, 'SqlError', '(nearest: tpch.tiny.region)'],
    ['a statement that is no query', 'drop table lake.spillway.x', {}, 'SqlError', 'Write a query that gives rows'],
    ['a type nobody carries', 'select rgb(1,2,3) as shade', {}, 'SqlError', 'shade (color)'],
    ['too few values', 'select ?', { params: [1, 2] }, 'InvalidInput', '1 and `params` has 2'],
    ['an error at run time', 'select 1 / (orderkey - 5) from tpch.tiny.orders', {}, 'SqlError', 'DIVISION_BY_ZERO'],
    [
      'an error behind many rows',
      'select comment, 1 / (orderkey - 6000000) from tpch.sf1.lineitem',
      {},
      'SqlError',
      'DIVISION_BY_ZERO',
    ],
    [
      'a query larger than its cap',
      'select comment, count(*) from tpch.sf1.orders group by 1',
      { queryMaxMemoryPerNodeBytes: 20 * MiB },
      'EngineExhausted',
      'EXCEEDED_LOCAL_MEMORY_LIMIT',
    ],
    ['a lake that is not there', 'select 1', { lakeCatalog: 'pond' }, 'InvalidInput', 'Add a Hive catalog named pond'],
    [
      'a disk that is too full',
      'select 1',
      { scratchBytes: Number.MAX_SAFE_INTEGER },
      'ScratchFull',
      'lend the step less scratch',
    ],
  ])(
    '%s',
    async (_title, sql, options, code, says) => {
      await expect(unload(sql, options)).rejects.toMatchObject({ code, message: expect.stringContaining(says) });
      expect(await scratch.listEntries()).toEqual([]);
      expect(await there(join(server.lakeRoot, 'runs/run-1/lines-1'))).toBe(false);
    },
    120_000,
  );

  test('cancelled in the middle of writing', async () => {
    const controller = new AbortController();
    const reason = new Error('cancelled');
    const directory = join(server.lakeRoot, 'runs/run-1/lines-1');
    const onProgress = (): void => {
      // Not before there is something to leave behind.
      void there(directory).then((writing) => writing && controller.abort(reason));
    };
    await expect(unload('select * from tpch.sf10.lineitem', { signal: controller.signal, onProgress })).rejects.toBe(
      reason,
    );
    expect([await there(directory), await tables(), await scratch.listEntries()]).toEqual([false, [], []]);
    const ended = await trino.short(
      `select state, error_code from system.runtime.queries where source = '${attemptSource(attempt())}' order by created desc limit 1`,
    );
    expect(ended).toEqual([['FAILED', 'USER_CANCELED']]);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    expect(await there(directory)).toBe(false);
  }, 120_000);

  test('files that disappear while they are written are an error, never an empty result', async () => {
    const onProgress = ({ state }: QueryProgress): void => void (state === 'RUNNING' && scratch.dropAttempt(attempt()));
    await expect(unload('select * from tpch.sf1.orders', { onProgress })).rejects.toMatchObject({
      code: expect.stringMatching(/EngineFailed|HandoffLost/),
    });
  }, 120_000);
});

describe('attempts', () => {
  test('a later one stops the earlier, sees it gone and removes what it left; the earlier learns why', async () => {
    let writing: () => void = () => undefined;
    const started = new Promise<void>((resolve) => (writing = resolve));
    const earlier = unload('select * from tpch.sf10.lineitem', {
      onProgress: ({ state }) => void (state === 'RUNNING' && writing()),
    }).catch((error: unknown) => error);
    await started;
    const later = await unload('select 2 as two', { attempt: attempt(2) });
    expect(await earlier).toMatchObject({ code: 'LeaseLost' });
    expect(await readdir(join(server.lakeRoot, 'runs/run-1'))).toEqual(['lines-2']);
    expect(await readBack(later, ['two integer'], 2)).toEqual([[2]]);
  }, 120_000);

  test('one that was killed with its process leaves what the next removes', async () => {
    await trino.short('create schema if not exists lake.spillway');
    await scratch.reserveAttempt(attempt(1), { makeDirectory: false });
    const table = lakeTable('lake', 'run-1.lines-1');
    await trino.short(
      `create table ${table} with (format = 'PARQUET', external_location = 'local:///runs/run-1/lines-1') as select 1 a`,
    );
    await writeFile(join(server.lakeRoot, 'runs/run-1/lines-1/half'), 'x');
    await unload('select 2 as two', { attempt: attempt(2) });
    expect(await readdir(join(server.lakeRoot, 'runs/run-1'))).toEqual(['lines-2']);
  });

  test('tables of a run that nobody continues are dropped by its name', async () => {
    await trino.short(`create table ${lakeTable('lake', 'run-1.a-1')} (a integer)`);
    await trino.short(`create table ${lakeTable('lake', 'run-11.a-1')} (a integer)`);
    expect(await dropRunTables(trino, 'lake', 'run-1')).toBe(1);
    expect(await tables()).toEqual(['run-11.a-1']);
    expect(await dropRunTables(trino, 'lake', 'run-11')).toBe(1);
  });
});

test('a JVM gives heap back when asked', async () => {
  await trino.short('select count(distinct comment) from tpch.sf1.orders', { withinMs: 60_000 });
  // As a killed process with the same pid may leave it: nobody listens there.
  const socket = join('/tmp', `.java_pid${server.pid}`);
  await rm(socket, { force: true });
  await writeFile(socket, '');
  const shrunk = await shrinkHeap({ pid: server.pid });
  expect(shrunk.asked).toBe(true);
  expect(shrunk.afterBytes).toBeLessThan(shrunk.beforeBytes);
  await expect(askJvm(server.pid, 'No.such')).rejects.toThrow('No.such failed: java.lang.IllegalArgumentException');
}, 120_000);

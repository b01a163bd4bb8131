import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { HandoffPart, HandoffRef } from '../../src/contracts/handoff.ts';
import { type DatafusionRequest, prepareFifo, runDatafusion } from '../../src/engines/datafusion/run-datafusion.ts';
import { openArrowSource } from '../../src/engines/postgres/arrow-source.ts';
import { loadTable } from '../../src/engines/postgres/load.ts';
import { runTransform } from '../../src/engines/transform/run-transform.ts';
import { MiB } from '../../src/policy/sizes.ts';
import { type ContainerHost, openContainerHost } from './container-host.ts';
import { filePostgres } from './postgres-fixture.ts';

// Rows of every type, handed over in every mode to every reader, are the same rows in the end.
jest.setTimeout(180_000);

const MB = 1_000_000;
const ROWS = 30_000;
const MODULE = fileURLToPath(new URL('transforms-of-conformance.ts', import.meta.url));
const postgres = filePostgres();
let host: ContainerHost;
/** On tmpfs. */
let memory: string;
/** What all are compared with: rows of Arrow, whose types are compared value by value with the server's own where the encoder is tested. */
let reference: Loaded;
let token = 0;
beforeAll(async () => {
  host = await openContainerHost('conformance');
  memory = mkdtempSync('/dev/shm/spillway-conformance-');
  reference = await loaded(await compute(TYPES_SQL, arrow));
}, 300_000);
afterAll(async () => {
  rmSync(memory, { recursive: true });
  await host.close();
});

/** A column of each type, in DataFusion's SQL; `v` is the number of the row, from 1. */
const COLUMNS: Record<string, string> = {
  truth: 'v % 2 = 0',
  i8: "arrow_cast(v % 256 - 128, 'Int8')",
  i16: "arrow_cast(v - 32768, 'Int16')",
  i32: "arrow_cast(v * 70000, 'Int32')",
  i64: '9007199254740993 + v',
  u8: "arrow_cast(v % 256, 'UInt8')",
  u16: "arrow_cast(v * 2, 'UInt16')",
  u32: "arrow_cast(4294967295 - v, 'UInt32')",
  u64: "arrow_cast('18446744073709551615', 'UInt64') - arrow_cast(v, 'UInt64')",
  f16: "arrow_cast(v % 100 / 4.0, 'Float16')",
  f32: "arrow_cast(v / 8.0, 'Float32')",
  f64: "case v % 5 when 1 then 'NaN'::double when 2 then 'Infinity'::double when 3 then -0.0 else v / 3.0 end",
  small_decimal: 'cast(v as decimal(9, 2)) / 4',
  decimal: "cast('1234567890123456789012345.678901' as decimal(38, 6)) + v",
  large_decimal: "arrow_cast('12345678901234567890123456789012345678901234567890.5', 'Decimal256(60, 4)')",
  text: "case v % 3 when 0 then '' when 1 then 'ä 😀' else concat('row ', v) end",
  large_text: "arrow_cast(repeat('x', v % 40), 'LargeUtf8')",
  text_view: "arrow_cast(concat('view ', v), 'Utf8View')",
  coded: "arrow_cast(concat('code ', v % 5), 'Dictionary(Int32, Utf8)')",
  bytes: "decode('00ff61', 'hex')",
  large_bytes: "arrow_cast(decode('00ff', 'hex'), 'LargeBinary')",
  fixed_bytes: "arrow_cast(decode('00112233', 'hex'), 'FixedSizeBinary(4)')",
  day: "date '1969-12-25' + cast(v % 20 as int)",
  day_ms: "arrow_cast(date '2024-02-29', 'Date64')",
  time_s: "arrow_cast('23:59:59', 'Time32(Second)')",
  time_us: "arrow_cast('23:59:59.999999', 'Time64(Microsecond)')",
  stamp_s: "arrow_cast(v - 15000, 'Timestamp(Second, None)')",
  stamp_ms: "arrow_cast(v * 1001, 'Timestamp(Millisecond, None)')",
  stamp_us: "arrow_cast(-v * 1000001, 'Timestamp(Microsecond, None)')",
  stamp_ns: "arrow_cast(v * 1000001000, 'Timestamp(Nanosecond, None)')",
  stamp_zone: `arrow_cast(v * 1000001, 'Timestamp(Microsecond, Some("Europe/Berlin"))')`,
  span: "arrow_cast(v * 1000, 'Duration(Microsecond)')",
  list: '[v, null, v + 9007199254740993]',
  texts: "['a', null, concat('b', v)]",
  struct: "named_struct('n', v, 's', concat('s', v), 'inner', named_struct('d', date '2024-01-01'))",
  structs: "[named_struct('k', v, 't', arrow_cast(concat('t', v), 'Utf8View'))]",
  map: "map(['a', 'b'], [v, v + 1])",
  nothing: 'null',
};

/** Rows of all types, each column NULL in every seventh row, another one for each column. */
const TYPES_SQL = `select v as id, ${Object.entries(COLUMNS)
  .map(([name, sql], i) =>
    name === 'nothing' ? `null as nothing` : `case when v % 7 = ${i % 7} then null else ${sql} end as ${name}`,
  )
  .join(', ')} from (select value as v from generate_series(1, ${ROWS})) as numbers order by id`;

async function compute(
  sql: string,
  output: (dir: string) => DatafusionRequest['output'],
  more: Partial<DatafusionRequest> = {},
): Promise<HandoffRef> {
  token += 1;
  const attemptDir = join(host.scratch, `attempt-${token}`);
  const made = await runDatafusion(
    { runtime: host.runtime, image: host.image, machine: host.machine },
    {
      ...{ run: 'run', step: 'step', token, pool: host.pool, leaseBytes: 900 * MB, scratchBytes: 2000 * MB, cpus: 1 },
      ...{ inputs: {}, sql, attemptDir, timeoutMs: 100_000, output: output(join(attemptDir, 'out')), ...more },
    },
  );
  return refOf(made);
}
const refOf = ({
  parts,
  schema,
  rows,
  bytes,
}: Pick<HandoffRef, 'parts' | 'schema' | 'rows' | 'bytes'>): HandoffRef => ({
  ...{ mode: 'arrow', because: 'test', parts, schema, rows, bytes, host: host.machine.host, fingerprint: 'f' },
});

type Output = (dir: string) => DatafusionRequest['output'];
const arrow: Output = (dir) => ({ kind: 'arrow', dir });
const parquet: Output = (dir) => ({ kind: 'parquet', dir });
/** Modes of what a container writes, with the kinds of parts that come of it. */
const MODES: Record<string, [output: Output, parts: string[]]> = {
  shm: [(dir) => ({ kind: 'arrow', dir, memory: { dir: join(memory, `m${token}`), bytes: 100 * MB } }), ['memory']],
  arrow: [arrow, ['arrow']],
  parquet: [parquet, ['parquet']],
  'shm, arrow and parquet': [
    (dir) => ({ kind: 'arrow', dir, memory: { dir: join(memory, `m${token}`), bytes: 4 * MB }, parquetPastBytes: 9 * MB }), // prettier-ignore
    ['memory', 'arrow', 'parquet'],
  ],
};

/** Streams rows through a container into whatever reads the FIFO, as is done with Parquet. */
async function decoded<T>(ref: HandoffRef, read: (fifo: string) => Promise<T>): Promise<T> {
  const fifo = join(mkdtempSync(join(host.scratch, 'fifo-')), 'rows', 'kept-fifo');
  await prepareFifo(fifo);
  const [, answer] = await Promise.all([
    compute('select * from rows', () => ({ kind: 'fifo', path: fifo }), { inputs: { rows: ref } }),
    read(fifo),
  ]);
  return answer;
}
const isArrow = ({ parts }: HandoffRef): boolean => parts.every(({ kind }) => kind === 'arrow');

/** A table: columns with their types, a digest of the rows, how many are astray, and how many there are. */
interface Loaded {
  columns: string[];
  digest: string;
  astray: number;
  rows: number;
}
let tables = 0;
async function loaded(ref: HandoffRef): Promise<Loaded> {
  tables += 1;
  const into = `public.rows_${tables}`;
  const load = (source: HandoffPart[] | { fifo: string }) =>
    loadTable(
      { connect: () => postgres.server.connect() },
      {
        ...{ run: `run-${tables}`, step: 'load', token: 1, into, strategy: 'freeze', expectedRows: ref.rows },
        source: (signal) => openArrowSource(source, signal),
        signal: new AbortController().signal,
      },
    );
  await (isArrow(ref) ? load(ref.parts) : decoded(ref, (fifo) => load({ fifo })));
  const { client } = postgres;
  const { rows } = await client.query<{ digest: string; astray: number; rows: number }>(
    `select md5(string_agg(t::text, E'\\n' order by id)) as digest, count(*)::int as rows,
            (select count(*)::int from (select id, lag(id) over (order by ctid) as before from ${into}) o where id < before) as astray from ${into} t`,
  );
  const columns = await client.query<{ c: string }>(
    `select attname || ' ' || format_type(atttypid, atttypmod) as c from pg_attribute where attrelid = '${into}'::regclass and attnum > 0 order by attnum`,
  );
  return { columns: columns.rows.map(({ c }) => c), ...rows[0]! };
}

/** Has a transform give back what it is given; what is past so many bytes of Arrow as Parquet. */
async function transformed(ref: HandoffRef, pastBytes?: number): Promise<HandoffRef> {
  token += 1;
  const out = mkdtempSync(join(host.scratch, 'transform-'));
  chmodSync(out, 0o755); // containers read it as another user
  const parquet = pastBytes !== undefined && { path: join(out, 'part-00000.parquet'), pastBytes };
  const work = (input: { files: string[] } | { fifo: string }) =>
    runTransform({
      ...{ run: 'run', step: 'step', token, signal: new AbortController().signal },
      order: {
        ...{ kind: 'run', module: MODULE, transform: 'same', args: {}, run: 'run', step: 'step', input },
        ...{ batchRows: 5000, limitBytes: parquet ? 1200 * MiB : 512 * MiB, scratchBytes: 500 * MiB },
        writeTo: { disk: join(out, 'part-00000.arrow'), ...(parquet && { parquet }) },
      },
    });
  const made = await (isArrow(ref)
    ? work({ files: ref.parts.map(({ uri }) => fileURLToPath(uri)) })
    : decoded(ref, (fifo) => work({ fifo })));
  const parts = made.parts.map(({ kind, path, rows, bytes }) => ({ kind, uri: pathToFileURL(path).href, rows, bytes }));
  return refOf({ ...made, parts });
}

const READERS: Record<string, (ref: HandoffRef) => Promise<HandoffRef>> = {
  PostgreSQL: async (ref) => ref,
  'DataFusion, and PostgreSQL from there': (ref) =>
    compute('select * from rows order by id', arrow, { inputs: { rows: ref } }),
  'Parquet, and PostgreSQL from there': (ref) => compute('select * from rows', parquet, { inputs: { rows: ref } }),
  'a transform, and PostgreSQL from there': (ref) => transformed(ref),
};

describe.each(Object.entries(MODES))('rows of every type, handed over as %s,', (_mode, [output, kinds]) => {
  let ref: HandoffRef;
  beforeAll(async () => {
    ref = await compute(TYPES_SQL, output);
  }, 120_000);
  test.each(Object.entries(READERS))('are the same in %s', async (_reader, read) => {
    expect(ref.parts.map(({ kind, inMemory }) => (inMemory ? 'memory' : kind))).toEqual(kinds);
    expect(await loaded(await read(ref))).toEqual(reference);
    expect(reference).toMatchObject({ rows: ROWS, astray: 0 });
  });
});

describe.each<[string, number, string[]]>([
  ['parquet', 0, ['parquet']],
  ['arrow and parquet', 5 * MB, ['arrow', 'parquet']],
])('rows of every type, handed over by a transform as %s,', (_mode, pastBytes, kinds) => {
  let ref: HandoffRef;
  beforeAll(async () => {
    ref = await transformed(await compute(TYPES_SQL, arrow), pastBytes);
  }, 120_000);
  test.each(Object.entries(READERS))('are the same in %s', async (_reader, read) => {
    expect(ref.parts.map(({ kind }) => kind)).toEqual(kinds);
    expect(await loaded(await read(ref))).toEqual(reference);
  });
});

describe('what is not like the others', () => {
  test('no row at all of a transform keeps its columns as parquet', async () => {
    const none = await compute(`select * from (${TYPES_SQL}) as types where id < 0`, arrow);
    const ref = await transformed(none, 0);
    expect(ref).toMatchObject({ rows: 0, parts: [{ kind: 'parquet' }] });
    for (const read of Object.values(READERS))
      expect(await loaded(await read(ref))).toMatchObject({ columns: reference.columns, rows: 0 });
  });

  test.each(Object.entries(MODES))('no row at all keeps its columns as %s', async (_mode, [output]) => {
    const ref = await compute(`select * from (${TYPES_SQL}) as types where id < 0`, output);
    expect(ref).toMatchObject({ rows: 0, parts: [expect.anything()] });
    for (const read of Object.values(READERS))
      expect(await loaded(await read(ref))).toMatchObject({ columns: reference.columns, rows: 0 });
  });

  test.each([
    ['arrow', arrow],
    ['parquet', parquet],
  ])('one value of 100 MB gets through as %s', async (_mode, output) => {
    const sql = "select 1 as id, repeat('0123456789', 10000000) as value";
    const ref = await compute(sql, output, { leaseBytes: 2500 * MB });
    for (const read of [
      READERS['PostgreSQL']!,
      (ref: HandoffRef) => transformed(ref),
      (ref: HandoffRef) => transformed(ref, 0),
    ]) {
      const { rows } = await loaded(await read(ref));
      expect(rows).toBe(1);
      const { client } = postgres;
      expect((await client.query(`select length(value) as n from public.rows_${tables}`)).rows).toEqual([
        { n: 100_000_000 },
      ]);
      await client.query(`drop table public.rows_${tables}`);
    }
  });

  test.each(Object.entries(MODES))(
    '1,600 columns get through as %s, and one more is refused with the limit',
    async (_mode, [output]) => {
      const wide = (columns: number): string =>
        `select value as id, ${Array.from({ length: columns - 1 }, (_, i) => `arrow_cast(value + ${i}, 'Int16') as c${i}`).join(', ')} from generate_series(1, 10)`;
      expect((await loaded(await compute(wide(1600), output))).columns).toHaveLength(1600);
      await expect(loaded(await compute(wide(1601), output))).rejects.toThrow(/1,?600/);
    },
  );

  test('intervals, which Parquet does not have, stay Arrow whatever their size, and are refused by name where Parquet was asked for', async () => {
    const sql = "select value as id, interval '1 month 2 days' as months from generate_series(1, 100000)";
    const ref = await compute(sql, (dir) => ({ kind: 'arrow', dir, parquetPastBytes: MB }));
    expect(ref.parts.map(({ kind }) => kind)).toEqual(['arrow']);
    expect(await loaded(ref)).toMatchObject({ rows: 100_000, columns: ['id bigint', 'months interval'] });
    await expect(compute(sql, parquet)).rejects.toMatchObject({
      code: 'SqlError',
      message: expect.stringContaining(
        'Cast what no Parquet file holds, for example to a text: months (Interval<MONTH_DAY_NANO>)',
      ),
    });
  });
});

// Long, because finding the runtime, its groups and its image costs seconds: all that one job does is tested on one host.
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { RecordBatchReader, type Int64, type RecordBatch, type Utf8 } from 'apache-arrow';
import { execa } from 'execa';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { HandoffRef } from '../../src/contracts/handoff.ts';
import type { JobProgress } from '../../src/engines/datafusion/job.ts';
import {
  runDatafusion,
  type DatafusionRequest,
  type DatafusionResult,
} from '../../src/engines/datafusion/run-datafusion.ts';
import type { StepHistory } from '../../src/contracts/pool.ts';
import { handedOver, keptRows } from '../../src/policy/kept-rows.ts';
import { measuredOverhead, remember } from '../../src/policy/step-history.ts';
import { makeDir, openContainerHost, pythonSpec, type ContainerHost } from './container-host.ts';

// A sort of two gigabytes in 600 MB takes half a minute on a quiet machine, and minutes on a busy one.
jest.setTimeout(600_000);

const MB = 1_000_000;
let host: ContainerHost;
let nextToken = 1;
beforeAll(async () => {
  host = await openContainerHost('datafusion');
}, 300_000);
afterAll(() => host.close());
// What a test keeps for later ones is named kept-…; everything else of an attempt is gone.
afterEach(async () => {
  expect(await host.leftovers()).toEqual([]);
});

type Asked = Partial<Omit<DatafusionRequest, 'output'>> & {
  kind?: 'arrow' | 'parquet';
  dir?: string;
  memory?: { dir: string; bytes: number };
  parquetPastBytes?: number;
};

function request(
  sql: string,
  { kind = 'arrow', dir, memory, parquetPastBytes, ...more }: Asked = {},
): DatafusionRequest {
  const token = nextToken++;
  const attemptDir = join(host.scratch, `attempt-${token}`);
  return {
    ...{ run: 'run-1', step: 'step-1', token, pool: host.pool, leaseBytes: 700 * MB, scratchBytes: 6000 * MB, cpus: 2 },
    ...{
      inputs: {},
      sql,
      attemptDir,
      timeoutMs: 400_000,
      output: {
        kind,
        dir: dir ?? join(attemptDir, 'out'),
        ...(memory && { memory }),
        ...(parquetPastBytes && { parquetPastBytes }),
      },
    },
    ...more,
  };
}
const run = (sql: string, asked?: Asked): Promise<DatafusionResult> =>
  runDatafusion({ runtime: host.runtime, image: host.image, machine: host.machine }, request(sql, asked));

/** Runs, and keeps the file under a name that the leak check spares. */
async function keep(name: string, sql: string, asked?: Asked): Promise<{ ref: HandoffRef; result: DatafusionResult }> {
  const result = await run(sql, asked);
  const path = fileURLToPath(result.parts[0]!.uri);
  const kept = join(makeDir(host.scratch, 'kept'), `kept-${name}.${result.parts[0]!.kind}`);
  renameSync(path, kept);
  return { ref: toRef({ ...result, parts: [{ ...result.parts[0]!, uri: `file://${kept}` }] }), result };
}

function toRef({
  parts,
  schema,
  rows,
  bytes,
}: Pick<DatafusionResult, 'parts' | 'schema' | 'rows' | 'bytes'>): HandoffRef {
  return { mode: 'arrow', because: 'test', parts, schema, rows, bytes, host: host.machine.host, fingerprint: 'f' };
}

/** Columns that the tests' queries have, as far as they are looked at. */
type Batch = RecordBatch<{ a: Int64; s: Utf8 }>;

async function batchesOf(path: string, each: (batch: Batch) => void): Promise<void> {
  const file = await open(path);
  try {
    for await (const batch of (await RecordBatchReader.from(file)) as AsyncIterable<Batch>) each(batch);
  } finally {
    await file.close().catch(() => undefined);
  }
}

/** Rows of a result, read by Arrow's JavaScript library; the file is removed. */
async function rowsOf(result: DatafusionResult): Promise<Record<string, unknown>[]> {
  const rows: Record<string, unknown>[] = [];
  for (const { uri } of result.parts) {
    await batchesOf(fileURLToPath(uri), (batch) => {
      for (const row of batch)
        rows.push(
          JSON.parse(
            JSON.stringify(row, (_key, value: unknown) => (typeof value === 'bigint' ? Number(value) : value)),
          ) as Record<string, unknown>,
        );
    });
    rmSync(fileURLToPath(uri));
  }
  return rows;
}

/** Digest of the values of an int64 and a utf8 column in their order, however the file is cut into batches. */
async function digestOf(path: string): Promise<string> {
  const numbers = createHash('sha256');
  const texts = createHash('sha256');
  await batchesOf(path, (batch) => {
    for (const { values } of batch.getChild('a')!.data) {
      numbers.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    }
    for (const { values, valueOffsets, length } of batch.getChild('s')!.data) {
      texts.update(values.subarray(valueOffsets[0], valueOffsets[length]));
    }
  });
  return `${numbers.digest('hex')} ${texts.digest('hex')}`;
}

describe('a query', () => {
  test('gives its rows, their types as Arrow names them, and what it used', async () => {
    const seen: JobProgress[] = [];
    const result = await run(
      `select value as a, cast(value as varchar) as s, cast(1.5 as decimal(15,2)) as d, date '2026-01-02' as day,
       arrow_cast('x','Utf8View') as v from generate_series(1, 3) order by 1 desc`,
      { onProgress: (progress) => seen.push(progress) },
    );
    expect(result).toMatchObject({
      verdict: 'ok',
      rows: 3,
      parts: [{ kind: 'arrow', rows: 3 }],
      proof: { kind: 'cgroup-empty' },
    });
    expect(result.schema.map(({ name, type }) => [name, type])).toEqual([
      ...[
        ['a', 'Int64'],
        ['s', 'Utf8'],
        ['d', 'Decimal[15e+2]'],
        ['day', 'Date32<DAY>'],
        ['v', 'Utf8'],
      ],
    ]);
    expect(result.used).toMatchObject({ verdict: 'ok', rows: 3, inputBytes: 0 });
    expect(result.used.peakBytes).toBeGreaterThan(20 * MB);
    expect(result.used.peakBytes).toBeLessThan(700 * MB);
    expect((await rowsOf(result)).map(({ a, s, v }) => [a, s, v])).toEqual([
      [3, '3', 'x'],
      [2, '2', 'x'],
      [1, '1', 'x'],
    ]);
  });

  test('reads files of several kinds, and only the listed ones', async () => {
    const cut = (from: number, to: number): string =>
      `select value as a, cast(value as varchar) as s from generate_series(${from}, ${to})`;
    const arrow = (await keep('one', cut(1, 1000))).ref;
    const parquet = (await keep('two', cut(1001, 3000), { kind: 'parquet' })).ref;
    await keep('unlisted', cut(1, 10));
    const both = toRef({ ...arrow, parts: [...arrow.parts, ...parquet.parts] });
    const empty = toRef({ ...arrow, parts: [], rows: 0 });
    const result = await run(
      `select (select count(*) from both) as n, (select sum(a) from both) as total, (select max(length(s)) from both) as longest,
       (select count(*) from empty where s = 'x') as none`,
      { inputs: { both, empty } },
    );
    expect(await rowsOf(result)).toEqual([{ n: 3000, total: 4501500, longest: 4, none: 0 }]);
  });

  test('does not let a file that asks for views inflate its rows', async () => {
    const dir = makeDir(host.scratch, 'kept');
    chmodSync(dir, 0o777);
    const code = `
sys.path.insert(0, "/opt/df")
import pyarrow as pa, pyarrow.parquet as pq
n = 200000
t = pa.table({"a": pa.array(range(n), pa.int64()), "s": pa.array([f"{i*7919%1000003:08d}" * 16 for i in range(n)]).cast(pa.string_view())})
pq.write_table(t, "/d/kept-views.parquet")
say("done", schema=str(pq.read_schema("/d/kept-views.parquet").field("s").type))`;
    const made = await host
      .python()
      .run(pythonSpec(host, code, { memoryBytes: 700 * MB, mounts: [{ source: dir, target: '/d', writable: true }] }));
    expect(made).toMatchObject({ verdict: 'ok', result: { schema: 'string_view' } });
    const views = toRef({
      parts: [{ kind: 'parquet', uri: `file://${dir}/kept-views.parquet`, rows: 0, bytes: 0 }],
      schema: [],
      rows: 0,
      bytes: 0,
    });
    const result = await run('select s from views order by s limit 50000', { inputs: { views } });
    expect(result.schema).toEqual([{ name: 's', type: 'Utf8', nullable: true }]);
    expect(result.rows).toBe(50_000);
    expect(result.bytes).toBeLessThan(50_000 * 140);
    expect(result.parts[0]!.bytes).toBeLessThan(50_000 * 140);
    await rowsOf(result);
  });

  test('streams to a reader over a FIFO', async () => {
    const dir = mkdtempSync(join(host.scratch, 'fifo-'));
    const path = join(dir, 'rows');
    const asked = {
      ...request(`select value as a from generate_series(1, 500000)`),
      output: { kind: 'fifo' as const, path },
    };
    const writing = runDatafusion({ runtime: host.runtime, image: host.image, machine: host.machine }, asked);
    while (!existsSync(path)) await new Promise((resolve) => setTimeout(resolve, 10));
    let rows = 0;
    const file = await open(path);
    for await (const batch of await RecordBatchReader.from(file.createReadStream())) rows += batch.numRows;
    expect(await writing).toMatchObject({ verdict: 'ok', rows: 500_000, parts: [] });
    expect(rows).toBe(500_000);
    rmSync(dir, { recursive: true });
  });

  test('keeps what it wrote to shared memory in its proof', async () => {
    const dir = mkdtempSync('/dev/shm/spillway-test-');
    const result = await run('select value as a from generate_series(1, 5000000)', {
      memory: { dir, bytes: 50 * MB },
      scratchBytes: 1 * MB,
    });
    expect(result.parts).toMatchObject([{ kind: 'arrow', inMemory: true, rows: 5_000_000 }]);
    expect(keptRows(result.parts)).toEqual({ bytes: result.proof.bytesLeft, scratchBytes: 0 });
    expect(result.proof.bytesLeft).toBeGreaterThanOrEqual(40 * MB);
    expect(result.proof.bytesLeft).toBeLessThan(50 * MB);
    rmSync(dir, { recursive: true });
  });

  test('goes on on disk where the memory that was lent for its rows ends, with all rows in their order', async () => {
    const dir = mkdtempSync('/dev/shm/spillway-test-');
    const result = await run("select value as a, 'x' as s from generate_series(1, 3000000) order by a", {
      memory: { dir, bytes: 10 * MB },
      scratchBytes: 100 * MB,
    });
    const [first, second] = result.parts;
    expect(result.parts.map(({ inMemory }) => inMemory)).toEqual([true, undefined]);
    expect(first!.bytes).toBeLessThanOrEqual(10 * MB);
    expect(first!.bytes).toBeGreaterThan(5 * MB);
    expect(first!.rows + second!.rows).toBe(3_000_000);
    let next = 1n;
    let astray = 0;
    for (const { uri } of result.parts)
      await batchesOf(fileURLToPath(uri), (batch) => {
        for (const value of batch.getChild('a')!) if (value !== next++) astray += 1;
      });
    expect(astray).toBe(0);
    expect(next).toBe(3_000_001n);
    expect(readdirSync(dir)).toEqual(['part-00000.arrow']);
    rmSync(dir, { recursive: true });
    rmSync(fileURLToPath(second!.uri));
  });

  test('goes on in Parquet past what Arrow may take; a reader gets all rows in their order', async () => {
    const dir = mkdtempSync('/dev/shm/spillway-test-');
    const places = { memory: { dir, bytes: 10 * MB }, parquetPastBytes: 30 * MB };
    const sql = "select value as a, 'x' as s from generate_series(1, 6000000) order by a";
    const result = await run(sql, places);
    expect(result.parts.map(({ kind, inMemory }) => [kind, inMemory])).toEqual([
      ['arrow', true],
      ['arrow', undefined],
      ['parquet', undefined],
    ]);
    const [memory, arrow, parquet] = result.parts;
    expect(memory!.bytes + arrow!.bytes).toBeLessThan(31 * MB);
    expect(memory!.bytes + arrow!.bytes).toBeGreaterThan(25 * MB);
    // What Arrow would have taken for them is some 50 MB.
    expect(parquet!.rows).toBeGreaterThan(2_000_000);
    expect(parquet!.bytes).toBeLessThan(30 * MB);
    expect(result.rows).toBe(6_000_000);
    expect(handedOver({ mode: 'shm', because: 'small', parquetPastBytes: 30 * MB }, result.parts, { asked: 10 * MB, had: 10 * MB })).toEqual({ mode: 'parquet', because: expect.stringMatching(/^small; more came than the 28\.6 MiB that Arrow may take: 2\d.* MiB of it are Arrow, [\d.]+ MiB of that in memory, [\d.]+ MiB Parquet$/) }); // prettier-ignore
    const read = await run('select * from rows', { inputs: { rows: toRef(result) }, cpus: 1 });
    let next = 1n;
    let astray = 0;
    for (const { uri } of read.parts)
      await batchesOf(fileURLToPath(uri), (batch) => {
        for (const value of batch.getChild('a')!) if (value !== next++) astray += 1;
      });
    expect([astray, next]).toEqual([0, 6_000_001n]);
    const summed = await run('select count(*) as a, sum(a) as n from rows', { inputs: { rows: toRef(result) } });
    expect(await rowsOf(summed)).toEqual([{ a: 6_000_000, n: 18_000_003_000_000 }]);
    rmSync(dir, { recursive: true });
    for (const { uri, inMemory } of [...result.parts, ...read.parts]) if (!inMemory) rmSync(fileURLToPath(uri));
  });

  test.each([
    ['in memory', 900_000],
    ['on disk', 2_000_000],
    ['in Parquet', 5_000_000],
  ])('a job that fails %s leaves nothing of any kind', async (_where, at) => {
    const dir = mkdtempSync('/dev/shm/spillway-test-');
    const sql = `select value as a, 1 / (value - ${at}) as b from generate_series(1, 6000000)`;
    const places = { memory: { dir, bytes: 20 * MB }, parquetPastBytes: 50 * MB };
    await expect(run(sql, places)).rejects.toMatchObject({ details: { proof: { bytesLeft: 0 } } });
    expect(readdirSync(dir)).toEqual([]);
    rmSync(dir, { recursive: true });
  });

  test('a job that fails leaves nothing in memory, and its proof says so', async () => {
    const dir = mkdtempSync('/dev/shm/spillway-test-');
    const sql = 'select value as a, 1 / (value - 2000000) as b from generate_series(1, 3000000)';
    const error = await run(sql, { memory: { dir, bytes: 50 * MB } }).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ details: { proof: { bytesLeft: 0 } } });
    expect(readdirSync(dir)).toEqual([]);
    rmSync(dir, { recursive: true });
  });
});

describe('a sort of more than three times its lease', () => {
  const SORT = 'select * from rows order by k, a';

  test('spills, gives the same rows in the same order as one with all the memory it wants, and leaves no spill', async () => {
    const { ref, result: made } = await keep(
      'rows',
      `select value as a, (value * 7919) % 1000003 as k, repeat(cast(value % 1000 as varchar), 100) || cast(value as varchar) as s
       from generate_series(1, 6200000)`,
    );
    expect(made.bytes).toBeGreaterThan(3 * 600 * MB);
    const small = await keep('small', SORT, { inputs: { rows: ref }, leaseBytes: 600 * MB });
    expect(small.result.spillCount).toBeGreaterThan(0);
    expect(small.result.used.peakBytes).toBeLessThan(600 * MB);
    expect(small.result.used.scratchPeakBytes).toBeGreaterThan(made.bytes);
    const large = await keep('large', SORT, { inputs: { rows: ref }, leaseBytes: 11_000 * MB });
    expect(large.result.spillCount).toBe(0);
    expect(small.result.rows).toBe(6_200_000);
    expect(await digestOf(fileURLToPath(small.ref.parts[0]!.uri))).toBe(
      await digestOf(fileURLToPath(large.ref.parts[0]!.uri)),
    );
    rmSync(join(host.scratch, 'kept'), { recursive: true });
  });
});

test('a statement that filled its pool five times is given more of the same lease, spills less often and stays within it', async () => {
  const sql = `select a, row_number() over (partition by k order by s) as n
    from (select value as a, value % 1000003 as k, md5(cast(value as varchar)) as s from generate_series(1, 6000000))`;
  const first = await run(sql, { leaseBytes: 1000 * MB, kind: 'parquet' });
  expect(first.used.fullPool).toEqual({ bytes: 600 * MB, partitions: 2 });
  const five = Array.from({ length: 5 }).reduce<StepHistory | undefined>(
    (history) => remember(history, first.used, 1000 * MB, 1),
    undefined,
  );
  const overhead = measuredOverhead(five!)!;
  const then = await run(sql, { leaseBytes: 1000 * MB, kind: 'parquet', overhead });
  expect(then.settings.poolBytes).toBeGreaterThan(600 * MB);
  expect(then.settings.because).toContain('as 5 runs took little beside it');
  expect(then.spillCount).toBeLessThan(first.spillCount);
  expect(then.used.peakBytes).toBeLessThan(1000 * MB);
  expect(then.rows).toBe(first.rows);
  for (const { parts } of [first, then]) rmSync(fileURLToPath(parts[0]!.uri));
});

test('a sort whose partitions are of unlike size, one of which finds the pool full when it is done, is made again as one', async () => {
  const cut = (rows: number): string =>
    `select value as a, (value * 7919) % 1000003 as k, repeat(cast(value % 1000 as varchar), 100) as s from generate_series(1, ${rows})`;
  const result = await run(`select k, a from (${cut(600_000)} union all ${cut(2_000_000)}) order by k, s, a`, {
    leaseBytes: 600 * MB,
  });
  expect(result.rows).toBe(2_600_000);
  expect(result.spillCount).toBeGreaterThan(0);
  let [last, ordered, rows] = [-1n, true, 0];
  await batchesOf(fileURLToPath(result.parts[0]!.uri), (batch) => {
    for (const k of batch.getChild('k' as 'a')!.toArray()) {
      ordered &&= k >= last;
      last = k;
      rows++;
    }
  });
  expect([ordered, rows]).toEqual([true, 2_600_000]);
  rmSync(fileURLToPath(result.parts[0]!.uri));
});

describe('what cannot work is a typed error', () => {
  const pair = (bytes: number, rows: number): string =>
    `(select value as k, repeat('x', ${bytes}) || cast(value as varchar) as s from generate_series(1, ${rows}))`;
  const JOIN = `select a.s as l, b.s as r from ${pair(300, 3_000_000)} a join ${pair(300, 3_000_000)} b on a.k = b.k`;

  test('far too little memory: what was granted, the peak, and the allocation that failed', async () => {
    const failure = run(JOIN, { leaseBytes: 600 * MB });
    await expect(failure).rejects.toMatchObject({
      code: 'EngineExhausted',
      message: expect.stringMatching(
        /^step step-1 needs more memory: granted 572\.2 MiB, peak [\d.]+ MiB; DataFusion: Failed to allocate additional/,
      ),
      details: {
        verdict: 'engine-exhausted',
        proof: { kind: 'cgroup-empty', bytesLeft: 0 },
        used: { verdict: 'engine-exhausted' },
      },
    });
  });

  test('an engine that does nothing is ended long before its time is up', async () => {
    const path = join(makeDir(host.scratch, 'stuck'), 'stuck.parquet');
    await execa('mkfifo', ['--mode', '644', path]); // nobody ever writes to it
    const part: HandoffRef['parts'][number] = { kind: 'parquet', uri: `file://${path}`, rows: 0, bytes: 0 };
    const stuck = toRef({ parts: [part], schema: [], rows: 0, bytes: 0 });
    await expect(run('select * from stuck', { inputs: { stuck }, stallMs: 2_000 })).rejects.toMatchObject({
      code: 'EngineFailed',
      message: expect.stringContaining('the engine did nothing for 2 s'),
    });
    rmSync(path);
  });

  test('memory that the engine does not count: killed at its own limit', async () => {
    const failure = run(`select length(repeat(cast(value as varchar), 900000000)) as n from generate_series(1, 1)`, {
      leaseBytes: 600 * MB,
    });
    await expect(failure).rejects.toMatchObject({
      code: 'OutOfMemoryOwn',
      details: { verdict: 'oom-own', proof: { bytesLeft: 0 } },
    });
  });

  test('a lease that is too small for any job', async () => {
    await expect(run('select 1', { leaseBytes: 300 * MB })).rejects.toMatchObject({ code: 'InvalidInput' });
  });

  test.each([
    ['a missing column', 'select nope from generate_series(1, 2)', 'No field named nope'],
    ['a syntax error', 'select from where', 'fails'],
    ['a statement that writes', `copy (select 1) to '/out/x.parquet'`, `starts with 'COPY'`],
    ['one that defines', '/* x */ create table t as select 1', `starts with 'CREATE'`],
    ['one that writes behind a comment and WITH', `with x as (select 1) insert into t select * from x`, 'fails'],
    ['two statements', 'select 1; select 2', 'single SQL statement'],
    [
      'a value that cannot be',
      'select cast(s as int) from (select cast(value as varchar) || $$x$$ as s from generate_series(1, 9))',
      'Cast error',
    ],
  ])('%s', async (_title, sql, text) => {
    await expect(run(sql)).rejects.toMatchObject({
      code: 'SqlError',
      message: expect.stringContaining(text),
      details: { verdict: 'sql-error' },
    });
  });

  test.each([
    ['spill', 'select value as a from generate_series(1, 60000000) order by (value * 7919) % 1000003'],
    ['output', 'select value as a from generate_series(1, 20000000)'],
  ])('%s over the scratch that was lent', async (_title, sql) => {
    await expect(run(sql, { scratchBytes: 50 * MB, leaseBytes: 600 * MB })).rejects.toMatchObject({
      code: 'ScratchFull',
      message: expect.stringContaining('more scratch than the 47.7 MiB granted'),
    });
  });

  test('an input whose file is gone', async () => {
    const gone = toRef({
      parts: [{ kind: 'arrow', uri: 'file:///not/there.arrow', rows: 1, bytes: 1 }],
      schema: [],
      rows: 1,
      bytes: 1,
    });
    await expect(run('select * from gone', { inputs: { gone } })).rejects.toMatchObject({ code: 'HandoffLost' });
  });

  test('more time than it was given', async () => {
    const failure = run(JOIN, { timeoutMs: 1500, leaseBytes: 6000 * MB });
    await expect(failure).rejects.toMatchObject({
      code: 'ContainerFailed',
      retry: 'retry',
      details: { verdict: 'timeout' },
    });
  });
});

test('an abort in the middle of spilling is rethrown after container, group and files are gone', async () => {
  const abort = new AbortController();
  const reason = new Error('enough of it');
  const asked = request(
    'select value as a, (value * 7919) % 1000003 as k from generate_series(1, 80000000) order by 2, 1',
    {
      leaseBytes: 600 * MB,
      signal: abort.signal,
      onProgress: ({ spill_count }) => (spill_count > 0 ? abort.abort(reason) : undefined),
    },
  );
  await expect(runDatafusion({ runtime: host.runtime, image: host.image, machine: host.machine }, asked)).rejects.toBe(
    reason,
  );
  expect(readdirSync(asked.attemptDir)).toEqual(['out']);
});

import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  DateMillisecond,
  Field,
  Int64,
  IntervalDayTime,
  List,
  Table,
  tableFromIPC,
  TimeSecond,
  TimestampSecond,
  Utf8,
  vectorFromArray,
} from 'apache-arrow';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { ParquetFile, readParquet } from 'parquet-wasm';
import { RowsWriter } from '../../../../src/engines/transform/rows-writer.ts';
import type { Places, WrittenPart } from '../../../../src/engines/transform/transform-job.ts';
import { UnfitBatch } from '../../../../src/engines/transform/unfit-batch.ts';
import { KiB, MiB } from '../../../../src/policy/sizes.ts';

let folder: string;
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), 'spillway-rows-'))));
afterEach(() => rmSync(folder, { recursive: true }));

/** 1,000 rows of some 30 KB. */
const rows = (from: number): Table =>
  new Table({
    n: vectorFromArray(Array.from({ length: 1000 }, (_, i) => BigInt(from + i)), new Int64()),
    text: vectorFromArray(Array.from({ length: 1000 }, (_, i) => `a text of row ${from + i}`), new Utf8()),
  }); // prettier-ignore
const writer = (memoryBytes?: number): RowsWriter =>
  new RowsWriter({ disk: join(folder, 'disk.arrow'), ...(memoryBytes !== undefined && { memory: { path: join(folder, 'memory.arrow'), bytes: memoryBytes } }) }, 512 * MiB); // prettier-ignore
async function written(
  memoryBytes: number | undefined,
  batches: number,
): Promise<Awaited<ReturnType<RowsWriter['close']>>> {
  // prettier-ignore
  const into = writer(memoryBytes);
  for (let at = 0; at < batches; at += 1) await into.write(rows(1000 * at));
  const parts = await into.close();
  expect([into.rows, into.bytes]).toEqual([1000 * batches, parts.reduce((sum, { bytes }) => sum + bytes, 0)]);
  for (const { path, bytes } of parts) expect(statSync(path).size).toBe(bytes);
  return parts;
}
/** All rows of the files, in order. */
const numbers = (parts: readonly { path: string }[]): number[] =>
  parts.flatMap(({ path }) => Array.from(tableFromIPC(readFileSync(path)).getChild('n')!, Number));

function inOrder(found: readonly number[], count: number): void {
  expect(found.filter((n, i) => !Object.is(n, i))).toEqual([]);
  expect(found).toHaveLength(count);
}

test('without memory all rows go to disk', async () => {
  const parts = await written(undefined, 3);
  expect(parts.map(({ path, inMemory }) => [basename(path), inMemory])).toEqual([['disk.arrow', false]]);
  expect(numbers(parts)).toHaveLength(3000);
});

test('what fits into memory stays there, and nothing is made on disk', async () => {
  const parts = await written(1024 * KiB, 10);
  expect(parts.map(({ path, rows: count, inMemory }) => [basename(path), count, inMemory])).toEqual([['memory.arrow', 10_000, true]]); // prettier-ignore
  expect(readdirSync(folder)).toEqual(['memory.arrow']);
});

test('what comes after that goes to disk: no byte more than was lent, both files whole, rows in order', async () => {
  const parts = await written(512 * KiB, 40);
  expect(parts.map(({ path, inMemory }) => [basename(path), inMemory])).toEqual([['memory.arrow', true], ['disk.arrow', false]]); // prettier-ignore
  expect(parts[0]!.bytes).toBeLessThanOrEqual(512 * KiB);
  expect(parts[0]!.rows).toBeGreaterThan(3000);
  inOrder(numbers(parts), 40_000);
});

test('a first batch that does not fit leaves no file in memory', async () => {
  const parts = await written(16 * KiB, 2);
  expect(parts.map(({ inMemory }) => inMemory)).toEqual([false]);
  expect(existsSync(join(folder, 'memory.arrow'))).toBe(false);
});

describe('what failed', () => {
  test('leaves no file, wherever its rows were', async () => {
    const into = writer(512 * KiB);
    for (let at = 0; at < 40; at += 1) await into.write(rows(1000 * at));
    await into.discard();
    expect(readdirSync(folder)).toEqual([]);
  });
  test.each<[string, number]>([
    ['in memory', 1],
    ['once it went on to disk', 40],
  ])('are columns that do not fit, %s', async (_title, before) => {
    // prettier-ignore
    const into = writer(512 * KiB);
    for (let at = 0; at < before; at += 1) await into.write(rows(1000 * at));
    await expect(into.write(new Table({ other: vectorFromArray([1n], new Int64()) }))).rejects.toThrow(UnfitBatch);
    await into.discard();
  });
});

test('rows without any are a file with their columns', async () => {
  const into = writer(512 * KiB);
  await into.write(rows(0).slice(0, 0));
  const [part, ...others] = await into.close();
  expect(others).toEqual([]);
  expect(part).toMatchObject({ rows: 0, inMemory: true });
  expect(tableFromIPC(readFileSync(part!.path)).schema.names).toEqual(['n', 'text']);
});

describe('what is past the size of which Arrow is kept', () => {
  const places = (pastBytes: number, memoryBytes?: number): Places => ({
    disk: join(folder, 'disk.arrow'),
    parquet: { path: join(folder, 'disk.parquet'), pastBytes },
    ...(memoryBytes !== undefined && { memory: { path: join(folder, 'memory.arrow'), bytes: memoryBytes } }),
  });
  const inParquet = (path: string): Table => tableFromIPC(readParquet(readFileSync(path)).intoIPCStream());
  const numbersOf = (parts: readonly WrittenPart[]): number[] =>
    parts.flatMap(({ kind, path }) => (kind === 'arrow' ? numbers([{ path }]) : Array.from(inParquet(path).getChild('n')!, Number))); // prettier-ignore

  test('is Parquet: memory, disk and Parquet in one pass, each file whole, rows in order', async () => {
    const into = new RowsWriter(places(1024 * KiB, 300 * KiB), 512 * MiB);
    for (let at = 0; at < 60; at += 1) await into.write(rows(1000 * at));
    const parts = await into.close();
    expect(parts.map(({ path, kind, inMemory }) => [basename(path), kind, inMemory])).toEqual([
      ['memory.arrow', 'arrow', true],
      ['disk.arrow', 'arrow', false],
      ['disk.parquet', 'parquet', false],
    ]);
    expect(parts[0]!.bytes + parts[1]!.bytes).toBeLessThanOrEqual(1024 * KiB + 2 * 256 * KiB);
    for (const { path, bytes } of parts) expect(statSync(path).size).toBe(bytes);
    inOrder(numbersOf(parts), 60_000);
    expect(readdirSync(folder).sort()).toEqual(['disk.arrow', 'disk.parquet', 'memory.arrow']);
  });

  test('is all of them where none is kept, and rows without any are a file with their columns', async () => {
    const all = new RowsWriter(places(0), 512 * MiB);
    for (let at = 0; at < 3; at += 1) await all.write(rows(1000 * at));
    const parts = await all.close();
    expect(parts).toMatchObject([{ kind: 'parquet', rows: 3000 }]);
    expect(numbersOf(parts)).toHaveLength(3000);
    rmSync(parts[0]!.path);
    const none = new RowsWriter(places(0), 512 * MiB);
    await none.write(new Table(rows(0).schema));
    const [part] = await none.close();
    expect(part).toMatchObject({ kind: 'parquet', rows: 0 });
    expect(inParquet(part!.path).schema.names).toEqual(['n', 'text']);
  });

  test('is in groups of no more rows than the lease has room for', async () => {
    const into = new RowsWriter(places(0), 16 * MiB); // groups of 1 MiB, of rows of some 30 bytes
    for (let at = 0; at < 100; at += 1) await into.write(rows(1000 * at));
    const [part] = await into.close();
    const file = await ParquetFile.fromFile(new Blob([readFileSync(part!.path)]));
    const groups = file
      .metadata()
      .rowGroups()
      .map((group) => group.numRows());
    expect(groups.length).toBeGreaterThan(2);
    expect(Math.max(...groups)).toBeLessThan(50_000);
  });

  test('seconds and days counted in milliseconds are what they were', async () => {
    const table = new Table({
      stamp: vectorFromArray([0, null, -1000, 1_700_000_000_000], new TimestampSecond('UTC')),
      time: vectorFromArray([0, 86_399, null, 1], new TimeSecond()),
      day: vectorFromArray([new Date('1969-12-31'), null, new Date('2024-02-29'), new Date(0)], new DateMillisecond()),
    });
    const into = new RowsWriter(places(0), 512 * MiB);
    await into.write(table);
    const [part] = await into.close();
    const read = inParquet(part!.path);
    expect(read.schema.fields.map(({ type }) => String(type))).toEqual(['Timestamp<MILLISECOND, UTC>', 'Time32<MILLISECOND>', 'Date32<DAY>']); // prettier-ignore
    for (const name of ['stamp', 'day'] as const) expect([...read.getChild(name)!]).toEqual([...table.getChild(name)!]);
    expect([...read.getChild('time')!]).toEqual([0, 86_399_000, null, 1000]);
  });

  test('stays Arrow when Parquet has no place for a column, which is named', async () => {
    const into = new RowsWriter(places(0), 512 * MiB);
    const months = vectorFromArray([new Int32Array([1, 2]), new Int32Array([2, 3])], new IntervalDayTime());
    const stamps = vectorFromArray([[1000], [2000]], new List(new Field('item', new TimestampSecond(), true)));
    await into.write(new Table({ n: vectorFromArray([1n, 2n], new Int64()), months, stamps }));
    expect(await into.close()).toMatchObject([{ kind: 'arrow', rows: 2 }]);
    expect(into.unfit).toEqual(['months (Interval<DAY_TIME>)', 'stamps (List<Timestamp<SECOND>>)']);
  });

  test('leaves no file when it failed', async () => {
    const into = new RowsWriter(places(300 * KiB), 16 * MiB);
    for (let at = 0; at < 100; at += 1) await into.write(rows(1000 * at));
    expect(readdirSync(folder)).toContain('disk.parquet.tmp');
    await into.discard();
    expect(readdirSync(folder)).toEqual([]);
  });
});

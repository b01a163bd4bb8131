import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Int64, Table, tableFromIPC, Utf8, vectorFromArray } from 'apache-arrow';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { UnfitBatch } from '../../../../src/engines/transform/arrow-file-writer.ts';
import { RowsWriter } from '../../../../src/engines/transform/rows-writer.ts';
import { KiB } from '../../../../src/policy/sizes.ts';

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
  new RowsWriter(join(folder, 'disk.arrow'), memoryBytes === undefined ? undefined : { path: join(folder, 'memory.arrow'), bytes: memoryBytes }); // prettier-ignore
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
  expect(numbers(parts)).toEqual(Array.from({ length: 40_000 }, (_, i) => i));
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

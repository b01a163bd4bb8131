import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { checkHandoffs, fingerprintOf, handoffRef } from '../../../src/handoff/handoff-ref.ts';
import { readParquetFooter } from '../../../src/handoff/parquet-footer.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'spillway-ref-'));
  await writeFile(join(directory, 'part 0'), Buffer.alloc(10));
});
afterAll(() => rm(directory, { recursive: true }));

const ref = (file: string, bytes: number) =>
  handoffRef({
    choice: { mode: 'parquet', because: 'a test' },
    parts: [
      { kind: 'parquet', uri: pathToFileURL(join(directory, 'part 0')).href, rows: 1, bytes: 10 },
      { kind: 'parquet', uri: pathToFileURL(join(directory, file)).href, rows: 2, bytes },
    ],
    schema: [],
    host: 'here',
    fingerprint: 'f',
  });

test('rows and bytes of a handoff are those of its parts, and it survives JSON', () => {
  const built = ref('part 0', 10);
  expect(built).toMatchObject({ rows: 3, bytes: 20, mode: 'parquet', host: 'here' });
  expect(JSON.parse(JSON.stringify(built))).toEqual(built);
});

describe('checking', () => {
  test('a handoff whose files are whole passes', async () =>
    expect(await checkHandoffs({ lines: ref('part 0', 10) })).toBeUndefined());
  test.each([
    ['a missing file', 'part 1', 10, 'is gone'],
    ['a file of another size', 'part 0', 11, 'has 10 bytes instead of 11'],
  ])('%s is HandoffLost and named', async (_title, file, bytes, says) => {
    await expect(checkHandoffs({ lines: ref(file, bytes), there: ref('part 0', 10) })).rejects.toMatchObject({
      code: 'HandoffLost',
      message: expect.stringContaining(`${join(directory, file)} ${says}`),
      details: { lost: ['lines'] },
    });
  });
});

describe('fingerprints', () => {
  const of = { sql: 'select ?', params: [1], inputs: { a: 'x', b: 'y' } };
  test('are the same for the same query, whatever the order of inputs', () => {
    expect(fingerprintOf(of)).toMatch(/^[0-9a-f]{64}$/);
    expect(fingerprintOf({ ...of, inputs: { b: 'y', a: 'x' } })).toBe(fingerprintOf(of));
  });
  test.each([
    ['the query', { ...of, sql: 'select ?, 1' }],
    ['a value', { ...of, params: [2] }],
    ['the type of a value', { ...of, params: ['1'] }],
    ['an input', { ...of, inputs: { a: 'x', b: 'z' } }],
    ['the name of an input', { ...of, inputs: { a: 'x', c: 'y' } }],
  ])('change with %s', (_title, other) => expect(fingerprintOf(other)).not.toBe(fingerprintOf(of)));
});

describe('a file that is no whole Parquet file is named', () => {
  const footer = (...bytes: number[]): Buffer => {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    return Buffer.concat([Buffer.from('PAR1'), Buffer.from(bytes), length, Buffer.from('PAR1')]);
  };
  test.each<[string, Buffer]>([
    ['an empty one', Buffer.alloc(0)],
    ['one that was cut off', Buffer.from('PAR1 and then nothing')],
    [
      'one whose footer is longer than the file',
      Buffer.concat([Buffer.from('PAR1'), Buffer.from([255, 0, 0, 0]), Buffer.from('PAR1')]),
    ],
    ['one whose footer ends too early', footer(0x15)],
    ['one whose footer has no row count', footer(0x15, 2, 0)],
    ['one whose footer holds nonsense', footer(0x1e, 2, 0)],
  ])('%s', async (_title, bytes) => {
    const path = join(directory, 'broken');
    await writeFile(path, bytes);
    await expect(readParquetFooter(path)).rejects.toMatchObject({
      code: 'HandoffLost',
      message: expect.stringContaining(path),
    });
  });
  test('and a smallest possible one is read', async () => {
    const path = join(directory, 'small');
    // version 1; two schema elements named "ab" and ""; 300 rows.
    await writeFile(path, footer(0x15, 2, 0x19, 0x2c, 0x48, 2, 97, 98, 0, 0x48, 0, 0, 0x16, 0xd8, 0x04, 0));
    expect(await readParquetFooter(path)).toEqual({ rows: 300 });
  });
});

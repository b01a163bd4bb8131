import { execFile } from 'node:child_process';
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { RecordBatch } from 'apache-arrow';
import { Dictionary, Int32, Int64, Table, tableToIPC, Utf8, Vector, vectorFromArray } from 'apache-arrow';
import type { ArrowInput, ArrowSource } from '../../../../src/engines/postgres/arrow-source.ts';
import { openArrowSource } from '../../../../src/engines/postgres/arrow-source.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'spillway-arrow-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Three batches of 1000 rows, so that reading ahead into reused buffers would show. */
const batches = [0, 1000, 2000].map((first) => {
  const ids = Array.from({ length: 1000 }, (_, index) => BigInt(first + index));
  const table = new Table({
    id: vectorFromArray(ids, new Int64()),
    name: vectorFromArray(
      ids.map((id) => (id % 7n === 0n ? null : `row ${id}`)),
      new Utf8(),
    ),
  });
  return table.batches[0]!;
});
const table = new Table(batches);
const written = (format: 'file' | 'stream'): Buffer => Buffer.from(tableToIPC(table, format));

const part = (path: string): ArrowInput => [{ kind: 'arrow', uri: pathToFileURL(path).href, rows: 0, bytes: 0 }];
async function fileOf(bytes: Uint8Array): Promise<ArrowInput> {
  const path = join(folder, 'rows.arrow');
  await writeFile(path, bytes);
  return part(path);
}
async function fifo(): Promise<string> {
  const path = join(folder, 'rows.fifo');
  await promisify(execFile)('mkfifo', [path]);
  return path;
}
/** Writes all bytes to a FIFO and closes it. */
async function feed(path: string, bytes: Uint8Array): Promise<void> {
  const writer = await open(path, 'w');
  await writer.writeFile(bytes).catch(() => undefined);
  await writer.close();
}
async function rowsOf(source: ArrowSource): Promise<[bigint, string | null][]> {
  const rows: [bigint, string | null][] = [];
  try {
    for await (const batch of source.batches()) {
      const [ids, names] = batch.columns.map((data) => new Vector([data]));
      for (let row = 0; row < batch.rows; row++) rows.push([ids!.get(row) as bigint, names!.get(row) as string | null]);
    }
  } finally {
    await source.close();
  }
  return rows;
}
const expected = batches.flatMap((batch) => [...batch].map((row) => [row['id'], row['name']]));

describe.each(['file', 'stream'] as const)('an Arrow IPC %s', (format) => {
  test('gives its rows in order', async () => {
    const source = await openArrowSource(await fileOf(written(format)));
    expect(source.schema.fields.map(({ name }) => name)).toEqual(['id', 'name']);
    expect(await rowsOf(source)).toEqual(expected);
  });

  test('that is cut off anywhere is an error, never fewer rows', async () => {
    const whole = written(format);
    for (let length = 0; length < whole.length; length += length > whole.length - 40 || length < 40 ? 1 : 997) {
      const reading = openArrowSource(await fileOf(whole.subarray(0, length))).then(rowsOf);
      await expect(reading).rejects.toMatchObject({ code: 'HandoffLost' });
    }
  });

  test('with a dictionary gives its strings', async () => {
    const colours = vectorFromArray(['red', 'green', 'red', null], new Dictionary(new Utf8(), new Int32()));
    const source = await openArrowSource(
      await fileOf(
        Buffer.from(tableToIPC(new Table({ id: vectorFromArray([1n, 2n, 3n, 4n], new Int64()), colours }), format)),
      ),
    );
    expect((await rowsOf(source)).map(([, name]) => name)).toEqual(['red', 'green', 'red', null]);
  });

  test('of several parts is read one after the other', async () => {
    const paths = ['a', 'b'].map((name) => join(folder, name));
    for (const path of paths) await writeFile(path, written(format));
    const parts = paths.flatMap((path) => [...(part(path) as [])]);
    expect(await rowsOf(await openArrowSource(parts))).toEqual([...expected, ...expected]);
  });
});

test('a stream whose batches replace their dictionary gives the strings of each batch', async () => {
  const type = new Dictionary(new Utf8(), new Int32(), 7);
  const make = (values: string[]): RecordBatch =>
    new Table({
      id: vectorFromArray(
        values.map(() => 1n),
        new Int64(),
      ),
      name: vectorFromArray(values, type),
    }).batches[0]!;
  const two = new Table([make(['a', 'b']), make(['c', 'd', 'c'])]);
  const source = await openArrowSource(await fileOf(Buffer.from(tableToIPC(two, 'stream'))));
  expect((await rowsOf(source)).map(([, name]) => name)).toEqual(['a', 'b', 'c', 'd', 'c']);
});

describe('a FIFO', () => {
  test('gives the rows of the stream written to it', async () => {
    const path = await fifo();
    const feeding = feed(path, written('stream'));
    expect(await rowsOf(await openArrowSource({ fifo: path }))).toEqual(expected);
    await feeding;
  });

  test.each([
    ['before its end mark', 8],
    ['within a batch', 3000],
  ])('whose writer dies %s is an interruption', async (_title, missing) => {
    const path = await fifo();
    const whole = written('stream');
    const feeding = feed(path, whole.subarray(0, whole.length - missing));
    await expect(openArrowSource({ fifo: path }).then(rowsOf)).rejects.toMatchObject({ code: 'LoadInterrupted' });
    await feeding;
  });

  test('that nobody writes to is let go of when the signal aborts, and the reason is told', async () => {
    const path = await fifo();
    const abort = new AbortController();
    const opening = openArrowSource({ fifo: path }, abort.signal);
    setTimeout(() => abort.abort(new Error('the writer could not start')), 20);
    await expect(opening).rejects.toThrow('the writer could not start');
  });

  test('whose writer hangs is let go of by close, also while a batch is waited for', async () => {
    const path = await fifo();
    const whole = written('stream');
    const writing = open(path, 'w');
    const opening = openArrowSource({ fifo: path });
    const writer = await writing;
    const feeding = writer.write(whole.subarray(0, whole.length - 3000));
    const source = await opening;
    const reading = expect(
      (async () => {
        for await (const batch of source.batches()) expect(batch.rows).toBe(1000);
      })(),
    ).rejects.toMatchObject({ code: 'LoadInterrupted' });
    await new Promise((resolve) => setTimeout(resolve, 20));
    await source.close();
    await reading;
    await feeding.catch(() => undefined);
    await writer.close();
  });
});

test.each<[string, () => Promise<ArrowInput>, string, RegExp]>([
  [
    'parts that are not Arrow',
    () => Promise.resolve([{ kind: 'parquet', uri: 'file:///a', rows: 0, bytes: 0 }]),
    'InvalidInput',
    /is parquet; a load reads Arrow IPC/,
  ],
  ['no parts', () => Promise.resolve([]), 'InvalidInput', /without parts/],
  ['a file that is gone', () => Promise.resolve(part('/nowhere/rows.arrow')), 'HandoffLost', /cannot be opened/],
  [
    'a file of something else',
    () => fileOf(Buffer.from('id,name\n1,a\n2,b\n3,c\n4,d\n')),
    'HandoffLost',
    /is not Arrow IPC/,
  ],
])('%s are refused', async (_title, input, code, message) => {
  await expect(openArrowSource(await input())).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
});

test('a part with other columns than the first is refused', async () => {
  const paths = ['a', 'b'].map((name) => join(folder, name));
  await writeFile(paths[0]!, written('file'));
  await writeFile(paths[1]!, Buffer.from(tableToIPC(new Table({ id: vectorFromArray([1], new Int32()) }), 'file')));
  const parts = paths.flatMap((path) => [...(part(path) as [])]);
  await expect(openArrowSource(parts).then(rowsOf)).rejects.toMatchObject({
    message: expect.stringMatching(/other columns than the first part/),
  });
});

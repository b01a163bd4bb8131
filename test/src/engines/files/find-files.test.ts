import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { tableFromArrays, tableToIPC } from 'apache-arrow';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { findFiles } from '../../../../src/engines/files/find-files.ts';

let home: string;
let root: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'spillway-files-'));
  root = join(home, 'landing');
  for (const path of ['2026/11/a.csv', '2026/11/b.csv', '2026/12/c.csv', '2026/12/d.txt', 'ä b.csv', '.half.csv']) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), 'n\n1\n');
  }
});
afterEach(() => rm(home, { recursive: true, force: true }));
const names = async (...paths: string[]): Promise<string[]> =>
  (await findFiles({ root, paths, format: 'csv' })).map(({ uri }) => decodeURIComponent(basename(uri)));

test.each<[string, string[], string[]]>([
  ['one file', ['2026/11/b.csv'], ['b.csv']],
  ['files of a folder', ['2026/11/*.csv'], ['a.csv', 'b.csv']],
  ['files of all folders, not those that are just being written', ['**/*.csv'], ['a.csv', 'b.csv', 'c.csv', 'ä b.csv']],
  ['one of several names, each file once', ['2026/{11,12}/*', '2026/11/*'], ['a.csv', 'b.csv', 'c.csv', 'd.txt']],
])('finds %s, in order', async (_title, paths, found) => expect(await names(...paths)).toEqual(found));

test('says how large each is and where it lies', async () => {
  const [part] = await findFiles({ root, paths: ['2026/12/c.csv'], format: 'csv' });
  expect(part).toEqual({ kind: 'csv', uri: `file://${root}/2026/12/c.csv`, rows: 0, bytes: 4 });
});

test('counts the rows of Arrow files without reading them', async () => {
  const table = tableFromArrays({ n: Int32Array.from({ length: 1000 }, (_, i) => i), t: Array.from({ length: 1000 }, (_, i) => `${i % 3}`) }); // prettier-ignore
  await writeFile(join(root, 'rows.arrow'), tableToIPC(table, 'file'));
  expect(await findFiles({ root, paths: ['rows.arrow'], format: 'arrow' })).toMatchObject([
    { kind: 'arrow', rows: 1000 },
  ]);
});

describe('what cannot be read is said before anything runs', () => {
  test('a directory that is not there', () =>
    expect(findFiles({ root: join(home, 'nowhere'), paths: ['a'], format: 'csv' })).rejects.toMatchObject({
      code: 'InvalidInput',
      message: expect.stringMatching(/^Make the directory .*nowhere, or configure another/),
    }));
  test('no file of that name', () =>
    expect(names('2027/*.csv')).rejects.toMatchObject({ code: 'InvalidInput', message: `No file of ${root} is called 2027/*.csv.` })); // prettier-ignore
  test('a link that leads outside', async () => {
    await writeFile(join(home, 'secret.csv'), 'n\n1\n');
    await symlink(join(home, 'secret.csv'), join(root, 'link.csv'));
    await expect(names('link.csv')).rejects.toMatchObject({ code: 'InvalidInput', message: expect.stringContaining('outside of the directory') }); // prettier-ignore
  });
  test.each<['parquet' | 'arrow', (whole: Buffer) => Buffer]>([
    ['parquet', () => Buffer.from('n\n1\n')],
    ['arrow', () => Buffer.from('n\n1\n')],
    ['arrow', (whole) => whole.subarray(0, whole.length - 20)],
    ['arrow', (whole) => Buffer.concat([whole.subarray(0, 8), whole.subarray(-10)])],
  ])('a file that is not %s', async (format, make) => {
    const path = join(root, `broken.${format}`);
    await writeFile(path, tableToIPC(tableFromArrays({ n: Int32Array.of(1, 2) }), 'file'));
    await writeFile(path, make(await readFile(path)));
    await expect(findFiles({ root, paths: [`broken.${format}`], format })).rejects.toMatchObject({
      code: 'InvalidInput',
      message: expect.stringMatching(new RegExp(`^${path} cannot be read as ${format}: .* is not a whole`)),
    });
  });
});

import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { HandoffPart } from '../../../../src/contracts/handoff.ts';
import { prepareFolder, publishFolder, WRITTEN } from '../../../../src/engines/files/publish-folder.ts';
import { openScratch, type ScratchLedger } from '../../../../src/handoff/scratch-ledger.ts';
import { replacedFolder, unfinishedFolder } from '../../../../src/handoff/unfinished-folder.ts';

let home: string;
let root: string;
let scratch: ScratchLedger;
const never = new AbortController().signal;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'spillway-publish-'));
  root = join(home, 'lake');
  await mkdir(root);
  scratch = await openScratch({ root: join(home, 'scratch'), floorBytes: 0 });
});
afterEach(() => rm(home, { recursive: true, force: true }));

const attempt = (token: number, run = 'r1') => ({ run, step: 'export', token });
async function parts(...texts: string[]): Promise<HandoffPart[]> {
  return Promise.all(
    texts.map(async (text, i) => {
      const path = join(home, `${i}-${text}.parquet`);
      await writeFile(path, text);
      return { kind: 'parquet' as const, uri: pathToFileURL(path).href, rows: 1, bytes: text.length };
    }),
  );
}
async function publish(token: number, texts: string[], { run = 'r1', signal = never } = {}): Promise<void> {
  const folder = await prepareFolder(root, 'daily/28');
  await publishFolder(folder, { attempt: attempt(token, run), parts: await parts(...texts), signal });
}
/** What lies in the folder, and that nothing lies beside it. */
async function there(): Promise<string[]> {
  const folder = join(root, 'daily', '28');
  const names = (await readdir(folder)).filter((name) => name !== WRITTEN).sort();
  return Promise.all(names.map((name) => readFile(join(folder, name), 'utf8')));
}
const beside = (): Promise<string[]> => readdir(join(root, 'daily'));

test('files are there under names of their own, with who wrote them', async () => {
  await publish(1, ['a', 'b']);
  expect(await readdir(join(root, 'daily', '28'))).toEqual([WRITTEN, 'part-00000.parquet', 'part-00001.parquet']);
  expect(JSON.parse(await readFile(join(root, 'daily', '28', WRITTEN), 'utf8'))).toEqual({ version: 1, run: 'r1', step: 'export', token: 1, rows: 2, bytes: 2 }); // prettier-ignore
  expect(await beside()).toEqual(['28']);
});

test('what a step wrote before is replaced, as a whole, and again by an attempt that comes again', async () => {
  await publish(1, ['a', 'b']);
  await publish(2, ['c']);
  await publish(2, ['c']);
  expect([await there(), await beside()]).toEqual([['c'], ['28']]);
});

test('what a later attempt wrote, of any run, stays', async () => {
  await publish(9, ['new'], { run: 'r2' });
  await expect(publish(5, ['old'])).rejects.toMatchObject({ code: 'LeaseLost' });
  expect([await there(), await beside()]).toEqual([['new'], ['28']]);
});

describe('is refused, and nothing changes:', () => {
  test('a folder that no step wrote', async () => {
    await mkdir(join(root, 'daily', '28'), { recursive: true });
    await writeFile(join(root, 'daily', '28', 'mine.txt'), 'x');
    await expect(publish(1, ['a'])).rejects.toMatchObject({ code: 'InvalidInput', message: expect.stringContaining('was written by no step') }); // prettier-ignore
    expect(await there()).toEqual(['x']);
  });
  test('a path that leads outside by a link, before anything is made there', async () => {
    await mkdir(join(home, 'elsewhere'));
    await symlink(join(home, 'elsewhere'), join(root, 'daily'));
    await expect(publish(1, ['a'])).rejects.toMatchObject({ code: 'InvalidInput', message: expect.stringContaining('outside of') }); // prettier-ignore
    expect(await readdir(join(home, 'elsewhere'))).toEqual([]);
  });
  test('a directory that is not there', () =>
    expect(prepareFolder(join(home, 'nowhere'), 'x')).rejects.toMatchObject({ code: 'InvalidInput' }));
});

test('an empty folder is taken', async () => {
  await mkdir(join(root, 'daily', '28'), { recursive: true });
  await publish(1, ['a']);
  expect(await there()).toEqual(['a']);
});

test('a cancelled attempt leaves what was there, and nothing of its own', async () => {
  await publish(1, ['a']);
  await expect(publish(2, ['b'], { signal: AbortSignal.abort(new Error('cancelled')) })).rejects.toThrow();
  expect([await there(), await beside()]).toEqual([['a'], ['28']]);
});

describe('whatever died half-way is mended by the ledger', () => {
  const daily = (): string => join(root, 'daily');
  /** As an attempt does before it makes anything; then it is killed. */
  async function killed(token: number, at: 'writing' | 'between' | 'after'): Promise<void> {
    await publish(1, ['a']);
    await scratch.reserveAttempt(attempt(token), { outside: daily() });
    const making = unfinishedFolder(daily(), attempt(token));
    await mkdir(making);
    await writeFile(join(making, 'part-00000.parquet'), 'b');
    if (at === 'writing') return;
    await rename(join(daily(), '28'), replacedFolder(making, '28'));
    if (at === 'after') await rename(making, join(daily(), '28'));
  }
  test.each<['writing' | 'between' | 'after', string]>([
    ['writing', 'a'],
    ['between', 'a'],
    ['after', 'b'],
  ])('%s: the folder holds what it should', async (at, text) => {
    await killed(2, at);
    await scratch.dropLowerTokens(attempt(3)); // as the next attempt does first
    expect([await there(), await beside()]).toEqual([[text], ['28']]);
    await scratch.dropRun('r1');
    expect(await scratch.listEntries()).toEqual([]);
  });
  test('what other attempts make beside it stays', async () => {
    await killed(2, 'writing');
    await mkdir(unfinishedFolder(daily(), attempt(20)));
    await scratch.dropAttempt(attempt(2));
    expect(await beside()).toEqual([`.spillway-r1.export-20`, '28']);
  });
});

import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { CheckpointChoice, HandoffRef } from '../../../src/contracts/handoff.ts';
import { type CheckpointLimits, type Checkpoints, openCheckpoints } from '../../../src/handoff/checkpoints.ts';
import { openScratch, type ScratchLedger } from '../../../src/handoff/scratch-ledger.ts';

const OF_RUN: CheckpointChoice = { fingerprint: 'a'.repeat(64), reuse: 'run', keep: false };
const SHARED: CheckpointChoice = { ...OF_RUN, reuse: 'any-run' };
const DAY_MS = 86_400_000;

let home: string;
let scratch: ScratchLedger;
let checkpoints: Checkpoints;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'spillway-checkpoints-'));
  await open({});
});
afterEach(() => rm(home, { recursive: true, force: true }));
async function open({ floorBytes = 0, ...limits }: Partial<CheckpointLimits> & { floorBytes?: number }): Promise<void> {
  scratch = await openScratch({ root: join(home, 'scratch'), floorBytes });
  checkpoints = openCheckpoints(scratch, { limitBytes: 1000, ttlMs: 7 * DAY_MS, ...limits });
}

/** Rows that an attempt has written, in two files. */
async function written(
  run: string,
  step = 'made',
  bytes = 10,
): Promise<{ run: string; step: string; token: number; ref: HandoffRef }> {
  // prettier-ignore
  const attempt = { run, step, token: 7 };
  const { directory } = await scratch.reserveAttempt(attempt);
  const parts: HandoffRef['parts'] = [];
  for (const name of ['a', 'b']) {
    await mkdir(join(directory, name), { recursive: true });
    const path = join(directory, name, 'rows.parquet'); // alike in name
    await writeFile(path, `${run}/${step}/${name}`.padEnd(bytes / 2));
    parts.push({ kind: 'parquet', uri: pathToFileURL(path).href, rows: 2, bytes: bytes / 2 });
  }
  const ref: HandoffRef = { mode: 'parquet', because: 'a test', parts, schema: [{ name: 'n', type: 'Int32', nullable: true }], rows: 4, bytes, host: 'h', fingerprint: 'f' }; // prettier-ignore
  return { ...attempt, ref };
}
async function kept(run: string, choice = OF_RUN, step = 'made', bytes = 20): Promise<string | undefined> {
  const { ref, ...attempt } = await written(run, step, bytes);
  const because = await checkpoints.keep(attempt, ref, choice);
  await scratch.dropRun(run); // the run has ended
  return because;
}
const found = (run: string, choice = OF_RUN, token = 9): Promise<HandoffRef | undefined> =>
  checkpoints.find({ run, step: 'made', token }, choice);
const readAll = (ref: HandoffRef): Promise<string[]> =>
  Promise.all(ref.parts.map(({ uri }) => readFile(fileURLToPath(uri), 'utf8')));
const folder = (): string => join(scratch.root, 'checkpoints');
const unused = async (id: string, forMs: number): Promise<void> => {
  const then = new Date(Date.now() - forMs);
  await utimes(join(folder(), id, 'manifest.json'), then, then);
};

test('rows that were kept are found again, whole, as files of the run that looks', async () => {
  expect(await kept('r1')).toBeUndefined();
  const ref = (await found('r1'))!;
  expect(await readAll(ref)).toEqual(['r1/made/a ', 'r1/made/b ']);
  expect(ref).toMatchObject({ mode: 'parquet', rows: 4, bytes: 20, schema: [{ name: 'n' }] });
  expect(ref.because).toMatch(/^found as a checkpoint that this run made at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  expect(fileURLToPath(ref.parts[0]!.uri)).toBe(
    join(scratch.root, 'runs', 'r1', 'made-9', 'out', 'part-00000.parquet'),
  );
  expect(await scratch.listEntries()).toMatchObject([{ run: 'r1', step: 'made', token: 9, sealedBytes: expect.any(Number) }]); // prettier-ignore
  await scratch.dropRun('r1');
  expect(await found('r1')).toBeDefined();
});

test('another run, another step, other rows are not found', async () => {
  await kept('r1');
  expect(await found('r2')).toBeUndefined();
  expect(await found('r1', { ...OF_RUN, fingerprint: 'b'.repeat(64) })).toBeUndefined();
  expect(await checkpoints.find({ run: 'r1', step: 'other', token: 9 }, OF_RUN)).toBeUndefined();
  expect(await scratch.listEntries()).toEqual([]);
});

test('those for any run are found by every run, and stay when one has ended', async () => {
  await kept('r1', SHARED);
  expect((await found('r2', SHARED))!.because).toContain('that run r1 made');
  await checkpoints.dropRun('r1');
  await checkpoints.dropRun('r2');
  expect(await found('r3', SHARED)).toBeDefined();
});

test('a run that has ended well takes its own along, but for those that are to be kept', async () => {
  await kept('r1');
  await kept('r1', { ...OF_RUN, fingerprint: 'b'.repeat(64), keep: true });
  await kept('r10');
  await checkpoints.dropRun('r1');
  expect((await checkpoints.list()).map(({ id }) => id).sort()).toEqual([`r1.made.${'b'.repeat(16)}`, `r10.made.${'a'.repeat(16)}`]); // prettier-ignore
});

describe('a checkpoint that goes', () => {
  test('takes no rows from those who found it', async () => {
    await kept('r1');
    const ref = (await found('r1'))!;
    expect(await checkpoints.remove(`r1.made.${'a'.repeat(16)}`)).toBe(true);
    expect(await readAll(ref)).toHaveLength(2);
    expect(await readdir(folder())).toEqual([]);
    expect(await checkpoints.remove(`r1.made.${'a'.repeat(16)}`)).toBe(false);
  });
  test.each(['../runs', '.', '..', 'a/b', ''])('is none of ours: %p', async (id) =>
    expect(await checkpoints.remove(id)).toBe(false),
  );
});

test.each<[string, (path: string) => Promise<unknown>]>([
  ['without one of its files', (path) => rm(join(path, 'part-00001.parquet'))],
  ['with a file that was cut off', (path) => writeFile(join(path, 'part-00000.parquet'), 'x')],
  ['with a manifest that is none', (path) => writeFile(join(path, 'manifest.json'), '{')],
])('one %s is not found, and can be made again', async (_title, break_) => {
  await kept('r1');
  await break_(join(folder(), `r1.made.${'a'.repeat(16)}`));
  expect(await found('r1')).toBeUndefined();
  await rm(join(folder(), `r1.made.${'a'.repeat(16)}`), { recursive: true, force: true });
  await kept('r1');
  expect(await readAll((await found('r1'))!)).toEqual(['r1/made/a ', 'r1/made/b ']);
});

test('the same rows kept twice, at once too, are one checkpoint', async () => {
  const one = await written('r1');
  const two = { ...one, token: 8 };
  await Promise.all([one, two].map(({ ref, ...attempt }) => checkpoints.keep(attempt, ref, OF_RUN)));
  await checkpoints.keep(one, one.ref, OF_RUN);
  expect(await readdir(folder())).toEqual([`r1.made.${'a'.repeat(16)}`]);
});

describe('the limit', () => {
  beforeEach(() => open({ limitBytes: 50 }));
  test('holds: those not used for longest go', async () => {
    await kept('r1');
    await kept('r2');
    await unused(`r1.made.${'a'.repeat(16)}`, 2000);
    await unused(`r2.made.${'a'.repeat(16)}`, 1000);
    await found('r1'); // used just now
    await kept('r3');
    expect((await checkpoints.list()).map(({ run }) => run).sort()).toEqual(['r1', 'r3']);
  });
  test('is said of one that is larger, and nothing goes for it', async () => {
    await kept('r1');
    expect(await kept('r2', OF_RUN, 'made', 60)).toBe('60 B is more than checkpoints.limit, 50 B');
    expect(await found('r1')).toBeDefined();
  });
});

describe('sweeping', () => {
  test('removes what was not used for long, and it is not found before either', async () => {
    await kept('r1');
    await kept('r2');
    await unused(`r1.made.${'a'.repeat(16)}`, 8 * DAY_MS);
    expect(await found('r1')).toBeUndefined();
    expect((await checkpoints.sweep({ dryRun: true })).removed).toMatchObject([{ bytes: 20, because: 'not used for 168 hours' }]); // prettier-ignore
    expect(await checkpoints.list()).toHaveLength(2);
    await checkpoints.sweep();
    expect((await checkpoints.list()).map(({ run }) => run)).toEqual(['r2']);
  });
  test('removes all while the disk is full', async () => {
    await kept('r1');
    await open({ floorBytes: Number.MAX_SAFE_INTEGER });
    expect((await checkpoints.sweep()).removed).toMatchObject([{ because: 'the disk is full' }]);
    expect(await checkpoints.list()).toEqual([]);
  });
  test('leaves alone what is just being made, and what runs have', async () => {
    await kept('r1');
    await mkdir(join(folder(), '.r9.made-1'));
    const { ref } = await written('r2');
    expect((await checkpoints.sweep()).removed).toEqual([]);
    expect(existsSync(fileURLToPath(ref.parts[0]!.uri))).toBe(true);
  });
});

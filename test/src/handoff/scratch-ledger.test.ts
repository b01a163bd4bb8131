import { access, mkdir, mkdtemp, readFile, readdir, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { spawnSync } from 'node:child_process';
import { basename, dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { Attempt } from '../../../src/handoff/attempt.ts';
import { sweepScratch } from '../../../src/handoff/janitor.ts';
import { openScratch } from '../../../src/handoff/scratch-ledger.ts';
import type { ScratchLedger } from '../../../src/handoff/scratch-ledger.ts';
import { removeWithin } from '../../../src/handoff/within-root.ts';

let root: string;
let scratch: ScratchLedger;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'spillway-scratch-'));
  scratch = await openScratch({ root, floorBytes: 0 });
});
afterEach(() => rm(root, { recursive: true, force: true }));

const attempt = (step: string, token: number, run = 'run-1'): Attempt => ({ run, step, token });
const there = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );
const ledger = (): Promise<string[]> => readdir(join(root, 'ledger')).then((names) => names.sort());
async function write(of: Attempt, bytes: number): Promise<string> {
  const entry = await scratch.reserveAttempt(of);
  await writeFile(join(entry.directory, 'part-0'), Buffer.alloc(bytes));
  return entry.directory;
}

describe('rows in memory', () => {
  let memoryRoot: string;
  let kept: ScratchLedger;
  beforeEach(async () => {
    memoryRoot = join(await mkdtemp(join(tmpdir(), 'spillway-memory-')), 'root');
    kept = await openScratch({ root, floorBytes: 0, memoryRoot });
  });
  afterEach(() => rm(dirname(memoryRoot), { recursive: true, force: true }));
  const keep = async (of: Attempt, bytes: number): Promise<string> => {
    await kept.reserveAttempt(of, { inMemory: true });
    const path = join(kept.memoryDirectory(of), 'part-00000.arrow');
    await writeFile(path, Buffer.alloc(bytes));
    return path;
  };

  test('lie under a root of their own, which is there as long as they are, and go with everything of their attempt', async () => {
    const path = await keep(attempt('lines', 1), 10);
    expect(path).toBe(join(memoryRoot, 'runs/run-1/lines-1/part-00000.arrow'));
    await keep(attempt('lines', 2), 1);
    await writeFile(join(root, 'runs/run-1/lines-1/spill'), Buffer.alloc(5));
    expect((await kept.dropLowerTokens(attempt('lines', 2))).bytes).toBe(15);
    expect(await there(dirname(path))).toBe(false);
    expect((await kept.dropRun('run-1')).bytes).toBe(1);
    expect([await there(memoryRoot), await ledger()]).toEqual([false, []]);
  });

  test('are swept with the run that is over, and without one too', async () => {
    await keep(attempt('lines', 1), 10);
    const orphan = await keep(attempt('old', 1, 'run-2'), 4);
    await rm(join(root, 'ledger/run-2.old-1.json'));
    await rm(join(root, 'runs/run-2'), { recursive: true });
    const { removed } = await sweepScratch(kept, { liveRuns: [], listedAtMs: Date.now() + 1000, orphanAgeMs: 0 });
    expect(removed.map(({ bytes, because }) => [bytes, because])).toEqual([
      [10, 'run run-1 is not open'],
      [4, 'no entry in the ledger'],
      [0, 'empty'],
    ]);
    expect(await there(orphan)).toBe(false);
  });

  test('need room and a root that is ours, not a link that somebody laid there first', async () => {
    expect(await kept.memoryFreeBytes()).toBeGreaterThan(0);
    expect(await scratch.memoryFreeBytes()).toBe(0);
    expect(() => scratch.memoryDirectory(attempt('lines', 1))).toThrow(TypeError);
    await symlink(root, memoryRoot);
    expect(await kept.memoryFreeBytes()).toBe(0);
  });
});

describe('reserving', () => {
  test('writes the attempt down and makes its directory', async () => {
    const entry = await scratch.reserveAttempt(attempt('lines', 7), { scratchBytes: 5 });
    expect(entry).toMatchObject({
      run: 'run-1',
      step: 'lines',
      token: 7,
      scratchBytes: 5,
      directory: join(root, 'runs/run-1/lines-7'),
    });
    expect(await there(entry.directory)).toBe(true);
    expect(JSON.parse(await readFile(join(root, 'ledger/run-1.lines-7.json'), 'utf8'))).toEqual(entry);
  });

  test('leaves the directory to writers that make it', async () => {
    const entry = await scratch.reserveAttempt(attempt('lines', 1), { makeDirectory: false });
    expect([await there(entry.directory), await ledger()]).toEqual([false, ['run-1.lines-1.json']]);
  });

  test('twice, and by many at once, changes nothing', async () => {
    const first = await scratch.reserveAttempt(attempt('lines', 1));
    expect(await scratch.reserveAttempt(attempt('lines', 1))).toEqual(first);
    const all = await Promise.all(Array.from({ length: 8 }, () => scratch.reserveAttempt(attempt('other', 1))));
    expect(new Set(all.map((entry) => entry.directory)).size).toBe(1);
    expect(await ledger()).toEqual(['run-1.lines-1.json', 'run-1.other-1.json']);
  });

  test.each<[string, number, number]>([
    ['an ask larger than the disk', 0, Number.MAX_SAFE_INTEGER],
    ['a disk below its floor', Number.MAX_SAFE_INTEGER, 0],
  ])('%s is ScratchFull, with both numbers, and leaves nothing', async (_title, floorBytes, scratchBytes) => {
    const full = await openScratch({ root, floorBytes });
    await expect(full.reserveAttempt(attempt('lines', 1), { scratchBytes })).rejects.toMatchObject({
      code: 'ScratchFull',
      details: { scratchBytes, floorBytes },
    });
    expect(await ledger()).toEqual([]);
  });

  test('names that would climb out of the root stay in it', async () => {
    const entry = await scratch.reserveAttempt({ run: '../../etc', step: '../x', token: 1 });
    expect(entry.directory.startsWith(`${root}/runs/`)).toBe(true);
    expect(entry).toMatchObject({ run: '../../etc', step: '../x' });
    await scratch.dropRun('../../etc');
    expect(await there(entry.directory)).toBe(false);
  });

  test('a link in the root that leads elsewhere is refused, for making and for removing', async () => {
    const outside = await mkdtemp(join(tmpdir(), 'spillway-outside-'));
    try {
      await writeFile(join(outside, 'precious-1'), 'x');
      await symlink(outside, join(root, 'runs', 'run-1'));
      await expect(scratch.reserveAttempt(attempt('lines', 1))).rejects.toMatchObject({ code: 'InvalidInput' });
      await expect(scratch.dropAttempt(attempt('precious', 1))).rejects.toMatchObject({ code: 'InvalidInput' });
      await expect(removeWithin(root, join(outside, 'precious-1'))).rejects.toMatchObject({ code: 'InvalidInput' });
      expect(await there(join(outside, 'precious-1'))).toBe(true);
    } finally {
      await rm(outside, { recursive: true });
    }
  });
});

describe('sealing', () => {
  test('records the bytes on disk', async () => {
    await write(attempt('lines', 1), 1234);
    expect(await scratch.sealAttempt(attempt('lines', 1))).toMatchObject({ sealedBytes: 1234 });
    expect(await scratch.listEntries()).toMatchObject([{ step: 'lines', sealedBytes: 1234 }]);
  });
  test('an attempt that was dropped meanwhile is lost', async () => {
    await expect(scratch.sealAttempt(attempt('lines', 1))).rejects.toMatchObject({ code: 'HandoffLost' });
  });
});

describe('dropping', () => {
  test('lower tokens of a step leaves its own, later ones and other steps', async () => {
    for (const [step, token] of [
      ['a', 1],
      ['a', 2],
      ['a', 3],
      ['a', 10],
      ['ab', 1],
      ['a-1', 1],
    ] as const)
      await write(attempt(step, token), 10);
    const dropped = await scratch.dropLowerTokens(attempt('a', 3));
    expect(dropped.bytes).toBe(20);
    expect((await readdir(join(root, 'runs/run-1'))).sort()).toEqual(['a-1-1', 'a-10', 'a-3', 'ab-1']);
    expect(await scratch.dropLowerTokens(attempt('a', 3))).toEqual({ bytes: 0, directories: [] });
  });

  test('what an attempt wrote for other steps goes with that attempt alone', async () => {
    for (const [step, token, within] of [
      ['a', 2, undefined],
      ['b', 2, 'a'],
      ['c', 2, 'a'],
      ['b', 1, 'a'],
      ['d', 2, 'x'],
    ] as const)
      await scratch.reserveAttempt(attempt(step, token), within === undefined ? {} : { within });
    // Rows that are there go on being there when their writer's step is computed again.
    await scratch.dropLowerTokens(attempt('a', 3));
    expect((await readdir(join(root, 'runs/run-1'))).sort()).toEqual(['b-1', 'b-2', 'c-2', 'd-2']);
    expect((await scratch.dropBeside(attempt('a', 2))).directories).toHaveLength(2);
    expect((await readdir(join(root, 'runs/run-1'))).sort()).toEqual(['b-1', 'd-2']);
    expect(await scratch.dropBeside({ ...attempt('a', 1), run: 'run-2' })).toEqual({ bytes: 0, directories: [] });
  });

  test('steps drops all their attempts', async () => {
    for (const [step, token] of [
      ['a', 1],
      ['a', 2],
      ['b', 1],
      ['C d', 1],
    ] as const)
      await write(attempt(step, token), 1);
    expect((await scratch.dropSteps('run-1', ['a', 'C d'])).directories).toHaveLength(3);
    expect(await ledger()).toEqual(['run-1.b-1.json']);
  });

  test('a run drops everything of it, also what has no entry, and nothing of others', async () => {
    const mine = await write(attempt('a', 1), 5);
    await mkdir(join(root, 'runs/run-1/odd name'), { recursive: true });
    await writeFile(join(root, 'runs/run-1/odd name/f'), 'abc');
    const other = await write(attempt('a', 1, 'run-11'), 5);
    expect((await scratch.dropRun('run-1')).bytes).toBe(8);
    expect([await there(mine), await there(join(root, 'runs/run-1')), await there(other)]).toEqual([
      false,
      false,
      true,
    ]);
    expect(await ledger()).toEqual(['run-11.a-1.json']);
  });

  test('also finds what only the ledger or only the disk knows', async () => {
    await scratch.reserveAttempt(attempt('a', 1), { makeDirectory: false });
    await mkdir(join(root, 'runs/run-1/b-1'), { recursive: true });
    await scratch.dropSteps('run-1', ['a', 'b']);
    expect([await ledger(), await readdir(join(root, 'runs'))]).toEqual([[], []]);
  });

  test('by many at once, with writers beside them, does no harm', async () => {
    for (let token = 0; token < 10; token += 1) await write(attempt('a', token), 10);
    const drops = Array.from({ length: 4 }, () => scratch.dropLowerTokens(attempt('a', 10)));
    const writes = Array.from({ length: 4 }, (_, index) => write(attempt('b', index), 1));
    const dropped = await Promise.all(drops);
    await Promise.all(writes);
    expect(dropped.reduce((sum, one) => sum + one.directories.length, 0)).toBeGreaterThanOrEqual(10);
    expect((await readdir(join(root, 'runs/run-1'))).sort()).toEqual(['b-0', 'b-1', 'b-2', 'b-3']);
  });
});

test('bytes are those on disk now, of an attempt or of a run', async () => {
  await write(attempt('a', 1), 100);
  await write(attempt('b', 1), 11);
  expect(
    await Promise.all([
      scratch.bytesOf(attempt('a', 1)),
      scratch.bytesOf({ run: 'run-1' }),
      scratch.bytesOf({ run: 'none' }),
    ]),
  ).toEqual([100, 111, 0]);
});

describe('the janitor', () => {
  const age = (path: string): Promise<void> => utimes(path, 1000, 1000);
  // Change times cannot be set back: ages are tested with an age of 0.
  const sweep = (options: Partial<Parameters<typeof sweepScratch>[1]> = {}) =>
    sweepScratch(scratch, { liveRuns: ['Live Run'], listedAtMs: Date.now() + 1000, orphanAgeMs: 0, ...options });

  test('removes what belongs to no live run, and says what', async () => {
    const dead = await write(attempt('a', 1, 'dead'), 7);
    const live = await write(attempt('a', 1, 'Live Run'), 7);
    const { removed, failed } = await sweep();
    expect(failed).toEqual([]);
    expect(removed).toEqual([{ path: dead, bytes: 7, because: 'run dead is not open' }]);
    expect([await there(dead), await there(live), (await ledger()).length]).toEqual([false, true, 1]);
    expect((await sweep()).removed).toEqual([]);
  });

  test('only says so on a dry run', async () => {
    const dead = await write(attempt('a', 1, 'dead'), 7);
    expect((await sweep({ dryRun: true })).removed.map((swept) => swept.path)).toContain(dead);
    expect(await there(dead)).toBe(true);
  });

  test('spares what was reserved after the live runs were listed', async () => {
    const before = Date.now();
    const fresh = await write(attempt('a', 1, 'new'), 7);
    expect((await sweep({ listedAtMs: before, orphanAgeMs: 60_000 })).removed).toEqual([]);
    expect(await there(fresh)).toBe(true);
  });

  test('removes directories without an entry, empty runs and broken entries, once they are old', async () => {
    await mkdir(join(root, 'runs/gone/a-1'), { recursive: true });
    await mkdir(join(root, 'runs/empty'));
    await writeFile(join(root, 'ledger/x.json'), '{');
    await writeFile(join(root, 'ledger/y.tmp'), '');
    await age(join(root, 'ledger/x.json'));
    expect((await sweep({ orphanAgeMs: 60_000 })).removed).toEqual([]);
    await new Promise((resolve) => setTimeout(resolve, 20));
    const { removed } = await sweep();
    const paths = removed.map(({ path }) => path.slice(root.length + 1));
    expect(paths).toEqual(expect.arrayContaining(['ledger/x.json', 'ledger/y.tmp', 'runs/empty', 'runs/gone/a-1']));
    await new Promise((resolve) => setTimeout(resolve, 20));
    await sweep();
    expect([await readdir(join(root, 'runs')), await ledger()]).toEqual([[], []]);
  });

  test('removes an entry whose writer was killed while it wrote, long before it is old', async () => {
    const gone = spawnSync('true').pid;
    for (const pid of [gone, process.pid]) await writeFile(join(root, `ledger/dead.a-1.json.${pid}-1.tmp`), '');
    expect((await sweep({ orphanAgeMs: 3_600_000 })).removed).toEqual([]); // of a process that we cannot see, perhaps
    const later = jest.spyOn(Date, 'now').mockReturnValue(Date.now() + 11_000);
    const { removed } = await sweep({ orphanAgeMs: 3_600_000 }).finally(() => later.mockRestore());
    expect(removed.map(({ path }) => basename(path))).toEqual([`dead.a-1.json.${gone}-1.tmp`]);
  });

  test('never follows a path that an entry names', async () => {
    const entry = await scratch.reserveAttempt(attempt('a', 1, 'dead'));
    const outside = await mkdtemp(join(tmpdir(), 'spillway-outside-'));
    try {
      await writeFile(
        join(root, 'ledger/dead.a-1.json'),
        JSON.stringify({ ...entry, directory: outside, run: '../../..', step: '..' }),
      );
      await sweep();
      expect(await there(outside)).toBe(true);
    } finally {
      await rm(outside, { recursive: true });
    }
  });

  test('two at once remove everything once', async () => {
    for (let step = 0; step < 10; step += 1) await write(attempt(`s${step}`, 1, 'dead'), 1);
    const [one, two] = await Promise.all([sweep(), sweep()]);
    expect([...one.failed, ...two.failed]).toEqual([]);
    expect(await ledger()).toEqual([]);
  });
});

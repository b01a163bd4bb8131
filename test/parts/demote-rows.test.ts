import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { HandoffRef } from '../../src/contracts/handoff.ts';
import { demoteRows } from '../../src/handoff/demote-rows.ts';
import { checkHandoffs } from '../../src/handoff/handoff-ref.ts';
import { useRows } from '../../src/handoff/read-rows.ts';
import { markDemoting, unmarkDemoting } from '../../src/handoff/row-marks.ts';
import { openScratch, type ScratchLedger } from '../../src/handoff/scratch-ledger.ts';
import { isOpenAnywhere } from '../../src/host/open-files.ts';

const ROWS = { run: 'r1', step: 'made', token: 7 };
const READER = { run: 'r1', step: 'load', token: 9 };
const TEXT = 'rows of a step';
const never = new AbortController().signal;

let home: string;
let scratch: ScratchLedger;
let file: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'spillway-demote-'));
  await mkdir(join(home, 'tmpfs'));
  await open();
  await scratch.reserveAttempt(ROWS, { inMemory: true });
  file = join(scratch.memoryDirectory(ROWS), 'part-00000.arrow');
  await writeFile(file, TEXT);
});
afterEach(() => rm(home, { recursive: true, force: true }));

async function open(floorBytes = 0): Promise<void> {
  scratch = await openScratch({ root: join(home, 'scratch'), memoryRoot: join(home, 'tmpfs', 'rows'), floorBytes });
}
const refTo = (path: string): HandoffRef => ({
  ...{ mode: 'shm', because: '', schema: [], rows: 1, bytes: TEXT.length, host: 'h', fingerprint: 'f' },
  parts: [{ kind: 'arrow', uri: pathToFileURL(path).href, rows: 1, bytes: TEXT.length, inMemory: true }],
});
const using = () => useRows(scratch, { from: refTo(file) }, READER, never);
/** Where a reader finds them. */
async function found(): Promise<{ path: string; inMemory?: true }> {
  const { inputs, release } = await using();
  const [{ uri, inMemory }] = inputs['from']!.parts as [HandoffRef['parts'][number]];
  await release();
  return { path: fileURLToPath(uri), ...(inMemory && { inMemory }) };
}

test('rows go to scratch, whole, and are read there; nothing is left in memory', async () => {
  expect(await found()).toEqual({ path: file, inMemory: true });
  expect(await demoteRows(scratch, ROWS, true)).toEqual({ outcome: 'moved', scratchBytes: TEXT.length, because: '14 B went to disk' }); // prettier-ignore
  const { path, inMemory } = await found();
  expect([await readFile(path, 'utf8'), inMemory]).toEqual([TEXT, undefined]);
  expect(path.startsWith(join(scratch.root, 'runs', 'r1', 'made-7'))).toBe(true);
  expect(await readdir(join(home, 'tmpfs'))).toEqual([]);
  await scratch.dropRun('r1');
  expect(existsSync(path)).toBe(false);
});

test('what is asked twice is done once, and answered alike', async () => {
  await demoteRows(scratch, ROWS, true);
  // Even with no scratch for them any more: they are there.
  expect(await demoteRows(scratch, ROWS, true)).toMatchObject({ outcome: 'moved', scratchBytes: TEXT.length }); // prettier-ignore
});

test('rows for which there is no scratch are dropped, and their reader misses them', async () => {
  expect(await demoteRows(scratch, ROWS, false)).toEqual({ outcome: 'dropped', scratchBytes: 0, because: 'there is no scratch for them' }); // prettier-ignore
  const { inputs, release } = await using();
  await expect(checkHandoffs(inputs)).rejects.toMatchObject({ code: 'HandoffLost' });
  await release();
});

test('a disk that is full below its floor drops them', async () => {
  await open(2 ** 60);
  expect(await demoteRows(scratch, ROWS, true)).toMatchObject({ outcome: 'dropped', because: expect.stringContaining('free above the floor') }); // prettier-ignore
  expect(existsSync(file)).toBe(false);
});

test('rows that were dropped do not come back', async () => {
  await scratch.dropRun('r1');
  expect(await demoteRows(scratch, ROWS, true)).toMatchObject({ outcome: 'dropped', scratchBytes: 0 });
  expect(await readdir(join(scratch.root, 'runs'))).toEqual([]);
  await (await using()).release();
  expect(await readdir(join(scratch.root, 'runs'))).toEqual([]);
});

test('rows whose directory on scratch is gone do not stay in memory', async () => {
  await rm(join(scratch.root, 'runs'), { recursive: true });
  await mkdir(join(scratch.root, 'runs'));
  expect(await demoteRows(scratch, ROWS, true)).toMatchObject({ outcome: 'dropped', scratchBytes: 0 });
  expect(existsSync(file)).toBe(false);
  expect(await readdir(join(scratch.root, 'runs'))).toEqual([]);
});

describe('while somebody reads them', () => {
  test('they stay; afterwards they go', async () => {
    const { release } = await using();
    expect(await demoteRows(scratch, ROWS, true, 0)).toMatchObject({ outcome: 'busy', scratchBytes: 0 });
    expect(existsSync(file)).toBe(true);
    await release();
    expect(await demoteRows(scratch, ROWS, true)).toMatchObject({ outcome: 'moved' });
  });

  test('they are waited for a while, and go once they were read', async () => {
    const { release } = await using();
    const demoting = demoteRows(scratch, ROWS, true, 30_000);
    await sleep(300);
    expect(existsSync(file)).toBe(true);
    expect(await found()).toMatchObject({ inMemory: true }); // others may read them meanwhile
    await release();
    expect(await demoting).toMatchObject({ outcome: 'moved' });
  });

  test('marks of a process that is gone count for nothing', async () => {
    const marks = join(scratch.root, scratch.relativeDirectory(ROWS), 'marks');
    await mkdir(marks);
    await writeFile(join(marks, 'reading.load-9.4194305.1'), '');
    await writeFile(join(marks, 'demoting.4194305.1'), '');
    await (await using()).release();
    expect(await demoteRows(scratch, ROWS, true)).toMatchObject({ outcome: 'moved' });
  });

  test('an orphan that has them open keeps them there: their bytes would not come free', async () => {
    const orphan = spawn('tail', ['-f', file], { stdio: ['ignore', 'pipe', 'ignore'] });
    await once(orphan.stdout, 'data');
    expect(await demoteRows(scratch, ROWS, true, 0)).toMatchObject({
      outcome: 'busy',
      because: 'a process has them open',
    });
    expect(await found()).toMatchObject({ inMemory: true });
    expect(await readdir(join(scratch.root, scratch.relativeDirectory(ROWS)))).toEqual(['marks']);
    orphan.kill('SIGKILL');
    await once(orphan, 'exit');
    expect(await demoteRows(scratch, ROWS, true)).toMatchObject({ outcome: 'moved' });
  });

  test('a reader that comes while they go waits, and reads them from disk', async () => {
    await markDemoting(scratch, ROWS);
    let path: string | undefined;
    const reading = found().then((where) => (path = where.path));
    await sleep(150);
    expect(path).toBeUndefined();
    await unmarkDemoting(scratch, ROWS);
    await demoteRows(scratch, ROWS, true);
    expect(await readFile(await reading, 'utf8')).toBe(TEXT);
  });

  test('a reader that is cancelled waits no longer', async () => {
    await markDemoting(scratch, ROWS);
    const stopping = new AbortController();
    const reading = useRows(scratch, { from: refTo(file) }, READER, stopping.signal);
    stopping.abort();
    await expect(reading).rejects.toMatchObject({ name: 'AbortError' });
    await unmarkDemoting(scratch, ROWS);
  });
});

test('a file is open where a process has it mapped, by that name or another', async () => {
  expect(await isOpenAnywhere(file)).toBe(false);
  const mapping = 'import mmap,sys,time; f=open(sys.argv[1],"rb"); m=mmap.mmap(f.fileno(),0,prot=mmap.PROT_READ); f.close(); print("ready",flush=True); time.sleep(60)'; // prettier-ignore
  const holder = spawn('python3', ['-c', mapping, file], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(holder.stdout, 'data');
  expect(await isOpenAnywhere(file)).toBe(true);
  holder.kill('SIGKILL');
  await once(holder, 'exit');
  expect(await isOpenAnywhere(file)).toBe(false);
});

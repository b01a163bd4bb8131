import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Int64, RecordBatchFileWriter, Table, tableFromIPC, vectorFromArray } from 'apache-arrow';
import { listTransforms, runTransform, type TransformResult } from '../../src/engines/transform/run-transform.ts';
import { heldBytesOf } from '../../src/host/process-memory.ts';
import { endTransforms } from '../../src/engines/transform/transform-processes.ts';

const MODULE = fileURLToPath(new URL('transforms-of-test.ts', import.meta.url));
const MiB = 2 ** 20;
let folder: string;
let token = 0;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-transform-'));
  token += 1;
});
afterEach(async () => {
  expect(await endTransforms({ run: folder })).toBe(0); // whatever happened, the process is gone
  rmSync(folder, { recursive: true });
});

/** Writes an Arrow file with numbers from 0, in batches of the given sizes. */
function input(...sizes: number[]): string {
  let n = 0;
  const batches = sizes.flatMap(
    (size) =>
      new Table({ n: vectorFromArray(Array.from({ length: size }, () => BigInt(n++)), new Int64()) }).batches, // prettier-ignore
  );
  const file = join(folder, 'in.arrow');
  const empty = new Table({ n: vectorFromArray([] as bigint[], new Int64()) });
  writeFileSync(file, RecordBatchFileWriter.writeAll(sizes.length > 0 ? batches : empty).toUint8Array(true));
  return file;
}

const run = (
  transform: string,
  file: string | string[],
  more: { args?: Record<string, unknown>; limitBytes?: number; scratchBytes?: number; batchRows?: number; signal?: AbortSignal } = {}, // prettier-ignore
): Promise<TransformResult> => {
  const {
    signal = new AbortController().signal,
    args = { prefix: '' },
    limitBytes = 512 * MiB,
    scratchBytes = 64 * MiB,
  } = more;
  return runTransform({
    ...{ run: folder, step: 'clean', token },
    order: {
      kind: 'run',
      ...{ module: MODULE, transform, args, run: folder, step: 'clean', limitBytes, scratchBytes },
      input: { files: [file].flat() },
      writeTo: { disk: join(folder, 'out.arrow') },
      batchRows: more.batchRows ?? 1000,
    },
    signal,
  });
};

const written = () => tableFromIPC(readFileSync(join(folder, 'out.arrow')));

describe('a transform that goes well', () => {
  test('adds a column to every row, and says what it made', async () => {
    const made = await run('twice', input(2500, 10), { args: { prefix: '#' } });
    expect(made).toMatchObject({ rowsIn: 2510, rows: 2510, readAll: true, proof: { kind: 'exited', bytesLeft: 0 } });
    expect(made.schema).toEqual([
      { name: 'n', type: 'Int64', nullable: true },
      { name: 'text', type: 'Utf8', nullable: true },
    ]);
    const rows = written();
    expect(rows.numRows).toBe(2510);
    expect(rows.get(2509)!.toJSON()).toEqual({ n: 2509n, text: '#5018' });
    expect(made.peakBytes).toBeGreaterThan(20 * MiB);
    expect(readdirSync(folder).sort()).toEqual(['in.arrow', 'out.arrow']);
  });

  test('gets batches of at most the rows that were asked for', async () => {
    await run('rowsOfBatches', input(2500, 10), { batchRows: 1000 });
    expect(Array.from(written().getChild('rows')!)).toEqual([1000, 1000, 500, 10]);
  });

  test('of no rows sees one empty batch, so that its columns are known', async () => {
    const made = await run('twice', input());
    expect([made.rows, made.schema.map(({ name }) => name)]).toEqual([0, ['n', 'text']]);
    expect(written().schema.fields.map(({ name }) => name)).toEqual(['n', 'text']);
  });

  test('may have had enough before its input ends', async () => {
    expect(await run('firstOnly', input(10, 10))).toMatchObject({ rows: 10, readAll: false });
  });
});

test('ten times the rows take no more memory, in its process or in ours', async () => {
  // 64 batches of 1 MiB, read again and again: 0.5 GiB and 5 GiB.
  const file = join(folder, 'in.arrow');
  const batch = new Table({ x: vectorFromArray(new Float64Array(MiB / 8).fill(0.5)) }).batches[0]!;
  writeFileSync(file, RecordBatchFileWriter.writeAll(Array.from({ length: 64 }, () => batch)).toUint8Array(true));
  const streamed = async (times: number): Promise<{ theirs: number; ours: number }> => {
    let ours = 0;
    const look = setInterval(() => (ours = Math.max(ours, heldBytesOf(process.pid))), 50);
    try {
      const made = await run(
        'sums',
        Array.from({ length: times }, () => file),
        { batchRows: MiB },
      );
      expect([made.rowsIn, made.rows]).toEqual([(times * 64 * MiB) / 8, times * 64]);
      return { theirs: made.peakBytes, ours };
    } finally {
      clearInterval(look);
      rmSync(join(folder, 'out.arrow'));
    }
  };
  const [some, many] = [await streamed(8), await streamed(80)];
  expect(many.theirs - some.theirs).toBeLessThan(64 * MiB);
  expect(many.ours - some.ours).toBeLessThan(64 * MiB);
}, 120_000);

describe('a transform that does not go well says why, and leaves nothing', () => {
  test.each([
    [
      'throws',
      'throwing',
      {},
      'TransformFailed',
      'transform throwing: no such currency: XYZ (transforms-of-test.ts:37).',
    ],
    ['yields no rows of Arrow', 'speaking', {}, 'InvalidInput', 'it yielded a string; yield a RecordBatch or a Table'],
    ['yields nothing', 'nothing', {}, 'InvalidInput', 'it yielded no batch'],
    ['yields dictionaries', 'coded', {}, 'InvalidInput', 'column c is dictionary-encoded'],
    ['changes its columns', 'changing', {}, 'InvalidInput', 'a batch has columns (other Float64), those before it had (n Int64)'], // prettier-ignore
    ['writes too much', 'twice', { scratchBytes: 1000 }, 'ScratchFull', 'passed the 1000 bytes of scratch'],
    ['keeps too much', 'hoarding', { limitBytes: 256 * MiB }, 'OutOfMemoryOwn', 'was lent 256 MiB and held'],
    ['never gives its thread back', 'spinning', { limitBytes: 300 * MiB }, 'OutOfMemoryOwn', 'was lent 300 MiB and held'], // prettier-ignore
    ['ends its process', 'dying', {}, 'TransformFailed', 'ended without a result (exit code 7)'],
    ['has a name with a slip', 'twise', {}, 'InvalidInput', 'Did you mean twice?'],
  ])('%s', async (_, transform, more, code, message) => {
    const error: unknown = await run(transform, input(2000, 10), more).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code, message: expect.stringContaining(message) });
    expect(error).toMatchObject({ details: { proof: { kind: 'exited', bytesLeft: 0 } } });
    expect(readdirSync(folder)).toEqual(['in.arrow']);
  });

  test('is cancelled: its process is gone when the abort is told', async () => {
    const stop = new AbortController();
    const running = run('sleeping', input(10), { signal: stop.signal });
    setTimeout(() => stop.abort(new Error('enough')), 1500);
    await expect(running).rejects.toThrow('enough');
    expect(existsSync(join(folder, 'out.arrow'))).toBe(false);
  });

  test('is found by its name and ended by whoever looks for it', async () => {
    const running = run('sleeping', input(10));
    running.catch(() => undefined);
    const later = await (async () => {
      for (let tries = 0; tries < 200; tries += 1) {
        const ended = await endTransforms({ run: folder, step: 'clean', upToToken: token });
        if (ended > 0) return ended;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      return 0;
    })();
    expect(later).toBe(1);
    await expect(running).rejects.toMatchObject({ code: 'TransformFailed', message: expect.stringMatching(/SIGKILL/) });
    expect(await endTransforms({ run: folder, step: 'clean', upToToken: token - 1 })).toBe(0);
  });
});

describe('modules', () => {
  test('say which transforms they have', async () => {
    expect(await listTransforms({ module: MODULE })).toContain('twice');
  });

  test('that never end loading are given up', async () => {
    const module = join(folder, 'endless.ts');
    writeFileSync(module, 'for (;;); export default {};');
    await expect(listTransforms({ module }, { withinMs: 1_500 })).rejects.toMatchObject({
      code: 'InvalidInput',
      message: expect.stringMatching(
        /endless\.ts did not load within 1\.5 s: what it does when it is imported must end/,
      ),
    });
    const signal = AbortSignal.timeout(300);
    await expect(listTransforms({ module }, { signal })).rejects.toMatchObject({ name: 'TimeoutError' });
  });

  test('are compiled once, and again when they change', async () => {
    const [module, compiledIn] = [join(folder, 'transforms.ts'), join(folder, 'compiled')];
    const kept = (): string[] => readdirSync(compiledIn).map((name) => readFileSync(join(compiledIn, name), 'utf8'));
    for (const name of ['first', 'second']) {
      writeFileSync(module, `export default { ${name}: (batches: unknown) => batches };`);
      expect(await listTransforms({ module, compiledIn })).toEqual([name]);
      expect(kept()).toEqual([expect.stringContaining(name)]);
      expect(statSync(compiledIn).mode & 0o777).toBe(0o700);
      expect(await listTransforms({ module, compiledIn })).toEqual([name]);
    }
    // What is kept is what runs: it is not compiled a second time.
    for (const name of readdirSync(compiledIn))
      writeFileSync(join(compiledIn, name), kept()[0]!.replaceAll('second', 'third'));
    expect(await listTransforms({ module, compiledIn })).toEqual(['third']);
  }, 30_000);

  test('are compiled each time where others may write what is kept', async () => {
    const [module, compiledIn] = [join(folder, 'transforms.ts'), join(folder, 'compiled')];
    writeFileSync(module, 'export default { first: (batches: unknown) => batches };');
    mkdirSync(compiledIn);
    chmodSync(compiledIn, 0o777);
    expect(await listTransforms({ module, compiledIn })).toEqual(['first']);
    expect(readdirSync(compiledIn)).toEqual([]);
  });

  test('a disk that is full keeps nothing of them, and fails nothing', async () => {
    const [module, compiledIn] = [join(folder, 'transforms.ts'), join(folder, 'compiled')];
    writeFileSync(module, 'export default { first: (batches: unknown) => batches };');
    mkdirSync(compiledIn);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4k,mode=700', 'spillway-full', compiledIn]);
    try {
      writeFileSync(join(compiledIn, 'full'), Buffer.alloc(4096));
      expect(await listTransforms({ module, compiledIn })).toEqual(['first']);
      expect(await listTransforms({ module, compiledIn: '/dev/full/compiled' })).toEqual(['first']);
    } finally {
      execFileSync('umount', [compiledIn]);
    }
  }, 30_000);

  test.each([
    ['export default {', /does not load/],
    ['export default 5;', /must export defineTransforms/],
    ['export default { clean: 5 };', /clean is no transform/],
  ])('%s is refused', async (text, message) => {
    const module = join(folder, 'transforms.ts');
    writeFileSync(module, text);
    await expect(listTransforms({ module })).rejects.toMatchObject({ code: 'InvalidInput', message: expect.stringMatching(message) }); // prettier-ignore
  });
});

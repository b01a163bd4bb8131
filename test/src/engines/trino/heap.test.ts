import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { rssAnon, shrinkHeap } from '../../../../src/engines/trino/heap.ts';

test('the anonymous memory of a process is read in bytes', async () => {
  const before = await rssAnon(process.pid);
  const ballast = Buffer.alloc(256 * 2 ** 20, 1);
  const after = await rssAnon(process.pid);
  // Other buffers may be collected meanwhile.
  expect(after - before).toBeGreaterThan(128 * 2 ** 20);
  expect(ballast.length).toBe(256 * 2 ** 20);
});

// The question begins with a signal that ends what is no JVM: this test would not survive it.
test('a process that is no java is never asked', async () => {
  const shrunk = await shrinkHeap({ pid: process.pid });
  expect(shrunk).toMatchObject({ asked: false, because: expect.stringContaining('is not a java') });
  expect(shrunk.afterBytes).toBe(shrunk.beforeBytes);
});

test('a java that does not listen for tools is not asked, and the answer says why', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'spillway-heap-'));
  // Called java, but only waits, as one does that just started: the signal would end it.
  await copyFile('/bin/sleep', join(directory, 'java'));
  const sleeper = spawn(join(directory, 'java'), ['60']);
  try {
    await once(sleeper, 'spawn');
    expect(await shrinkHeap({ pid: sleeper.pid! })).toMatchObject({
      asked: false,
      because: expect.stringContaining('does not listen for tools'),
    });
    expect(sleeper.exitCode ?? sleeper.signalCode).toBeNull();
  } finally {
    sleeper.kill('SIGKILL');
    await rm(directory, { recursive: true });
  }
});

test('a process that is not there is named', async () => {
  // Above the greatest pid Linux gives out.
  await expect(rssAnon(2 ** 22 + 1)).rejects.toMatchObject({ code: 'EngineUnreachable' });
});

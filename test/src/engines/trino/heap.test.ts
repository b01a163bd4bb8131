import { expect, test } from '@jest/globals';
import { rssAnon, shrinkHeap } from '../../../../src/engines/trino/heap.ts';

test('the anonymous memory of a process is read in bytes', async () => {
  const before = await rssAnon(process.pid);
  const ballast = Buffer.alloc(64 * 2 ** 20, 1);
  const after = await rssAnon(process.pid);
  expect(after - before).toBeGreaterThan(48 * 2 ** 20);
  expect(ballast.length).toBe(64 * 2 ** 20);
});

test('a process whose java has no jcmd beside it is not asked, and the answer says why', async () => {
  const shrunk = await shrinkHeap({ pid: process.pid });
  expect(shrunk).toMatchObject({ asked: false, because: expect.stringContaining('no jcmd') });
  expect(shrunk.afterBytes).toBe(shrunk.beforeBytes);
});

test('a process that is not there is named', async () => {
  // Above the greatest pid Linux gives out.
  await expect(rssAnon(2 ** 22 + 1)).rejects.toMatchObject({ code: 'EngineUnreachable' });
});

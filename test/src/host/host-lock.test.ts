import { afterEach, describe, expect, test } from '@jest/globals';
import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, connect } from 'node:net';
import { takeHostLock, watchHostLock, type HeldHostLock, type HostLockIdentity } from '../../../src/host/host-lock.ts';

const identity = (pool: string): HostLockIdentity => ({
  ...{ pool, cluster: 'c-1', namespace: 'default', address: '127.0.0.1:7233', pid: process.pid, uid: 0 },
  ...{ cwd: process.cwd(), host: 'here', sinceMs: 1_700_000_000_000 },
});

const releases: (() => unknown)[] = [];
afterEach(async () => {
  for (const release of releases.splice(0).reverse()) await release();
});

async function held(name: string, pool = 'a'): Promise<HeldHostLock> {
  const lock = await takeHostLock(name, identity(pool));
  if (lock.kind !== 'held') throw new Error('expected to hold the lock');
  releases.push(() => lock.release());
  return lock;
}

/** Another process that holds the lock until it is killed; it knows nothing of us but the name. */
async function holderProcess(name: string, pool: string): Promise<ChildProcess> {
  const script = `
    const server = require('net').createServer((s) => { s.on('error', () => {}); s.write(process.argv[2] + '\\n'); });
    server.listen({ path: '\\0spillway.' + process.argv[1] }, () => console.log('up'));`;
  const child = spawn(process.execPath, ['-e', script, name, JSON.stringify(identity(pool))], { cwd: '/' });
  releases.push(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  return child;
}

describe('a host lock', () => {
  test('is held by one, and the second hears who has it', async () => {
    const name = randomUUID();
    await held(name, 'first');
    expect(await takeHostLock(name, identity('second'))).toEqual({ kind: 'taken', by: identity('first') });
  });

  test('is free again after release, and releasing twice is fine', async () => {
    const name = randomUUID();
    const lock = await held(name);
    await lock.release();
    await lock.release();
    await held(name);
  });

  test('locks of other names do not meet, however long they are', async () => {
    const long = 'x'.repeat(200);
    await held(`${long}1`);
    await held(`${long}2`);
    expect((await takeHostLock(`${long}1`, identity('b'))).kind).toBe('taken');
  });

  test('of a killed process is free at once', async () => {
    const name = randomUUID();
    const child = await holderProcess(name, 'dying');
    expect(await takeHostLock(name, identity('us'))).toEqual({ kind: 'taken', by: identity('dying') });
    child.kill('SIGKILL');
    await once(child, 'exit');
    await held(name, 'us');
  });

  test('is taken without a name when its holder says nothing or something else', async () => {
    const name = randomUUID();
    const server = createServer((socket) => socket.end('hello\n')).listen({ path: `\0spillway.${name}` });
    await once(server, 'listening');
    releases.push(() => server.close());
    expect(await takeHostLock(name, identity('us'))).toEqual({ kind: 'taken' });
  });
});

describe('watching a host lock', () => {
  test('takes it when the holder is killed', async () => {
    const name = randomUUID();
    const child = await holderProcess(name, 'dying');
    const seen: (string | undefined)[] = [];
    const noticed = new Promise<void>((resolve) => {
      const watching = watchHostLock(name, identity('us'), { onTaken: (by) => (seen.push(by?.pool), resolve()) });
      releases.push(async () => (await watching).release());
    });
    await noticed;
    child.kill('SIGKILL');
    await once(child, 'exit');
    await releases.pop()!();
    expect(seen).toEqual(['dying']);
  });

  test('of several watchers exactly one gets it at a time, and each gets it in the end', async () => {
    const name = randomUUID();
    const first = await held(name);
    let holders = 0;
    let most = 0;
    const watchers = [1, 2, 3].map(async () => {
      const lock = await watchHostLock(name, identity('w'));
      most = Math.max(most, ++holders);
      await new Promise((resolve) => setTimeout(resolve, 20));
      holders -= 1;
      await lock.release();
    });
    await first.release();
    await Promise.all(watchers);
    expect(most).toBe(1);
  });

  test('who connects just when it is let go looks again', async () => {
    const name = randomUUID();
    const first = await held(name);
    const watchers = Array.from({ length: 20 }, async () => {
      const lock = await watchHostLock(name, identity('w'));
      await new Promise((resolve) => setTimeout(resolve, 0));
      await lock.release();
    });
    await first.release();
    await Promise.all(watchers);
  });

  test('ends with the reason of its signal', async () => {
    const name = randomUUID();
    await held(name);
    const abort = new AbortController();
    const watching = watchHostLock(name, identity('us'), {
      signal: abort.signal,
      onTaken: () => abort.abort(new Error('enough')),
    });
    await expect(watching).rejects.toThrow('enough');
  });

  test('a reader that goes away in the middle does not harm the holder', async () => {
    const name = randomUUID();
    await held(name);
    const socket = connect({ path: `\0spillway.${name}` });
    await once(socket, 'connect');
    socket.destroy();
    expect((await takeHostLock(name, identity('b'))).kind).toBe('taken');
  });
});

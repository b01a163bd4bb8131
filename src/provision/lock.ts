import { createHash } from 'node:crypto';
import { unlinkSync } from 'node:fs';
import type { Server, Socket } from 'node:net';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * Runs `work` while no other process of this host runs something under the same name.
 *
 * The lock is a listening socket whose name is made from `name` (a path, usually): the kernel releases it when its
 * process dies, however it dies, and those who wait are connected to it and see it close. `onWait` is called once when
 * another process holds it. On Linux the socket is abstract and leaves no file.
 */
export async function withLock<T>(name: string, work: () => Promise<T>, onWait?: () => void): Promise<T> {
  const address = socketAddress(name);
  let waited = false;
  for (;;) {
    const held = await tryListen(address);
    if (held) {
      try {
        return await work();
      } finally {
        await held.release();
      }
    }
    if (!waited) onWait?.();
    waited = true;
    await closed(address);
  }
}

function socketAddress(name: string): string {
  const id = `spillway-${createHash('sha256').update(name).digest('hex').slice(0, 32)}`;
  return process.platform === 'linux' ? `\0${id}` : join(tmpdir(), `${id}.sock`);
}

async function tryListen(address: string): Promise<{ release: () => Promise<void> } | undefined> {
  const waiting = new Set<Socket>();
  const server: Server = createServer((socket) => {
    waiting.add(socket);
    socket.on('error', () => undefined).on('close', () => waiting.delete(socket));
  });
  const listening = await new Promise<boolean>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' ? resolve(false) : reject(error),
    );
    server.listen(address, () => resolve(true));
  });
  if (!listening) return undefined;
  return {
    release: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of waiting) socket.destroy();
      }),
  };
}

/** Resolves when the holder let go or died. */
function closed(address: string): Promise<void> {
  return new Promise((resolve) => {
    const socket = createConnection(address);
    socket.on('error', (error: NodeJS.ErrnoException) => {
      // A socket file outlives its process where names are not abstract; nobody listens on it any more.
      if (error.code === 'ECONNREFUSED' && !address.startsWith('\0')) {
        try {
          unlinkSync(address);
        } catch {
          // another waiter removed it
        }
      }
    });
    socket.on('close', () => resolve());
    socket.resume();
  });
}

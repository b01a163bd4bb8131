import { createServer } from 'node:net';

/**
 * A free port on loopback: the first of `preferred` that nobody listens on (a remembered one, the customary one), else
 * any. Never one of `taken`. Somebody else may take it before it is used; callers start again when that happens.
 */
export async function freePort(preferred: readonly (number | undefined)[], taken: Set<number>): Promise<number> {
  for (const port of preferred) {
    if (port !== undefined && !taken.has(port) && (await listenOnce(port)) !== undefined) {
      taken.add(port);
      return port;
    }
  }
  for (;;) {
    const port = await listenOnce(0);
    if (port !== undefined && !taken.has(port)) {
      taken.add(port);
      return port;
    }
  }
}

/** The port that was listened on, for a moment; undefined when it is taken. */
function listenOnce(port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(undefined));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : undefined));
    });
  });
}

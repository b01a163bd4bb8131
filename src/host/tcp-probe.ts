import { createConnection } from 'node:net';

/**
 * Resolves when somebody accepts a connection at `host:port`; rejects at once when it is refused, and after `withinMs`.
 * @param withinMs milliseconds
 */
export function probeTcp(address: string, withinMs: number): Promise<void> {
  const { hostname, port } = new URL(`tcp://${address}`);
  return new Promise((resolve, reject) => {
    const socket = createConnection({
      host: hostname.replace(/^\[|\]$/g, ''),
      port: Number(port),
      timeout: withinMs,
    });
    socket
      .once('connect', () => {
        socket.destroy();
        resolve();
      })
      .once('timeout', () => socket.destroy(new Error(`no connection to ${address} within ${withinMs / 1000} s`)))
      .once('error', reject);
  });
}

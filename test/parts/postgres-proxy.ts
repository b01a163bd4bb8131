import { connect as connectSocket, createServer, type AddressInfo, type Socket } from 'node:net';
import { Client } from 'pg';
import type { PostgresServer } from './postgres-server.ts';

/** Stands between a load and its server. */
export interface PostgresProxy {
  /** Makes a connection through it. */
  connect(): Promise<Client>;
  /** Gets the client's side when the server answers the COMMIT of a publishing transaction; that answer is swallowed. */
  onCommit: (near: Socket) => unknown;
  /** Forwards nothing any more, and closes nothing. */
  holdAll(): void;
  close(): void;
}

/** Forwards connections to a server, but for answers to the COMMIT that publishes. Whoever starts it closes it. */
export async function startProxy(server: PostgresServer): Promise<PostgresProxy> {
  const port = Number(new URL(server.url).port);
  const sockets = new Set<Socket>();
  const listener = createServer((near) => {
    const far = connectSocket(port, '127.0.0.1');
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
    }
    let [publishing, committed] = [false, false];
    near.on('data', (data) => {
      const text = data.toString('latin1');
      publishing ||= text.includes(`set state = 'published'`);
      committed ||= publishing && text.includes('commit');
      far.write(data);
    });
    far.on('data', (data) => (committed ? proxy.onCommit(near) : near.write(data)));
    near.on('close', () => far.destroy());
    far.on('close', () => near.destroy());
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const url = server.url.replace(String(port), String((listener.address() as AddressInfo).port));
  const proxy: PostgresProxy = {
    async connect() {
      const through = new Client({ connectionString: url });
      through.on('error', () => undefined);
      await through.connect();
      return through;
    },
    onCommit: () => undefined,
    holdAll: () => sockets.forEach((socket) => socket.pause()),
    close() {
      listener.close();
      for (const socket of sockets) socket.destroy();
    },
  };
  return proxy;
}

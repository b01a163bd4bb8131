import { createServer, request as forward } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What a proxy does with one request instead of passing it on. */
export type Fault = { status: number; headers?: Record<string, string> } | 'drop' | 'drop-reply';

/** Stands in front of a real server and makes the faults that the server does not. */
export interface FaultProxy {
  url: string;
  /** Requests that came, as `GET /path`. */
  seen: string[];
  stop(): Promise<void>;
}

/** Passes requests on, except those for which `fault` names one. `nth` counts all requests from 0. */
export async function startFaultProxy(
  target: string,
  fault: (request: { method: string; path: string; nth: number }) => Fault | undefined,
): Promise<FaultProxy> {
  const seen: string[] = [];
  const server = createServer((request, reply) => {
    const method = request.method ?? 'GET';
    const path = request.url ?? '/';
    const found = fault({ method, path, nth: seen.length });
    seen.push(`${method} ${path}`);
    if (found === undefined || found === 'drop-reply') return pass(target, request, reply, found === 'drop-reply');
    if (found === 'drop') return void request.socket.destroy();
    request.resume();
    reply.writeHead(found.status, found.headers).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    stop: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** The Host header is passed on as it came, so that the server's nextUri leads through the proxy again. */
function pass(target: string, request: IncomingMessage, reply: ServerResponse, dropReply: boolean): void {
  const { method, headers } = request;
  const onward = forward(new URL(request.url ?? '/', target), { ...(method ? { method } : {}), headers }, (answer) => {
    if (dropReply) {
      answer.resume();
      answer.on('end', () => request.socket.destroy());
      return;
    }
    reply.writeHead(answer.statusCode ?? 502, answer.headers);
    answer.pipe(reply);
  });
  onward.on('error', () => reply.destroy());
  request.pipe(onward);
}

/** Faults that no real Trino shows on demand: replies are written by hand here. */
import { createServer } from 'node:http';
import type { Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { openTrino } from '../../src/engines/trino/client.ts';
import { collectStatement, readStatement } from '../../src/engines/trino/statement-reader.ts';

const stats = {
  state: 'RUNNING',
  elapsedTimeMillis: 1,
  queuedTimeMillis: 0,
  processedRows: 1,
  peakMemoryBytes: 5,
  spilledBytes: 0,
};
const failed = { message: 'line 1:1: no', errorCode: 1, errorName: 'TABLE_NOT_FOUND', errorType: 'USER_ERROR' };
const columns = [{ name: 'a', type: 'integer' }];

type Answer = (reply: ServerResponse, base: string) => void;
const json =
  (body: object): Answer =>
  (reply) =>
    void reply.end(JSON.stringify({ id: 'q1', stats, ...body }));
const status =
  (code: number, headers: Record<string, string> = {}): Answer =>
  (reply) =>
    void reply.writeHead(code, headers).end();
const next =
  (body: object = {}): Answer =>
  (reply, base) =>
    json({ ...body, nextUri: `${base}/next` })(reply, base);

let server: Server | undefined;
/** Serves the answers in turn and keeps what was asked. */
async function serve(...answers: Answer[]): Promise<{ url: string; asked: string[] }> {
  const asked: string[] = [];
  server = createServer((request, reply) => {
    asked.push(`${request.method} ${request.url}`);
    request.resume();
    const base = `http://127.0.0.1:${(server!.address() as AddressInfo).port}`;
    (answers.shift() ?? status(500))(reply, base);
  });
  await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}
afterEach(async () => {
  server?.closeAllConnections();
  await new Promise((resolve) => server?.close(resolve));
});

describe('our reader', () => {
  const read = (url: string, options = {}) => collectStatement({ url, user: 'ann' }, 'select 1', options);

  test.each<[string, Answer[]]>([
    ['an error in the first reply', [json({ error: failed })]],
    ['an error behind a page of rows', [next({ columns, data: [[1]] }), json({ error: failed })]],
    ['an error together with rows', [next(), json({ columns, data: [[1]], error: failed })]],
  ])('raises %s', async (_title, answers) => {
    const { url } = await serve(...answers);
    await expect(read(url)).rejects.toMatchObject({
      code: 'SqlError',
      message: expect.stringContaining('TABLE_NOT_FOUND'),
    });
  });

  test('gives rows of a first reply without nextUri', async () => {
    const { url } = await serve(json({ columns, data: [[7]] }));
    expect((await read(url)).values).toEqual([[7]]);
  });

  test('ends at the reply without nextUri, whatever its state says', async () => {
    const { url } = await serve(
      next({ stats: { ...stats, state: 'FINISHED' } }),
      next({ columns, data: [[1]] }),
      json({ data: [[2]] }),
    );
    expect((await read(url)).values).toEqual([[1], [2]]);
  });

  test.each<[string, Answer]>([
    ['a busy gateway', status(503)],
    ['a limit on requests', status(429, { 'retry-after': '0' })],
    ['an empty answer', status(200)],
    ['a lost connection', (reply) => void reply.destroy()],
  ])('asks again after %s, on POST and on GET', async (_title, fault) => {
    const { url, asked } = await serve(fault, next({ columns }), fault, json({ data: [[1]] }));
    expect((await read(url)).values).toEqual([[1]]);
    expect(asked).toEqual(['POST /v1/statement', 'POST /v1/statement', 'GET /next', 'GET /next']);
  });

  test('waits as long as Retry-After says', async () => {
    const { url } = await serve(status(503, { 'retry-after': '1' }), json({ columns, data: [[1]] }));
    const started = Date.now();
    await read(url);
    expect(Date.now() - started).toBeGreaterThanOrEqual(990);
  });

  test('gives up on a gateway that stays busy', async () => {
    const { url } = await serve(status(503), status(503), status(503), status(503), status(503));
    await expect(read(url, { busyMs: 200 })).rejects.toMatchObject({
      code: 'EngineUnreachable',
      message: expect.stringContaining('503'),
    });
  });

  test('does not ask again after an answer that is the server’s own', async () => {
    const { url, asked } = await serve(status(500), json({}));
    await expect(read(url)).rejects.toMatchObject({ code: 'EngineFailed' });
    expect(asked).toHaveLength(1);
  });

  test('a connection that never answers is given up after its time', async () => {
    const { url } = await serve(
      () => undefined,
      () => undefined,
      () => undefined,
    );
    await expect(read(url, { requestTimeoutMs: 100, unreachableMs: 150 })).rejects.toMatchObject({
      code: 'EngineUnreachable',
      message: expect.stringContaining('no answer within 100 ms'),
    });
  });

  test('tells the server that it is there while a consumer is slow', async () => {
    const { url, asked } = await serve(next({ columns, data: [[1]] }), status(200), status(200), json({}));
    for await (const event of readStatement({ url, user: 'ann' }, 'select 1', { keepAliveMs: 50 })) {
      if (event.kind === 'rows') await new Promise((resolve) => setTimeout(resolve, 130));
    }
    expect(asked).toEqual(['POST /v1/statement', 'HEAD /next', 'HEAD /next', 'GET /next']);
  });
});

describe('look-ups through trino-client', () => {
  const look = async (...answers: Answer[]): Promise<unknown[][]> => {
    const { url } = await serve(
      ...answers.map((answer): Answer => (reply, base) => {
        reply.setHeader('content-type', 'application/json');
        answer(reply, base);
      }),
    );
    return openTrino({ url, user: 'ann', unreachableMs: 300 }).short('select 1');
  };

  test('raise an error of the first reply, which the client hands over as its end', async () => {
    await expect(look(json({ error: failed }))).rejects.toMatchObject({ code: 'SqlError' });
  });
  test('give the rows of the first reply', async () =>
    expect(await look(json({ columns, data: [[1]] }))).toEqual([[1]]));
  test('give no page twice', async () => {
    expect(await look(next(), next({ columns, data: [[1]] }), json({ data: [[2]] }))).toEqual([[1], [2]]);
  });
  test('raise a late error', async () => {
    await expect(look(next(), next({ columns, data: [[1]] }), json({ error: failed }))).rejects.toMatchObject({
      code: 'SqlError',
    });
  });
  test('ask a busy gateway again', async () =>
    expect(await look(status(503), json({ columns, data: [[1]] }))).toEqual([[1]]));
  test('name a wrong password', async () => {
    await expect(look(status(401))).rejects.toMatchObject({ code: 'EngineRefused' });
  });
});

describe('opening', () => {
  test.each(['trino:8080', 'ftp://x', ''])('%p is no url', (url) => {
    expect(() => openTrino({ url, user: 'ann' })).toThrow("Give Trino's url");
  });
  test('a password never crosses the network in the clear', () => {
    expect(() => openTrino({ url: 'http://trino.example:8080', user: 'ann', password: 'x' })).toThrow('Use https');
    expect(openTrino({ url: 'https://trino.example', user: 'ann', password: 'x' }).endpoint.password).toBe('x');
    expect(openTrino({ url: 'http://127.0.0.1:8080', user: 'ann', password: 'x' }).endpoint.password).toBe('x');
  });
  test('a Trino that is not there is named with what to do, within the time set', async () => {
    const { url } = await serve();
    server!.close();
    const started = Date.now();
    await expect(openTrino({ url, user: 'ann', unreachableMs: 300 }).version()).rejects.toMatchObject({
      code: 'EngineUnreachable',
      message: expect.stringMatching(new RegExp(`Start Trino at ${url}.*ECONNREFUSED`)),
    });
    expect(Date.now() - started).toBeLessThan(1500);
  });
});

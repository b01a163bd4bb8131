import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { downloadFiles, type DownloadsWanted } from '../../src/engines/files/download-files.ts';

const CONTENT = Buffer.from(Array.from({ length: 300_000 }, (_, at) => (at * 31) % 251));
type Answer = (request: IncomingMessage, response: ServerResponse, nth: number) => void;

let into: string;
let servers: Server[];
let asked: { path: string; headers: IncomingMessage['headers'] }[];
beforeEach(() => {
  into = mkdtempSync(join(tmpdir(), 'spillway-download-'));
  [servers, asked] = [[], []];
});
afterEach(() => {
  for (const server of servers) server.close().closeAllConnections();
  rmSync(into, { recursive: true });
});

/** A server that answers by a script; `nth` counts the requests for a path. */
async function serve(answer: Answer): Promise<string> {
  const seen = new Map<string, number>();
  const server = createServer((request, response) => {
    const path = request.url!;
    asked.push({ path, headers: request.headers });
    seen.set(path, (seen.get(path) ?? 0) + 1);
    answer(request, response, seen.get(path)!);
  });
  servers.push(server);
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** All of a file, or the rest that is asked for while its version is the one that the asker has. */
function whole(
  request: IncomingMessage,
  response: ServerResponse,
  { etag = '"1"', content = CONTENT, ranges = true } = {},
): void {
  // prettier-ignore
  const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? NaN);
  const goesOn = ranges && from >= 0 && request.headers['if-range'] === etag;
  const body = goesOn ? content.subarray(from) : content;
  response.writeHead(goesOn ? 206 : 200, {
    ...{ etag, 'content-length': body.length },
    ...(goesOn && { 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` }),
  });
  response.end(body);
}
/** Says how long the file is, sends a part of it, and breaks the connection. */
function broken(response: ServerResponse, headers: Record<string, string>, bytes = 100_000): void {
  response.writeHead(200, { ...headers, 'content-length': CONTENT.length });
  response.write(CONTENT.subarray(0, bytes), () => setTimeout(() => response.destroy(), 20));
}

const download = (url: string, more: Partial<DownloadsWanted> = {}): ReturnType<typeof downloadFiles> =>
  downloadFiles({
    ...{ url, paths: ['a.csv'], maxConnections: 4, into, ending: '.csv', mostBytes: 10_000_000 },
    ...{ limits: { silenceMs: 2_000, firstWaitMs: 1 }, ...more },
  });
const got = (at = 0): Buffer => readFileSync(join(into, `file-0000${at}.csv`));

describe('files of a web server', () => {
  test('are downloaded in the order of their paths, a few at a time, with what tells their versions apart', async () => {
    let [now, most] = [0, 0];
    const url = await serve((request, response) => {
      most = Math.max(most, ++now);
      const done = (): void => void (now -= 1);
      response.once('close', done);
      setTimeout(() => whole(request, response, { content: Buffer.from(request.url!) }), 20);
    });
    const paths = ['b/2.csv', 'a 1.csv', 'ä?#.csv', 'c.csv', 'd.csv', 'e.csv'];
    const progress: { files: number; bytes: number }[] = [];
    const files = await download(`${url}/data/`, {
      paths,
      maxConnections: 2,
      onProgress: (seen) => progress.push(seen),
    });
    expect(most).toBe(2);
    expect(files.map(({ path }) => readFileSync(path, 'utf8'))).toEqual(
      ['/data/b/2.csv', '/data/a%201.csv', '/data/%C3%A4%3F%23.csv', '/data/c.csv', '/data/d.csv', '/data/e.csv'], // prettier-ignore
    );
    expect(files[1]).toEqual({ url: `${url}/data/a%201.csv`, path: join(into, 'file-00001.csv'), bytes: 15, version: '"1"' }); // prettier-ignore
    expect(progress.at(-1)!.bytes).toBe(files.reduce((sum, { bytes }) => sum + bytes, 0));
    expect(asked.every(({ headers }) => headers['accept-encoding'] === 'identity')).toBe(true);
  });

  test.each([
    ['an ETag', { etag: '"7"' }, '"7"'],
    ['a date', { 'last-modified': 'Sat, 28 Nov 2026 10:00:00 GMT' }, 'Sat, 28 Nov 2026 10:00:00 GMT'],
  ])('that break off go on where they did, by %s', async (_title, headers, version) => {
    const url = await serve((request, response, nth) =>
      nth < 3 && request.headers.range === undefined
        ? broken(response, headers)
        : whole(request, response, { etag: version }),
    );
    expect(await download(url)).toMatchObject([{ bytes: CONTENT.length, version }]);
    expect(got().equals(CONTENT)).toBe(true);
    expect(asked).toHaveLength(2);
    expect(asked[1]!.headers).toMatchObject({ range: 'bytes=100000-', 'if-range': version });
  });

  test.each<[string, Record<string, string>, Parameters<typeof whole>[2]]>([
    ['when the server has another version by then', { etag: '"old"' }, { etag: '"new"' }],
    ['when it takes no ranges', { etag: '"1"' }, { ranges: false }],
    ['when nothing tells versions apart', {}, {}],
    ['when its date is that of just now', { 'last-modified': new Date().toUTCString() }, {}],
    ['when what does is weak', { etag: 'W/"1"' }, { etag: 'W/"1"' }],
  ])('that break off begin anew %s', async (_title, headers, then) => {
    const url = await serve((request, response, nth) =>
      nth === 1 ? broken(response, headers) : whole(request, response, then),
    );
    expect(await download(url, { mostBytes: CONTENT.length })).toMatchObject([{ bytes: CONTENT.length }]);
    expect(got().equals(CONTENT)).toBe(true);
  });

  test('that shrank are as long as they are now', async () => {
    const content = CONTENT.subarray(0, 10);
    const url = await serve((request, response, nth) =>
      nth === 1 ? broken(response, { etag: '"1"' }) : whole(request, response, { etag: '"2"', content }),
    );
    expect(await download(url)).toMatchObject([{ bytes: 10, version: '"2"' }]);
    expect(got().equals(content)).toBe(true);
  });

  test('whose ranges are not those that were asked begin anew', async () => {
    const url = await serve((request, response, nth) => {
      if (nth === 1) return broken(response, { etag: '"1"' });
      if (request.headers.range === undefined) return whole(request, response);
      response.writeHead(206, { 'content-range': `bytes 5-9/${CONTENT.length}`, 'content-length': 5 }).end('12345');
    });
    await download(url);
    expect(got().equals(CONTENT)).toBe(true);
  });

  test('wait as long as the server says', async () => {
    const url = await serve((request, response, nth) =>
      nth === 1 ? response.writeHead(503, { 'retry-after': '0' }).end() : whole(request, response),
    );
    await download(url, { limits: { firstWaitMs: 600_000 } });
    expect(asked).toHaveLength(2);
  });

  test('in chunks of no known length are read to their end, and no further than there is room', async () => {
    const url = await serve((_request, response) => {
      response.write(CONTENT.subarray(0, 200_000));
      response.end(CONTENT.subarray(200_000));
    });
    await download(url);
    expect(got().equals(CONTENT)).toBe(true);
    await expect(download(url, { mostBytes: 250_000 })).rejects.toMatchObject({ code: 'ScratchFull' });
  });
});

describe('the token', () => {
  test('is for the server that it was given for, and not where that redirects to', async () => {
    const other = await serve((request, response) => whole(request, response));
    const url = await serve((_request, response) => void response.writeHead(302, { location: `${other}/x` }).end());
    await download(url, { token: 'geheim' });
    expect(asked.map(({ headers }) => headers.authorization)).toEqual(['Bearer geheim', undefined]);
  });
});

describe('a download fails', () => {
  test.each<[string, Answer, object]>([
    ['when there is no such file', (_request, response) => void response.writeHead(404).end(), { code: 'InvalidInput', message: expect.stringMatching(/^Change path: http.*\/a\.csv answers 404\.$/) }],
    ['when it may not be read', (_request, response) => void response.writeHead(403).end(), { code: 'InvalidInput', message: expect.stringMatching(/token that may read it: .* answers 403/) }],
    ['when it is larger than the scratch, before its first byte', (request, response) => whole(request, response, { content: Buffer.alloc(10_000_001) }), { code: 'ScratchFull', message: expect.stringMatching(/^Give the step more scratch than 9\.5 MiB: 1 files of .* take 9\.5\d* MiB or more/) }],
    ['when it is encoded', (_request, response) => void response.writeHead(200, { 'content-encoding': 'gzip', 'content-length': 3 }).end('abc'), { code: 'InvalidInput', message: expect.stringContaining('encodes it as gzip') }],
    ['when nobody can tell where it ends', (_request, response) => void response.socket!.end('HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabc'), { code: 'InvalidInput', message: expect.stringContaining('neither a length nor chunks') }],
    ['after five tries that brought nothing', (_request, response) => void response.writeHead(500).end(), { code: 'EngineUnreachable', message: expect.stringContaining('could not be downloaded in 5 tries in a row, it answers 500') }],
    ['when the server breaks every connection', (_request, response) => void response.destroy(), { code: 'EngineUnreachable', message: expect.stringContaining('other side closed') }],
  ])('%s', async (_title, answer, expected) => {
    await expect(download(await serve(answer))).rejects.toMatchObject(expected);
  }); // prettier-ignore

  test('when nothing comes for long', async () => {
    const url = await serve((_request, response) => void response.writeHead(200, { 'content-length': 9 }).flushHeaders()); // prettier-ignore
    await expect(download(url, { limits: { silenceMs: 30, firstWaitMs: 1 } })).rejects.toMatchObject({ code: 'EngineUnreachable', message: expect.stringContaining('nothing came for 0.03 s') }); // prettier-ignore
  });

  test('as a whole with the first file, and starts no other', async () => {
    const url = await serve((request, response) => {
      if (request.url === '/1.csv') response.writeHead(404).end();
      else setTimeout(() => whole(request, response), 100);
    });
    const paths = Array.from({ length: 50 }, (_, at) => `${at}.csv`);
    await expect(download(url, { paths, maxConnections: 2 })).rejects.toMatchObject({ code: 'InvalidInput' });
    expect(asked.length).toBeLessThanOrEqual(3);
  });

  test('by the abort of its step, with the reason of that', async () => {
    const stop = new AbortController();
    const url = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': 9 }).write('abc');
      setTimeout(() => stop.abort(new Error('cancelled')), 20);
    });
    await expect(download(url, { signal: stop.signal })).rejects.toThrow('cancelled');
    expect(readdirSync(into)).toEqual(['file-00000.csv']); // its directory goes with the attempt
  });
});

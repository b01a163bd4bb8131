import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { FilesStep, PipelineSpec, SinkResult } from '../../src/contracts/pipeline.ts';
import type { DoctorReport } from '../../src/contracts/doctor.ts';
import { RUN_REPORT_QUERY, type RunReport } from '../../src/contracts/report.ts';
import { sharedHome } from './provision-home.ts';
import { datafusion, load, query } from './stack-jobs.ts';
import { Stack } from './stack.ts';

/** Files of a web server as sources: they are downloaded, under the scratch that was lent, and go with their run. */
let stack: Stack;
let home: string;
let web: Server;
/** What the server does with the next requests, in place of sending the file; the first of them is for the first. */
let next: ((request: IncomingMessage, response: ServerResponse, content: Buffer) => void)[] = [];
let requests: IncomingMessage[] = [];
const ETAG = '"1"';
const ORDERS = 15_000;

beforeAll(async () => {
  await mkdir(join(sharedHome, 'tmp'), { recursive: true });
  home = await mkdtemp(join(sharedHome, 'tmp', 'web-files-'));
  web = createServer((request, response) => {
    requests.push(request);
    if (request.headers.authorization !== 'Bearer geheim') return void response.writeHead(401).end();
    const [folder, name] = request.url!.split('/').slice(1) as [string, string];
    if (folder !== 'orders' || !/^\d\.parquet$/.test(name)) return void response.writeHead(404).end();
    const files = readdirSync(join(home, 'orders')).filter((file) => file.endsWith('.parquet')).sort(); // prettier-ignore
    const content = readFileSync(join(home, 'orders', files[Number(name[0])]!));
    const odd = next.shift();
    if (odd) odd(request, response, content);
    else send(request, response, content);
  });
  await new Promise<void>((listening) => web.listen(0, '127.0.0.1', listening));
  stack = await Stack.open('web-files', {
    pool: { limit: '8 GiB' },
    directories: {
      site: { url: `http://127.0.0.1:${(web.address() as AddressInfo).port}`, maxConnections: 2, token: { secret: 'SITE' } }, // prettier-ignore
      lake: { path: home, access: 'write' },
    },
  });
  mkdirSync(join(stack.directory, 'secrets'));
  writeFileSync(join(stack.directory, 'secrets', 'SITE'), 'geheim\n', { mode: 0o600 });
  await stack.worker();
  const orders = query('orders', 'select orderkey, custkey, totalprice, comment from tpch.tiny.orders');
  await run('makes', orders, load(stack, 'orders', 'direct'), { step: 'out', verb: 'write.parquet', from: 'orders', directory: 'lake', path: 'orders' }); // prettier-ignore
}, 600_000);
afterEach(async () => {
  expect(next).toEqual([]);
  requests = [];
  await stack?.clean();
}, 90_000);
afterAll(async () => {
  await stack?.close();
  web.close().closeAllConnections();
  await rm(home, { recursive: true, force: true });
}, 90_000);

/** All of a file, or the rest that is asked for. */
function send(request: IncomingMessage, response: ServerResponse, content: Buffer): void {
  const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
  const range = { 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` };
  response.writeHead(from > 0 ? 206 : 200, { etag: ETAG, 'content-length': content.length - from, ...(from > 0 && range) }); // prettier-ignore
  response.end(content.subarray(from));
}
/** Half of a file; then `after`. */
const half = (after: (response: ServerResponse) => void) => (_request: IncomingMessage, response: ServerResponse, content: Buffer): void => {
  response.writeHead(200, { etag: ETAG, 'content-length': content.length });
  response.write(content.subarray(0, content.length / 2), () => setTimeout(() => after(response), 50));
}; // prettier-ignore

const files = (path: string | string[], more: Partial<FilesStep> = {}): FilesStep => ({ step: 'rows', verb: 'files', directory: 'site', path, ...more }); // prettier-ignore
const job = (name: string, steps: PipelineSpec['steps']): PipelineSpec => ({ name, steps });

async function run(name: string, ...steps: PipelineSpec['steps']): Promise<RunReport> {
  const workflowId = await stack.startJob(job(name, steps));
  await stack.result(workflowId);
  return stack.client.workflow.getHandle(workflowId).query<RunReport>(RUN_REPORT_QUERY);
}
const content = async (table: string): Promise<unknown> =>
  stack.sql(`select count(*)::int as rows, sum(orderkey)::bigint as keys, sum(totalprice)::text as prices, md5(string_agg(comment, '' order by orderkey)) as comments from ${stack.schema}.${table}`); // prettier-ignore

test('a file whose download breaks is loaded whole, by what was lent for it', async () => {
  next = [half((response) => response.destroy())];
  const report = await run('loads', files('orders/0.parquet'), load(stack, 'rows', 'loaded'));
  expect(await content('loaded')).toEqual(await content('direct'));
  expect(requests.map(({ headers }) => headers.range !== undefined)).toEqual([false, true]);
  expect(report.steps[0]).toMatchObject({ step: 'rows', rung: 'download', leaseBytes: 64 * 2 ** 20, mode: 'parquet', rows: ORDERS, because: expect.stringMatching(/^1 file of http:.*, downloaded$/) }); // prettier-ignore
}, 300_000);

test('several are read by a statement, in a container', async () => {
  const counted = datafusion('counted', 'rows', 'select count(*) as n, min(orderkey) as first from rows');
  const twice = ['orders/0.parquet', 'orders/0.parquet'];
  await run('counts', files(twice), counted, load(stack, 'counted', 'counted'));
  expect(await stack.sql(`select n::int, first::int from ${stack.schema}.counted`)).toEqual([{ n: 2 * ORDERS, first: 1 }]); // prettier-ignore
}, 300_000);

test('kill -9 of the worker in the middle of a download: the next one begins it anew, and nothing is left', async () => {
  const dying = stack.workers.at(-1)!;
  let held: ServerResponse | undefined;
  const reached = new Promise<void>((resolve) => {
    next = [half((response) => { held = response; resolve(); })]; // prettier-ignore
  });
  const workflowId = await stack.startJob(job('killed', [files('orders/0.parquet'), load(stack, 'rows', 'killed')]));
  await reached;
  await dying.kill();
  await stack.worker();
  const [sink] = (await stack.result(workflowId)) as SinkResult[];
  held!.destroy();
  expect(sink!.rows).toBe(ORDERS);
  expect(await content('killed')).toEqual(await content('direct'));
}, 300_000);

test('`spillway doctor` asks the server as steps do', async () => {
  const { findings } = JSON.parse((await stack.spillway('doctor', ['--json'])).stdout) as DoctorReport;
  expect(findings.find(({ check }) => check === 'directory site')).toMatchObject({ verdict: 'ok', because: expect.stringMatching(/^http:.* answers$/) }); // prettier-ignore
  expect(requests.map(({ method, headers }) => [method, headers.authorization])).toEqual([['HEAD', 'Bearer geheim']]);
}, 120_000);

test('a page in the place of a file ends the run with the address of it', async () => {
  next = [(_request, response) => void response.end('<html>Log in</html>')];
  const workflowId = await stack.startJob(job('page', [files('orders/0.parquet'), load(stack, 'rows', 'failed')]));
  await expect(stack.result(workflowId)).rejects.toMatchObject({ cause: { type: 'InvalidInput', message: expect.stringMatching(/^rows: http:.*orders\/0\.parquet cannot be read as parquet/) } }); // prettier-ignore
}, 120_000);

test.each<[string, Partial<FilesStep>, object]>([
  ['that is not there', { path: 'orders/none.parquet' }, { type: 'InvalidInput', message: expect.stringMatching(/^rows: Change path: .*none\.parquet answers 404\.$/) }],
  ['that is larger than its scratch', { scratch: '64 KiB' }, { type: 'ScratchFull', message: expect.stringMatching(/^rows: Give the step more scratch than 64 KiB: 1 files of/) }],
])('a file %s ends the run with that, and leaves nothing', async (_title, more, expected) => {
  const workflowId = await stack.startJob(job('fails', [{ ...files('orders/0.parquet'), ...more }, load(stack, 'rows', 'failed')])); // prettier-ignore
  await expect(stack.result(workflowId)).rejects.toMatchObject({ cause: expected });
  expect(await stack.sql(`select to_regclass('${stack.schema}.failed') is null as none`)).toEqual([{ none: true }]);
}, 120_000); // prettier-ignore

// A process of its own for each load, so that its peak of memory is the load's: `node load-once.js ORDER`, where ORDER is a JSON file.
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { LoadStrategy } from '../../src/contracts/pipeline.ts';
import { openArrowSource } from '../../src/engines/postgres/arrow-source.ts';
import { connectPostgres } from '../../src/engines/postgres/connection.ts';
import { loadTable } from '../../src/engines/postgres/load.ts';
import { type DatafusionJob, PROTOCOL } from '../../src/engines/datafusion/job.ts';
import { MiB } from '../../src/policy/sizes.ts';
import { packageRoot } from '../../src/provision/package-root.ts';

/** What a process is told to load. */
export interface LoadOrder {
  url: string;
  password: string;
  file: string;
  rows: number;
  bytes: number;
  into: string;
  run: string;
  strategy: LoadStrategy;
  connections?: number;
  key?: string[];
  indexOrder?: 'before-logged' | 'after-logged';
  /** Python that decodes the file, which is Parquet then, as the container of the product does. */
  decodeWith?: string;
  /** Loaded before anything is timed, into a table of its own: as in a worker, whose code has been compiled by the loads before. */
  first?: { file: string; into: string };
}

/** What it says of it, as one line of JSON. */
export interface LoadReport {
  rows: number;
  /** Without the start of the process. */
  seconds: number;
  peakRssBytes: number;
  /** Anonymous memory of the process that decodes. */
  decoderBytes?: number;
}

const order = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as LoadOrder;
const { file, rows, bytes } = order;
const connect = () => connectPostgres(order.url, order.password);
if (order.first) {
  const parts = [{ kind: 'arrow', uri: pathToFileURL(order.first.file).href, rows: 0, bytes: 0 }] as const;
  await loadTable(
    { connect },
    {
      ...{ run: `${order.run}-first`, step: 'load', token: 1, into: order.first.into, strategy: order.strategy },
      ...(order.connections && { connections: order.connections }),
      source: (signal) => openArrowSource([...parts], signal),
      signal: new AbortController().signal,
    },
  );
}
const began = performance.now();
let decoderBytes = 0;

/** Starts the runner on a Parquet file; answers the FIFO that it writes rows to. */
function decode(python: string): { fifo: string; ended: Promise<unknown> } {
  const folder = mkdtempSync(join(dirname(process.argv[2]!), 'decode-')); // goes with the order
  const fifo = join(folder, 'rows.fifo');
  execFileSync('mkfifo', [fifo]);
  const job: DatafusionJob = {
    ...{ protocol: PROTOCOL, sql: 'select * from rows', linkDir: folder, output: { kind: 'fifo', path: fifo } },
    tables: [{ name: 'rows', parts: [{ kind: 'parquet', path: file }], columns: [] }],
    engine: { partitions: 1, poolBytes: 200 * MiB, spillDir: folder, scratchBytes: 200 * MiB, hashJoin: true },
  };
  writeFileSync(join(folder, 'job.json'), JSON.stringify(job));
  const runner = join(packageRoot(), 'containers', 'datafusion', 'runner.py');
  const child = spawn(python, [runner, join(folder, 'job.json')], { stdio: ['ignore', 'pipe', 'inherit'] });
  createInterface({ input: child.stdout }).on('line', (line) => {
    const event = JSON.parse(line) as { ev: string; peak_rss_anon?: number };
    if (event.ev === 'done') decoderBytes = event.peak_rss_anon!;
  });
  return { fifo, ended: once(child, 'close') };
}
const decoding = order.decodeWith === undefined ? undefined : decode(order.decodeWith);
const loaded = await loadTable(
  { connect },
  {
    ...{ run: order.run, step: 'load', token: 1, into: order.into, strategy: order.strategy },
    ...(order.connections && { connections: order.connections }),
    ...(order.key && { key: order.key }),
    ...(order.indexOrder && { indexOrder: order.indexOrder }),
    source: (signal) =>
      openArrowSource(decoding ?? [{ kind: 'arrow', uri: pathToFileURL(file).href, rows, bytes }], signal),
    ...{ expectedRows: rows, expectedBytes: bytes, signal: new AbortController().signal },
  },
);
const seconds = (performance.now() - began) / 1000;
await decoding?.ended;
const report: LoadReport = {
  ...{ rows: loaded.rows, seconds, ...(decoding && { decoderBytes }) },
  peakRssBytes: process.resourceUsage().maxRSS * 1024,
};
process.stdout.write(`${JSON.stringify(report)}\n`);
process.exit(0);

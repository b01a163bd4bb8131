// A process of its own for each load, so that its peak of memory is the load's: `node load-once.js ORDER`, where ORDER is a JSON file.
import { readFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { pathToFileURL } from 'node:url';
import type { LoadStrategy } from '../../src/contracts/pipeline.ts';
import { openArrowSource } from '../../src/engines/postgres/arrow-source.ts';
import { connectPostgres } from '../../src/engines/postgres/connection.ts';
import { loadTable } from '../../src/engines/postgres/load.ts';

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
}

/** What it says of it, as one line of JSON. */
export interface LoadReport {
  rows: number;
  /** Without the start of the process. */
  seconds: number;
  peakRssBytes: number;
}

const order = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as LoadOrder;
const { file, rows, bytes } = order;
const began = performance.now();
const loaded = await loadTable(
  { connect: () => connectPostgres(order.url, order.password) },
  {
    ...{ run: order.run, step: 'load', token: 1, into: order.into, strategy: order.strategy },
    ...(order.connections && { connections: order.connections }),
    ...(order.key && { key: order.key }),
    ...(order.indexOrder && { indexOrder: order.indexOrder }),
    source: (signal) => openArrowSource([{ kind: 'arrow', uri: pathToFileURL(file).href, rows, bytes }], signal),
    ...{ expectedRows: rows, expectedBytes: bytes, signal: new AbortController().signal },
  },
);
const report: LoadReport = {
  rows: loaded.rows,
  seconds: (performance.now() - began) / 1000,
  peakRssBytes: process.resourceUsage().maxRSS * 1024,
};
process.stdout.write(`${JSON.stringify(report)}\n`);
process.exit(0);

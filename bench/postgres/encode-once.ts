// The encoder alone, in a process of its own: `node encode-once.js FILE`.
import { statSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { pathToFileURL } from 'node:url';
import { openArrowSource } from '../../src/engines/postgres/arrow-source.ts';
import { sourceColumns } from '../../src/engines/postgres/arrow-types.ts';
import { makeChunk } from '../../src/engines/postgres/chunk.ts';
import { CopyEncoder } from '../../src/engines/postgres/encoder.ts';
import { planTable } from '../../src/engines/postgres/schema.ts';

const file = process.argv[2]!;
const uri = pathToFileURL(file).href;
const source = await openArrowSource([{ kind: 'arrow', uri, rows: 0, bytes: statSync(file).size }]);
const columns = sourceColumns(source.schema.fields);
const table = planTable({ table: 'bench.none', source: columns, existing: undefined, key: [], indexes: [] });
const encoder = new CopyEncoder(columns, table.columns);
const chunk = makeChunk();
let bytes = 0;
let seconds = 0;
for await (const batch of source.batches()) {
  const began = performance.now();
  encoder.start(batch);
  while (encoder.more) {
    const used = encoder.fill(chunk, 0);
    if (used === 0) throw new Error('a row of the bench is wider than a chunk');
    bytes += used;
  }
  seconds += (performance.now() - began) / 1000;
}
await source.close();
process.stdout.write(`${JSON.stringify({ bytes, seconds, secondsPerGB: seconds / (bytes / 1e9) })}\n`);

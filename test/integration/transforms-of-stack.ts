import { existsSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { IntervalDayTime, RecordBatch, Table, Utf8, vectorFromArray } from 'apache-arrow';
import { defineTransforms } from 'spillway/transforms';

const kept: Uint8Array[] = [];

/** Transforms of the tests' stack, by what is seen of them. */
export default defineTransforms({
  async *urgency(batches) {
    for await (const batch of batches) {
      const urgent = Array.from(batch.getChild('orderpriority')!, (text) => (String(text) < '3' ? 'yes' : 'no'));
      yield new Table([batch]).assign(new Table({ urgent: vectorFromArray(urgent, new Utf8()) }));
    }
  },
  /** Adds an interval of days and milliseconds, which Parquet readers do not agree on. */
  async *spans(batches) {
    for await (const batch of batches) {
      const spans = Array.from({ length: batch.numRows }, (_, row) => new Int32Array([row, 1]));
      yield new Table([batch]).assign(new Table({ span: vectorFromArray(spans, new IntervalDayTime()) }));
    }
  },
  /** Gives every batch so many times. */
  async *copies(batches, { args }) {
    for await (const batch of batches) {
      for (let copy = 0; copy < (args['times'] as number); copy += 1) yield batch;
    }
  },
  /** The first attempt never gives its thread back. */
  async *spinOnce(batches, { args }) {
    const marker = args['marker'] as string;
    const first = !existsSync(marker);
    if (first) writeFileSync(marker, String(process.pid));
    for await (const batch of batches) {
      while (first) kept.length = 0;
      yield batch;
    }
  },
  /** Holds as many bytes as it is told. */
  async *hold(batches, { args }) {
    for (let held = 0; held < (args['bytes'] as number); held += 2 ** 20) kept.push(new Uint8Array(2 ** 20).fill(1));
    for await (const batch of batches) yield new RecordBatch(batch.schema, batch.data);
  },
  /** Keeps more and more, once the marker is there. */
  async *leak(batches, { args }) {
    while (!existsSync(args['marker'] as string)) await sleep(50);
    for await (const batch of batches) {
      for (;;) {
        kept.push(new Uint8Array(2 ** 20).fill(1));
        if (kept.length % 16 === 0) await sleep(5);
      }
      yield batch;
    }
  },
  async *sleep(batches) {
    for await (const batch of batches) {
      await sleep(600_000);
      yield batch;
    }
  },
});

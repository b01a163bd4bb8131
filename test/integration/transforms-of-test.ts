import { setTimeout as sleep } from 'node:timers/promises';
import { RecordBatch, Table, Utf8, vectorFromArray } from 'apache-arrow';
// As a project writes it: the package by its name.
import { defineTransforms } from 'spillway/transforms';

const kept: Uint8Array[] = [];

export default defineTransforms({
  async *twice(batches, { args }) {
    for await (const batch of batches) {
      const text = vectorFromArray(
        Array.from(batch.getChild('n')!, (n) => `${args['prefix'] as string}${String((n as bigint) * 2n)}`),
        new Utf8(),
      );
      yield new Table([batch]).assign(new Table({ text }));
    }
  },
  async *rowsOfBatches(batches) {
    for await (const batch of batches) yield new Table({ rows: vectorFromArray([batch.numRows]) });
  },
  async *sums(batches) {
    for await (const batch of batches) {
      let sum = 0;
      for (const x of batch.getChild('x')!.toArray() as Float64Array) sum += x;
      yield new Table({ rows: vectorFromArray([batch.numRows]), sum: vectorFromArray([sum]) });
    }
  },
  async *firstOnly(batches) {
    for await (const batch of batches) {
      yield batch;
      return;
    }
  },
  async *throwing(batches) {
    for await (const batch of batches) {
      yield batch;
      throw new Error('no such currency: XYZ');
    }
  },
  async *speaking(batches) {
    for await (const batch of batches) yield `${batch.numRows} rows` as never;
  },
  async *nothing(batches) {
    for await (const batch of batches) if (batch.numRows < 0) yield batch;
  },
  async *coded(batches) {
    for await (const batch of batches) yield new Table({ c: vectorFromArray(Array.from(batch, () => 'a')) });
  },
  async *changing(batches) {
    let at = 0;
    for await (const batch of batches) yield at++ === 0 ? batch : new Table({ other: vectorFromArray([1]) });
  },
  async *hoarding(batches) {
    for await (const batch of batches) {
      for (let i = 0; i < 64; i += 1) kept.push(new Uint8Array(8 * 2 ** 20).fill(1));
      yield batch;
    }
  },
  // Never gives its thread back: only from outside can it be ended.
  async *spinning(batches) {
    for await (const batch of batches) {
      for (;;) kept.push(new Uint8Array(2 ** 20).fill(1));
      yield batch;
    }
  },
  async *sleeping(batches) {
    for await (const batch of batches) {
      yield batch;
      await sleep(60_000);
    }
  },
  async *dying(batches) {
    for await (const batch of batches) {
      if (batch.numRows >= 0) process.exit(7);
      yield batch;
    }
  },
  async *fresh(batches) {
    for await (const batch of batches) yield new RecordBatch(batch.schema, batch.data);
  },
});

import type { Data, DataType } from 'apache-arrow';
import { Field, Int64, makeData, RecordBatch, Schema, Struct, Utf8, vectorFromArray } from 'apache-arrow';
import type { ArrowSource } from '../../src/engines/postgres/arrow-source.ts';
import { arrowSourceOf } from '../../src/engines/postgres/arrow-source.ts';

/** Little-endian words of an integer of any width. */
export function words(value: bigint, count: number): number[] {
  return Array.from({ length: count }, (_, index) => Number(BigInt.asUintN(32, value >> BigInt(32 * index))));
}

/** Null bitmap and count of a list. */
function validity(values: readonly unknown[]): { nullBitmap?: Uint8Array; nullCount: number } {
  const nullBitmap = new Uint8Array(Math.ceil(values.length / 8) + 8);
  let nullCount = 0;
  for (const [row, value] of values.entries()) {
    if (value === null) nullCount += 1;
    else nullBitmap[row >> 3]! |= 1 << (row & 7);
  }
  return nullCount > 0 ? { nullBitmap, nullCount } : { nullCount };
}

type RawArray = Uint8Array | Uint32Array | BigInt64Array;

/** A column from raw values, as a file would hold them: no conversion of apache-arrow in between. */
export function rawColumn<Value>(
  type: DataType,
  values: readonly unknown[],
  fill: (value: Value) => ArrayLike<number> | readonly bigint[],
  arrayType: new (length: number) => RawArray,
  perValue: number,
): Data {
  const data = new arrayType(values.length * perValue);
  // Under a null lies rubbish, as in files of other writers.
  new Uint8Array(data.buffer).fill(0xdb);
  for (const [row, value] of values.entries()) {
    if (value !== null) data.set(fill(value as Value) as never, row * perValue);
  }
  return makeData({ type, length: values.length, data, ...validity(values) } as never) as Data;
}

/** A column the way apache-arrow builds it. */
export const builtColumn = (type: DataType, values: readonly unknown[]): Data =>
  vectorFromArray(values as never[], type as never).data[0] as Data;

/** Rows of some columns, as one batch. */
export function batchOf(columns: Record<string, Data>): RecordBatch {
  const fields = Object.entries(columns).map(([name, data]) => new Field(name, data.type, true));
  const children = Object.values(columns);
  const schema = new Schema(fields);
  const length = children[0]?.length ?? 0;
  return new RecordBatch(schema, makeData({ type: new Struct(fields), length, children } as never) as never);
}

/** Rows `id` (bigint, from `first`) and `name` (text). */
export function idBatch(first: number, count: number): RecordBatch {
  const ids = Array.from({ length: count }, (_, index) => BigInt(first + index));
  return batchOf({
    id: rawColumn(new Int64(), ids, (value: bigint) => [value], BigInt64Array, 1),
    name: builtColumn(
      new Utf8(),
      ids.map((id) => `row ${id}`),
    ),
  });
}

/** One row `id`, `name`. */
export const textBatch = (id: number, name: string): RecordBatch =>
  batchOf({
    id: rawColumn(new Int64(), [BigInt(id)], (value: bigint) => [value], BigInt64Array, 1),
    name: builtColumn(new Utf8(), [name]),
  });

/** A source of such rows that waits wherever the test says, and counts how often it was opened and closed. */
export class StagedSource {
  opened = 0;
  closed = 0;
  private readonly steps: (RecordBatch | Promise<unknown>)[];
  /** `steps`: batches, and promises that hold up what follows them. */
  constructor(...steps: (RecordBatch | Promise<unknown>)[]) {
    this.steps = steps;
  }

  readonly open = (): Promise<ArrowSource> => {
    this.opened += 1;
    const { steps } = this;
    async function* batches(): AsyncGenerator<RecordBatch> {
      for (const step of steps) {
        if (step instanceof RecordBatch) yield step;
        else await step;
      }
    }
    const first = steps.find((step) => step instanceof RecordBatch);
    const source = arrowSourceOf((first ?? idBatch(0, 0)).schema, batches());
    return Promise.resolve({ ...source, close: async () => void (this.closed += 1) });
  };
}

/** A promise that the test settles. */
export function gate(): { promise: Promise<void>; open(): void } {
  let open!: () => void;
  const promise = new Promise<void>((resolve) => (open = resolve));
  return { promise, open };
}

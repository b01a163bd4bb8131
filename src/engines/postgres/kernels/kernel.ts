import type { Data } from 'apache-arrow';

/** A value that the target column cannot take. `row` counts within the batch, from 0. */
export class CellError extends Error {
  override readonly name = 'CellError';
  readonly row: number;
  constructor(row: number, because: string) {
    super(because);
    this.row = row;
  }
}

/** Which rows of a column hold a value. */
export type Validity = Pick<Data, 'length' | 'offset' | 'nullCount' | 'nullBitmap'>;

/** Whether a row of a column holds a value. Bitmaps of slices are not sliced: they start at `data.offset`. */
export function isValid(data: Validity, row: number): boolean {
  const bitmap = data.nullBitmap as Uint8Array | null | undefined;
  if (!bitmap || bitmap.length === 0 || data.nullCount === 0) return true;
  const bit = data.offset + row;
  return ((bitmap[bit >> 3]! >> (bit & 7)) & 1) === 1;
}

/**
 * Writes values that take the same number of bytes in each row of a batch: the length word, then the value.
 * Null rows are handed to it as well, with a place in the waste area; what it writes there is never sent, so a check that
 * fails must go through {@link FixedKernel.refuse}, which forgives nulls.
 */
export abstract class FixedKernel {
  readonly kind = 'fixed';
  /** Bytes of the value without its length word, at most {@link MAX_FIXED_WIDTH}; set before bind() returns. */
  abstract width: number;
  protected data!: Data;

  /** Takes the column of a new batch. */
  bind(data: Data): void {
    this.data = data;
    this.take(data);
  }
  protected abstract take(data: Data): void;

  /** Writes rows `row … row + count - 1`; row i at `at[i] + shift`. */
  abstract write(view: DataView, out: Uint8Array, at: Int32Array, count: number, shift: number, row: number): void;

  protected refuse(row: number, because: string): void {
    if (isValid(this.data, row)) throw new CellError(row, because);
  }
}

/** Room each chunk has for the discarded values of null rows. */
export const MAX_FIXED_WIDTH = 252;

/** Writes values of varying length, nulls included, and moves the cursors. */
export interface VariableKernel {
  readonly kind: 'variable';
  bind(data: Data): void;
  /** Adds to `sizes[i]` what row i takes, length word included. */
  addSizes(sizes: Int32Array): void;
  /** Writes rows `row … row + count - 1` at `cursors[i] + shift` and sets `cursors[i]` behind each. */
  write(view: DataView, out: Uint8Array, cursors: Int32Array, count: number, shift: number, row: number): void;
}

export type Kernel = FixedKernel | VariableKernel;

/** Int32 view of a column's values, without a copy. */
export function wordsOf(values: ArrayBufferView): Int32Array {
  return new Int32Array(values.buffer, values.byteOffset, values.byteLength >> 2);
}

/** Values of an 8 or 16 bit integer column, widened; 32 and 64 bit columns are viewed as words. */
export class IntegerWords {
  private scratch = new Int32Array(0);

  of(data: Data): Int32Array {
    const values = data.values as Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array | BigInt64Array;
    if (values.BYTES_PER_ELEMENT >= 4) return wordsOf(values);
    if (this.scratch.length < data.length) this.scratch = new Int32Array(data.length);
    this.scratch.set((values as Int8Array).subarray(0, data.length));
    return this.scratch;
  }
}

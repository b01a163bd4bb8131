import type { Data } from 'apache-arrow';
import { isValid, type VariableKernel, wordsOf } from './kernel.ts';
import { type BytesFormat, VariableBytes } from './variable.ts';

/** A view: its length, then the bytes themselves where they fit, else four of them, the buffer and the place in it. */
const VIEW_WORDS = 4;
const INLINE_BYTES = 12;

/** String or binary views → what {@link VariableBytes} makes of plain strings: the bytes are gathered batch by batch. */
export class ViewBytes implements VariableKernel {
  readonly kind = 'variable';
  private readonly gathered: VariableBytes;
  private bytes = new Uint8Array(0);
  private offsets = new Int32Array(0);

  constructor(format: BytesFormat) {
    this.gathered = new VariableBytes(format);
  }

  bind(data: Data): void {
    const words = wordsOf(data.values as Uint8Array);
    if (this.offsets.length <= data.length) this.offsets = new Int32Array(data.length + 1);
    const { offsets } = this;
    let total = 0;
    for (let row = 0; row < data.length; row++) {
      offsets[row] = total;
      // What lies under a null is not a length.
      if (isValid(data, row)) total += words[row * VIEW_WORDS]!;
    }
    offsets[data.length] = total;
    if (this.bytes.length < total) this.bytes = new Uint8Array(total);
    for (let row = 0; row < data.length; row++) {
      if (offsets[row + 1]! > offsets[row]!) this.bytes.set(viewedBytes(data, row), offsets[row]);
    }
    this.gathered.take(data, this.bytes, offsets);
  }

  addSizes(sizes: Int32Array): void {
    this.gathered.addSizes(sizes);
  }

  write(view: DataView, out: Uint8Array, cursors: Int32Array, count: number, shift: number, row: number): void {
    this.gathered.write(view, out, cursors, count, shift, row);
  }
}

/** The bytes of a value of a view. */
export function viewedBytes(data: Data, row: number): Uint8Array {
  const values = data.values as Uint8Array;
  const words = wordsOf(values);
  const view = row * VIEW_WORDS;
  const length = words[view]!;
  if (length <= INLINE_BYTES) return values.subarray(4 * view + 4, 4 * view + 4 + length);
  const start = words[view + 3]!;
  return data.variadicBuffers[words[view + 2]!]!.subarray(start, start + length);
}

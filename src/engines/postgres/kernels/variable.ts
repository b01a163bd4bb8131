import type { Data, Dictionary, Vector } from 'apache-arrow';
import type { VariableKernel } from './kernel.ts';
import { CellError, isValid } from './kernel.ts';

/** Up to here a loop copies faster than `set(subarray)`, which makes an object. */
const LOOP_BYTES = 96;

/** How bytes become a value of the target. */
export interface BytesFormat {
  /** jsonb begins with its version, 1. */
  jsonb: boolean;
  /** Text: a zero byte is refused, as the server would, but naming the row. */
  text: boolean;
}

/** Offsets of a 64 bit string column as 32 bit ones. */
function narrowOffsets(offsets: BigInt64Array, count: number, into: Int32Array): Int32Array {
  const narrow = into.length > count ? into : new Int32Array(count + 1);
  const words = new Int32Array(offsets.buffer, offsets.byteOffset, offsets.length * 2);
  for (let i = 0; i <= count; i++) {
    if (words[2 * i + 1] !== 0 || words[2 * i]! < 0)
      throw new Error('a batch with more than 2 GiB of text in one column');
    narrow[i] = words[2 * i]!;
  }
  return narrow;
}

/** Strings or bytes with 32 or 64 bit offsets → text, varchar, json, jsonb, an enum's label, bytea. */
export class VariableBytes implements VariableKernel {
  readonly kind = 'variable';
  private readonly format: BytesFormat;
  private data!: Data;
  private bytes!: Uint8Array;
  private offsets!: Int32Array;
  private narrow: Int32Array = new Int32Array(0);

  constructor(format: BytesFormat) {
    this.format = format;
  }

  bind(data: Data): void {
    this.data = data;
    this.bytes = data.values as Uint8Array;
    const offsets = data.valueOffsets as Int32Array | BigInt64Array;
    if (offsets instanceof Int32Array) this.offsets = offsets;
    else this.offsets = this.narrow = narrowOffsets(offsets, data.length, this.narrow);
    if (this.format.text && data.length > 0) this.refuseZeroBytes(data.length);
  }

  private refuseZeroBytes(count: number): void {
    const { offsets, bytes } = this;
    const used = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, offsets[count]!));
    if (used.indexOf(0, offsets[0]) < 0) return;
    for (let row = 0; row < count; row++) {
      const at = used.indexOf(0, offsets[row]);
      if (at < 0) return;
      if (at < offsets[row + 1]! && isValid(this.data, row))
        throw new CellError(row, 'it holds a zero byte, which text cannot');
    }
  }

  addSizes(sizes: Int32Array): void {
    const { offsets, data } = this;
    const count = data.length;
    const extra = this.format.jsonb ? 5 : 4;
    if (data.nullCount === 0) {
      for (let row = 0; row < count; row++) sizes[row]! += extra + offsets[row + 1]! - offsets[row]!;
      return;
    }
    const bitmap = data.nullBitmap;
    for (let row = 0, bit = data.offset; row < count; row++, bit++) {
      const valid = (bitmap[bit >> 3]! >> (bit & 7)) & 1;
      sizes[row]! += valid ? extra + offsets[row + 1]! - offsets[row]! : 4;
    }
  }

  write(view: DataView, out: Uint8Array, cursors: Int32Array, count: number, shift: number, row: number): void {
    const { bytes, offsets, data } = this;
    const { jsonb } = this.format;
    const bitmap = data.nullCount === 0 ? undefined : data.nullBitmap;
    for (let i = 0, bit = data.offset + row; i < count; i++, row++, bit++) {
      let p = cursors[i]! + shift;
      if (bitmap !== undefined && !((bitmap[bit >> 3]! >> (bit & 7)) & 1)) {
        view.setInt32(p, -1);
        cursors[i] = p + 4;
        continue;
      }
      let from = offsets[row]!;
      const to = offsets[row + 1]!;
      const length = to - from;
      if (jsonb) {
        view.setInt32(p, length + 1);
        out[p + 4] = 1;
        p += 5;
      } else {
        view.setInt32(p, length);
        p += 4;
      }
      if (length < LOOP_BYTES) {
        while (from < to) out[p++] = bytes[from++]!;
        cursors[i] = p;
      } else {
        out.set(bytes.subarray(from, to), p);
        cursors[i] = p + length;
      }
    }
  }
}

/** Dictionary-coded strings: each entry is found by its index; the dictionary itself is looked through once. */
export class DictionaryBytes implements VariableKernel {
  readonly kind = 'variable';
  private readonly format: BytesFormat;
  private data!: Data<Dictionary>;
  private indices!: ArrayLike<number>;
  private dictionary: Vector | undefined;
  private bytes = new Uint8Array(0);
  private starts = new Int32Array(0);
  /** -1: the entry itself is null. */
  private lengths = new Int32Array(0);

  constructor(format: BytesFormat) {
    this.format = format;
  }

  bind(data: Data): void {
    this.data = data as Data<Dictionary>;
    const values = data.values as ArrayLike<number> | BigInt64Array;
    this.indices =
      values instanceof BigInt64Array || values instanceof BigUint64Array ? Float64Array.from(values, Number) : values;
    const { dictionary } = this.data;
    if (dictionary !== undefined && dictionary !== this.dictionary) this.takeDictionary(dictionary);
  }

  private takeDictionary(dictionary: Vector): void {
    const total = dictionary.data.reduce((sum, part) => sum + (part.values as Uint8Array).length, 0);
    this.bytes = new Uint8Array(total);
    this.starts = new Int32Array(dictionary.length);
    this.lengths = new Int32Array(dictionary.length);
    let entry = 0;
    let base = 0;
    for (const part of dictionary.data as Data[]) {
      const bytes = part.values as Uint8Array;
      const offsets = part.valueOffsets as Int32Array | BigInt64Array;
      this.bytes.set(bytes, base);
      for (let row = 0; row < part.length; row++, entry++) {
        const from = Number(offsets[row]!);
        this.starts[entry] = base + from;
        this.lengths[entry] = isValid(part, row) ? Number(offsets[row + 1]!) - from : -1;
      }
      base += bytes.length;
    }
    this.dictionary = dictionary;
  }

  /** Length of a row's value, -1 for null. */
  private lengthOf(row: number): number {
    if (!isValid(this.data, row)) return -1;
    const length = this.lengths[this.indices[row]!];
    if (length === undefined)
      throw new CellError(row, `it points at entry ${this.indices[row]!}, which its dictionary lacks`);
    return length;
  }

  addSizes(sizes: Int32Array): void {
    const extra = this.format.jsonb ? 5 : 4;
    for (let row = 0; row < this.data.length; row++) {
      const length = this.lengthOf(row);
      sizes[row]! += length < 0 ? 4 : extra + length;
    }
  }

  write(view: DataView, out: Uint8Array, cursors: Int32Array, count: number, shift: number, row: number): void {
    const { bytes, starts, indices } = this;
    const { jsonb, text } = this.format;
    for (let i = 0; i < count; i++, row++) {
      let p = cursors[i]! + shift;
      const length = this.lengthOf(row);
      if (length < 0) {
        view.setInt32(p, -1);
        cursors[i] = p + 4;
        continue;
      }
      view.setInt32(p, jsonb ? length + 1 : length);
      p += 4;
      if (jsonb) out[p++] = 1;
      let from = starts[indices[row]!]!;
      for (const to = from + length; from < to; from++) {
        const byte = bytes[from]!;
        if (byte === 0 && text) throw new CellError(row, 'it holds a zero byte, which text cannot');
        out[p++] = byte;
      }
      cursors[i] = p;
    }
  }
}

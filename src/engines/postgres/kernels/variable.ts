import type { Data, Dictionary, Vector } from 'apache-arrow';
import { SpillwayError } from '../../../contracts/errors.ts';
import type { Validity, VariableKernel } from './kernel.ts';
import { CellError, isValid } from './kernel.ts';

/** Up to here a loop over words copies faster than `set(subarray)`, which makes an object. */
const LOOP_BYTES = 192;

/** Bytes to copy from, also to be read as words. */
interface Source {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

const sourceOf = (bytes: Uint8Array): Source => ({
  bytes,
  view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength),
});

/**
 * Copies `length` bytes word by word, the last word over the one before where they are no multiple of four: half the time of
 * byte by byte at 5 to 40 bytes. Words of 64 bit go through BigInt and are slower than bytes.
 */
function copyBytes(source: Source, from: number, length: number, out: Uint8Array, view: DataView, at: number): void {
  if (length >= LOOP_BYTES) {
    out.set(source.bytes.subarray(from, from + length), at);
    return;
  }
  if (length < 4) {
    for (let k = 0; k < length; k++) out[at + k] = source.bytes[from + k]!;
    return;
  }
  const last = length - 4;
  for (let k = 0; k < last; k += 4) view.setInt32(at + k, source.view.getInt32(from + k));
  view.setInt32(at + last, source.view.getInt32(from + last));
}

const ZERO_BYTE = 'it holds a zero byte, which text cannot';

/** How bytes become a value of the target. */
export interface BytesFormat {
  /** jsonb begins with its version, 1. */
  jsonb: boolean;
  /** Text: a zero byte is refused, as the server would, but naming the row. */
  text: boolean;
}

/** Offsets of a 64 bit string column as 32 bit ones. */
export function narrowOffsets(offsets: BigInt64Array, count: number, into: Int32Array): Int32Array {
  const narrow = into.length > count ? into : new Int32Array(count + 1);
  const words = new Int32Array(offsets.buffer, offsets.byteOffset, offsets.length * 2);
  for (let i = 0; i <= count; i++) {
    if (words[2 * i + 1] !== 0 || words[2 * i]! < 0)
      throw new SpillwayError(
        'LoadRefused',
        'A batch has more than 2 GiB of text in one column; write smaller batches.',
      );
    narrow[i] = words[2 * i]!;
  }
  return narrow;
}

/** Strings or bytes with 32 or 64 bit offsets → text, varchar, json, jsonb, an enum's label, bytea. */
export class VariableBytes implements VariableKernel {
  readonly kind = 'variable';
  private readonly format: BytesFormat;
  private data!: Validity;
  private source!: Source;
  private offsets!: Int32Array;
  private narrow: Int32Array = new Int32Array(0);

  constructor(format: BytesFormat) {
    this.format = format;
  }

  bind(data: Data): void {
    const offsets = data.valueOffsets as Int32Array | BigInt64Array;
    if (!(offsets instanceof Int32Array)) this.narrow = narrowOffsets(offsets, data.length, this.narrow);
    this.take(data, data.values as Uint8Array, offsets instanceof Int32Array ? offsets : this.narrow);
  }

  /** Takes bytes that lie elsewhere than in the column; `data` says how many rows there are, and which are null. */
  take(data: Validity, bytes: Uint8Array, offsets: Int32Array): void {
    this.data = data;
    this.source = sourceOf(bytes);
    this.offsets = offsets;
    if (this.format.text && data.length > 0) this.refuseZeroBytes(data.length);
  }

  private refuseZeroBytes(count: number): void {
    const { offsets } = this;
    const { bytes } = this.source;
    const used = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, offsets[count]!));
    let at = used.indexOf(0, offsets[0]);
    for (let row = 0; row < count && at >= 0; row++) {
      if (at >= offsets[row + 1]!) continue;
      if (isValid(this.data, row)) throw new CellError(row, ZERO_BYTE);
      at = used.indexOf(0, offsets[row + 1]);
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
    const { source, offsets, data } = this;
    const { jsonb } = this.format;
    const bitmap = data.nullCount === 0 ? undefined : data.nullBitmap;
    for (let i = 0, bit = data.offset + row; i < count; i++, row++, bit++) {
      let p = cursors[i]! + shift;
      if (bitmap !== undefined && !((bitmap[bit >> 3]! >> (bit & 7)) & 1)) {
        view.setInt32(p, -1);
        cursors[i] = p + 4;
        continue;
      }
      const from = offsets[row]!;
      const length = offsets[row + 1]! - from;
      if (jsonb) {
        view.setInt32(p, length + 1);
        out[p + 4] = 1;
        p += 5;
      } else {
        view.setInt32(p, length);
        p += 4;
      }
      copyBytes(source, from, length, out, view, p);
      cursors[i] = p + length;
    }
  }
}

/** Length of an entry that is null. */
const NULL_ENTRY = -1;
/** Length of a text with a zero byte: whichever row points at it is refused. */
const ZERO_ENTRY = -2;

/** Dictionary-coded strings: each entry is found by its index; the dictionary itself is looked through once. */
export class DictionaryBytes implements VariableKernel {
  readonly kind = 'variable';
  private readonly format: BytesFormat;
  private data!: Data<Dictionary>;
  private indices!: ArrayLike<number>;
  private dictionary: Vector | undefined;
  private source = sourceOf(new Uint8Array(0));
  private starts = new Int32Array(0);
  /** {@link NULL_ENTRY} and {@link ZERO_ENTRY} say what an entry without a length is. */
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
    const all = new Uint8Array(total);
    this.starts = new Int32Array(dictionary.length);
    this.lengths = new Int32Array(dictionary.length);
    let entry = 0;
    let base = 0;
    for (const part of dictionary.data as Data[]) {
      const bytes = part.values as Uint8Array;
      const offsets = part.valueOffsets as Int32Array | BigInt64Array;
      all.set(bytes, base);
      for (let row = 0; row < part.length; row++, entry++) {
        const from = Number(offsets[row]!);
        const to = Number(offsets[row + 1]!);
        const unfit = this.format.text && bytes.subarray(from, to).includes(0);
        this.starts[entry] = base + from;
        this.lengths[entry] = !isValid(part, row) ? NULL_ENTRY : unfit ? ZERO_ENTRY : to - from;
      }
      base += bytes.length;
    }
    this.source = sourceOf(all);
    this.dictionary = dictionary;
  }

  /** Length of a row's value, {@link NULL_ENTRY} for null. */
  private lengthOf(row: number): number {
    if (!isValid(this.data, row)) return NULL_ENTRY;
    const length = this.lengths[this.indices[row]!];
    if (length === ZERO_ENTRY) throw new CellError(row, ZERO_BYTE);
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
    const { source, starts, indices } = this;
    const { jsonb } = this.format;
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
      copyBytes(source, starts[indices[row]!]!, length, out, view, p);
      cursors[i] = p + length;
    }
  }
}

import type { Data } from 'apache-arrow';
import { FixedKernel, IntegerWords, wordsOf } from './kernel.ts';

/** 32 bit words as they are: int32 → int4, float32 → float4. `unsigned` refuses what has its top bit set. */
export class Words1 extends FixedKernel {
  override width = 4;
  private words!: Int32Array;
  private readonly reader = new IntegerWords();
  private readonly unsigned: boolean;
  constructor(unsigned = false) {
    super();
    this.unsigned = unsigned;
  }
  protected override take(data: Data): void {
    this.words = this.reader.of(data);
  }
  override write(view: DataView, _out: Uint8Array, at: Int32Array, count: number, shift: number, row: number): void {
    const { words, unsigned } = this;
    for (let i = 0; i < count; i++, row++) {
      const p = at[i]! + shift;
      const value = words[row]!;
      if (unsigned && value < 0) this.refuse(row, `${value >>> 0} is above 2147483647`);
      view.setInt32(p, 4);
      view.setInt32(p + 4, value);
    }
  }
}

/** 64 bit words as they are: int64 → int8, float64 → float8, time in µs. `unsigned` refuses what has its top bit set. */
export class Words2 extends FixedKernel {
  override width = 8;
  private words!: Int32Array;
  private readonly unsigned: boolean;
  constructor(unsigned = false) {
    super();
    this.unsigned = unsigned;
  }
  protected override take(data: Data): void {
    this.words = wordsOf(data.values as Int32Array);
  }
  override write(view: DataView, _out: Uint8Array, at: Int32Array, count: number, shift: number, row: number): void {
    const { words, unsigned } = this;
    for (let i = 0, w = row << 1; i < count; i++, w += 2) {
      const p = at[i]! + shift;
      const high = words[w + 1]!;
      if (unsigned && high < 0) this.refuse(row + i, 'it is above 9223372036854775807');
      view.setInt32(p, 8);
      view.setInt32(p + 4, high);
      view.setInt32(p + 8, words[w]!);
    }
  }
}

/** Up to 32 bits → int8. */
export class Words1ToInt8 extends FixedKernel {
  override width = 8;
  private words!: Int32Array;
  private readonly reader = new IntegerWords();
  private readonly unsigned: boolean;
  constructor(unsigned: boolean) {
    super();
    this.unsigned = unsigned;
  }
  protected override take(data: Data): void {
    this.words = this.reader.of(data);
  }
  override write(view: DataView, _out: Uint8Array, at: Int32Array, count: number, shift: number, row: number): void {
    const { words } = this;
    const sign = this.unsigned ? 0 : -1;
    for (let i = 0; i < count; i++, row++) {
      const p = at[i]! + shift;
      const value = words[row]!;
      view.setInt32(p, 8);
      view.setInt32(p + 4, (value >> 31) & sign);
      view.setInt32(p + 8, value);
    }
  }
}

/** Up to 32 bits → int2, range checked. */
export class Words1ToInt2 extends FixedKernel {
  override width = 2;
  private words!: Int32Array;
  private readonly reader = new IntegerWords();
  private readonly unsigned: boolean;
  constructor(unsigned: boolean) {
    super();
    this.unsigned = unsigned;
  }
  protected override take(data: Data): void {
    this.words = this.reader.of(data);
  }
  override write(view: DataView, _out: Uint8Array, at: Int32Array, count: number, shift: number, row: number): void {
    const { words } = this;
    for (let i = 0; i < count; i++, row++) {
      const p = at[i]! + shift;
      const value = words[row]!;
      if (value !== (value << 16) >> 16) {
        this.refuse(row, `${this.unsigned ? value >>> 0 : value} is outside -32768 to 32767`);
      }
      view.setInt32(p, 2);
      view.setInt16(p + 4, value);
    }
  }
}

/** 64 bits → int4 or int2, range checked. */
export class Words2Narrow extends FixedKernel {
  override width: 2 | 4;
  private words!: Int32Array;
  constructor(width: 2 | 4) {
    super();
    this.width = width;
  }
  protected override take(data: Data): void {
    this.words = wordsOf(data.values as Int32Array);
  }
  override write(view: DataView, _out: Uint8Array, at: Int32Array, count: number, shift: number, row: number): void {
    const { words, width } = this;
    const spare = width === 2 ? 16 : 0;
    for (let i = 0, w = row << 1; i < count; i++, w += 2) {
      const p = at[i]! + shift;
      const low = words[w]!;
      if (words[w + 1] !== low >> 31 || low !== (low << spare) >> spare) {
        const value = (this.data.values as BigInt64Array)[row + i]!;
        this.refuse(row + i, `${value} is outside ${width === 2 ? '-32768 to 32767' : '-2147483648 to 2147483647'}`);
      }
      view.setInt32(p, width);
      if (width === 2) view.setInt16(p + 4, low);
      else view.setInt32(p + 4, low);
    }
  }
}

/** uint64 → int4 or int2: as {@link Words2Narrow}, and the values 2^64 - 2^31 … 2^64 - 1 are not taken for negative ones. */
export class UnsignedNarrow extends Words2Narrow {
  protected override take(data: Data): void {
    super.take(data);
    const words = wordsOf(data.values as Int32Array);
    for (let row = 0; row < data.length; row++) {
      if (words[2 * row + 1]! < 0) this.refuse(row, `${(data.values as BigUint64Array)[row]!} is too large`);
    }
  }
}

/** float32 → float8, or integers up to 32 bits → float8, which holds each of them. */
export class NumbersToFloat8 extends FixedKernel {
  override width = 8;
  private values!: Float32Array;
  protected override take(data: Data): void {
    this.values = data.values as Float32Array;
  }
  override write(view: DataView, _out: Uint8Array, at: Int32Array, count: number, shift: number, row: number): void {
    const { values } = this;
    for (let i = 0; i < count; i++, row++) {
      const p = at[i]! + shift;
      view.setInt32(p, 8);
      view.setFloat64(p + 4, values[row]!);
    }
  }
}

/** Arrow bits → bool. */
export class Bools extends FixedKernel {
  override width = 1;
  private bits!: Uint8Array;
  private offset = 0;
  protected override take(data: Data): void {
    this.bits = data.values as Uint8Array;
    // Bits of a slice are not sliced.
    this.offset = data.offset;
  }
  override write(view: DataView, out: Uint8Array, at: Int32Array, count: number, shift: number, row: number): void {
    const { bits } = this;
    for (let i = 0, bit = this.offset + row; i < count; i++, bit++) {
      const p = at[i]! + shift;
      view.setInt32(p, 1);
      out[p + 4] = (bits[bit >> 3]! >> (bit & 7)) & 1;
    }
  }
}

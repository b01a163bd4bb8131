import type { Data } from 'apache-arrow';
import { FixedKernel, wordsOf } from './kernel.ts';

const TWO32 = 4294967296;
/** Days from 1970-01-01 to 2000-01-01, where PostgreSQL begins to count. */
const EPOCH_DAYS = 10957;
const EPOCH_MICROS = 946_684_800_000_000;
const EPOCH_HIGH = Math.floor(EPOCH_MICROS / TWO32);
const EPOCH_LOW = EPOCH_MICROS - EPOCH_HIGH * TWO32;
/** First and last day that the type date holds, counted from 2000-01-01; anything else would wrap or mean infinity. */
const FIRST_DAY = -2451545;
const LAST_DAY = 2145031948;
/** High word of a µs value far before 4713 BC, where the server's own check would already have wrapped. */
const FIRST_HIGH = -50_000_000;
/** Largest high word; below it the server's own check works. */
const LAST_HIGH = 0x7fffffff;

/** date32 → date. */
export class Days extends FixedKernel {
  override width = 4;
  private words!: Int32Array;
  protected override take(data: Data): void {
    this.words = wordsOf(data.values as Int32Array);
  }
  override write(view: DataView, _out: Uint8Array, at: Int32Array, count: number, shift: number, row: number): void {
    const { words } = this;
    for (let i = 0; i < count; i++, row++) {
      const p = at[i]! + shift;
      const day = words[row]! - EPOCH_DAYS;
      if (day < FIRST_DAY || day > LAST_DAY) this.refuse(row, `day ${words[row]!} since 1970 is outside the type date`);
      view.setInt32(p, 4);
      view.setInt32(p + 4, day);
    }
  }
}

/** date64 (ms) → date. */
export class MillisToDays extends FixedKernel {
  override width = 4;
  private words!: Int32Array;
  protected override take(data: Data): void {
    this.words = wordsOf(data.values as Int32Array);
  }
  override write(view: DataView, _out: Uint8Array, at: Int32Array, count: number, shift: number, row: number): void {
    const { words } = this;
    for (let i = 0, w = row << 1; i < count; i++, w += 2) {
      const p = at[i]! + shift;
      const day = Math.floor((words[w + 1]! * TWO32 + (words[w]! >>> 0)) / 86_400_000) - EPOCH_DAYS;
      if (day < FIRST_DAY || day > LAST_DAY) this.refuse(row + i, 'it is outside the type date');
      view.setInt32(p, 4);
      view.setInt32(p + 4, day);
    }
  }
}

/** timestamp in µs → timestamp or timestamptz, on 32 bit halves: BigInt would cost five times as much. */
export class Micros extends FixedKernel {
  override width = 8;
  private words!: Int32Array;
  protected override take(data: Data): void {
    this.words = wordsOf(data.values as Int32Array);
  }
  override write(view: DataView, _out: Uint8Array, at: Int32Array, count: number, shift: number, row: number): void {
    const { words } = this;
    for (let i = 0, w = row << 1; i < count; i++, w += 2) {
      const p = at[i]! + shift;
      const low = (words[w]! >>> 0) - EPOCH_LOW;
      const high = words[w + 1]!;
      if (high < FIRST_HIGH) this.refuse(row + i, 'it is before 4713 BC');
      view.setInt32(p, 8);
      view.setInt32(p + 4, high - EPOCH_HIGH - (low < 0 ? 1 : 0));
      view.setInt32(p + 8, low);
    }
  }
}

/** timestamp in s or ms → timestamp or timestamptz. */
export class ScaledTimestamp extends FixedKernel {
  override width = 8;
  private words!: Int32Array;
  private readonly micros: 1000 | 1_000_000;
  /** `micros`: µs in one unit. */
  constructor(micros: 1000 | 1_000_000) {
    super();
    this.micros = micros;
  }
  protected override take(data: Data): void {
    this.words = wordsOf(data.values as Int32Array);
  }
  override write(view: DataView, _out: Uint8Array, at: Int32Array, count: number, shift: number, row: number): void {
    const { words, micros } = this;
    for (let i = 0, w = row << 1; i < count; i++, w += 2) {
      const p = at[i]! + shift;
      // The product may pass 2^53: made word by word, each of them exact.
      const product = (words[w]! >>> 0) * micros;
      const carry = Math.floor(product / TWO32);
      const low = product - carry * TWO32 - EPOCH_LOW;
      const high = words[w + 1]! * micros + carry - EPOCH_HIGH - (low < 0 ? 1 : 0);
      if (high < FIRST_HIGH || high > LAST_HIGH) this.refuse(row + i, 'it is outside the type timestamp');
      view.setInt32(p, 8);
      view.setInt32(p + 4, high);
      view.setInt32(p + 8, low);
    }
  }
}

/** timestamp in ns → timestamp or timestamptz: rounded down to µs, or refused where that would lose something. */
export class Nanos extends FixedKernel {
  override width = 8;
  private words!: Int32Array;
  private readonly exact: boolean;
  constructor(exact: boolean) {
    super();
    this.exact = exact;
  }
  protected override take(data: Data): void {
    this.words = wordsOf(data.values as Int32Array);
  }
  override write(view: DataView, _out: Uint8Array, at: Int32Array, count: number, shift: number, row: number): void {
    const { words, exact } = this;
    for (let i = 0, w = row << 1; i < count; i++, w += 2) {
      const p = at[i]! + shift;
      const high = words[w + 1]!;
      const top = Math.floor(high / 1000);
      const rest = (high - top * 1000) * TWO32 + (words[w]! >>> 0);
      const micros = Math.floor(rest / 1000);
      if (exact && rest !== micros * 1000) this.refuse(row + i, 'its nanoseconds would be lost');
      const low = micros - EPOCH_LOW;
      view.setInt32(p, 8);
      view.setInt32(p + 4, top - EPOCH_HIGH + Math.floor(low / TWO32));
      view.setInt32(p + 8, low);
    }
  }
}

/** time32 in s or ms, or time64 in ns → time. time64 in µs needs no change. */
export class ScaledTime extends FixedKernel {
  override width = 8;
  private words!: Int32Array;
  private readonly wide: boolean;
  private readonly factor: number;
  /** `factor`: µs in one unit. */
  constructor(bits: 32 | 64, factor: number) {
    super();
    this.wide = bits === 64;
    this.factor = factor;
  }
  protected override take(data: Data): void {
    this.words = wordsOf(data.values as Int32Array);
  }
  override write(view: DataView, _out: Uint8Array, at: Int32Array, count: number, shift: number, row: number): void {
    const { words, wide, factor } = this;
    for (let i = 0; i < count; i++, row++) {
      const p = at[i]! + shift;
      const units = wide ? words[2 * row + 1]! * TWO32 + (words[2 * row]! >>> 0) : words[row]!;
      // ns: divided, since units * 0.001 would not be exact.
      const micros = factor < 1 ? Math.floor(units / 1000) : units * factor;
      const high = Math.floor(micros / TWO32);
      view.setInt32(p, 8);
      view.setInt32(p + 4, high);
      view.setInt32(p + 8, micros - high * TWO32);
    }
  }
}

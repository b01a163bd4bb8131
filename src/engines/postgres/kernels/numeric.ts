import type { Data } from 'apache-arrow';
import { FixedKernel, IntegerWords, isValid, wordsOf } from './kernel.ts';

const TWO32 = 4294967296;
const TWO31 = 2147483648;
const HEADER_BYTES = 8;
const NEGATIVE = 0x4000 << 16;

/** How the unscaled integers of a column lie in memory. */
export type NumericSource = { words: 1 | 2 | 4 | 8; unsigned: boolean };

/** Type modifier of numeric(p, s), taken apart; undefined for plain numeric. */
export interface NumericShape {
  precision: number;
  scale: number;
}

/**
 * Decimals and integers → numeric.
 *
 * All values of a batch get as many base-10000 digits as the largest needs: the server strips leading zeros, and a constant
 * width needs no pass for sizes. Where every value fits 2^53 (2^31) the digits are made with float (32 bit integer)
 * arithmetic; else, for that batch, with BigInt.
 */
export class Numeric extends FixedKernel {
  override width = 0;
  private readonly source: NumericSource;
  private readonly scale: number;
  private readonly target: NumericShape | undefined;
  private readonly reader = new IntegerWords();
  private words!: Int32Array;
  private values = new Float64Array(0);
  private mode: 'small' | 'double' | 'big' = 'small';
  private groups = 1;
  private fractionGroups: number;
  /** The lowest group holds `scale % 4` digits of the value; the rest of it is zeros. */
  private readonly lowModulus: number;
  private readonly lowPad: number;

  constructor(source: NumericSource, scale: number, target: NumericShape | undefined) {
    super();
    this.source = source;
    this.scale = scale;
    this.target = target;
    this.fractionGroups = Math.ceil(scale / 4);
    this.lowModulus = 10 ** (scale % 4);
    this.lowPad = scale % 4 === 0 ? 1 : 10 ** (4 - (scale % 4));
  }

  protected override take(data: Data): void {
    this.words = this.source.words === 1 ? this.reader.of(data) : wordsOf(data.values as Int32Array);
    if (this.values.length < data.length) this.values = new Float64Array(data.length);
    const largest = this.widen(data.length);
    if (largest === undefined) {
      this.mode = 'big';
      this.checkBig(data);
    } else {
      this.mode = largest < TWO31 ? 'small' : 'double';
      this.setGroups(String(largest).length);
      this.checkSmall(data.length, largest);
    }
  }

  /** Copies the values as doubles and answers the largest magnitude; undefined when one does not fit 2^53. */
  private widen(count: number): number | undefined {
    const { words, values } = this;
    const { words: stride, unsigned } = this.source;
    const lowestHigh = unsigned ? 0 : -0x1fffff;
    let largest = 0;
    if (stride === 1) {
      for (let row = 0; row < count; row++) {
        const value = unsigned ? words[row]! >>> 0 : words[row]!;
        values[row] = value;
        const magnitude = value < 0 ? -value : value;
        if (magnitude > largest) largest = magnitude;
      }
      return largest;
    }
    for (let row = 0, w = 0; row < count; row++, w += stride) {
      const high = words[w + 1]!;
      let fits = high < 0x200000 && high >= lowestHigh;
      for (let k = 2; k < stride; k++) fits = fits && words[w + k] === high >> 31;
      if (!fits) {
        // What lies under a null is not a value.
        if (isValid(this.data, row)) return undefined;
        values[row] = 0;
        continue;
      }
      const value = high * TWO32 + (words[w]! >>> 0);
      values[row] = value;
      const magnitude = value < 0 ? -value : value;
      if (magnitude > largest) largest = magnitude;
    }
    return largest;
  }

  private setGroups(digits: number): void {
    this.groups = Math.max(1, Math.ceil((digits - this.scale) / 4)) + this.fractionGroups;
    this.width = HEADER_BYTES + 2 * this.groups;
  }

  private bigValue(row: number): bigint {
    const { words: stride, unsigned } = this.source;
    const w = row * stride;
    let value = BigInt(unsigned ? this.words[w + stride - 1]! >>> 0 : this.words[w + stride - 1]!);
    for (let k = stride - 2; k >= 0; k--) value = (value << 32n) | BigInt(this.words[w + k]! >>> 0);
    return value;
  }

  /** First magnitude that the target's numeric(p, s) cannot hold, in units of the source's scale; undefined: no limit. */
  private limitDigits(): number | undefined {
    return this.target && this.target.precision - this.target.scale + this.scale;
  }

  private tooWide(row: number, value: bigint): void {
    const { precision, scale } = this.target!;
    const sign = value < 0n ? '-' : '';
    const text = (value < 0n ? -value : value).toString().padStart(this.scale + 1, '0');
    const shown = this.scale === 0 ? text : `${text.slice(0, -this.scale)}.${text.slice(-this.scale)}`;
    this.refuse(
      row,
      `${sign}${shown} has more than the ${precision - scale} integer digits of numeric(${precision},${scale})`,
    );
  }

  private checkSmall(count: number, largest: number): void {
    const digits = this.limitDigits();
    if (digits === undefined || digits > 15 || largest < 10 ** digits) return;
    const limit = 10 ** digits;
    for (let row = 0; row < count; row++) {
      if (Math.abs(this.values[row]!) >= limit) this.tooWide(row, BigInt(this.values[row]!));
    }
  }

  private checkBig(data: Data): void {
    const digits = this.limitDigits();
    const limit = digits === undefined ? undefined : 10n ** BigInt(digits);
    let largest = 0n;
    for (let row = 0; row < data.length; row++) {
      if (!isValid(data, row)) continue;
      const value = this.bigValue(row);
      const magnitude = value < 0n ? -value : value;
      if (limit !== undefined && magnitude >= limit) this.tooWide(row, value);
      if (magnitude > largest) largest = magnitude;
    }
    this.setGroups(largest.toString().length);
  }

  override write(view: DataView, _out: Uint8Array, at: Int32Array, count: number, shift: number, row: number): void {
    if (this.mode === 'small') this.writeSmall(view, at, count, shift, row);
    else if (this.mode === 'double') this.writeDouble(view, at, count, shift, row);
    else this.writeBig(view, at, count, shift, row);
  }

  private writeSmall(view: DataView, at: Int32Array, count: number, shift: number, row: number): void {
    const { values, groups, width, scale, lowModulus, lowPad } = this;
    const head = (groups << 16) | ((groups - this.fractionGroups - 1) & 0xffff);
    for (let i = 0; i < count; i++, row++) {
      const p = at[i]! + shift;
      let value = values[row]! | 0;
      view.setInt32(p, width);
      view.setInt32(p + 4, head);
      if (value < 0) {
        value = -value;
        view.setInt32(p + 8, NEGATIVE | scale);
      } else view.setInt32(p + 8, scale);
      let q = p + 12 + 2 * (groups - 1);
      let left = groups;
      if (lowModulus > 1) {
        const rest = (value / lowModulus) | 0;
        view.setInt16(q, (value - rest * lowModulus) * lowPad);
        value = rest;
        q -= 2;
        left--;
      }
      for (; left > 0; left--, q -= 2) {
        const rest = (value / 10000) | 0;
        view.setInt16(q, value - rest * 10000);
        value = rest;
      }
    }
  }

  private writeDouble(view: DataView, at: Int32Array, count: number, shift: number, row: number): void {
    const { values, groups, width, scale, lowModulus, lowPad } = this;
    const head = (groups << 16) | ((groups - this.fractionGroups - 1) & 0xffff);
    for (let i = 0; i < count; i++, row++) {
      const p = at[i]! + shift;
      let value = values[row]!;
      view.setInt32(p, width);
      view.setInt32(p + 4, head);
      if (value < 0) {
        value = -value;
        view.setInt32(p + 8, NEGATIVE | scale);
      } else view.setInt32(p + 8, scale);
      let q = p + 12 + 2 * (groups - 1);
      let left = groups;
      if (lowModulus > 1) {
        const rest = Math.floor(value / lowModulus);
        view.setInt16(q, (value - rest * lowModulus) * lowPad);
        value = rest;
        q -= 2;
        left--;
      }
      // Two groups at a time: one float division, then 32 bit integers.
      for (; left > 1; left -= 2, q -= 4) {
        const rest = Math.floor(value / 1e8);
        const pair = (value - rest * 1e8) | 0;
        const top = (pair / 10000) | 0;
        view.setInt16(q, pair - top * 10000);
        view.setInt16(q - 2, top);
        value = rest;
      }
      if (left === 1) view.setInt16(q, value);
    }
  }

  private writeBig(view: DataView, at: Int32Array, count: number, shift: number, row: number): void {
    const { groups, width, scale, data } = this;
    const pad = BigInt(this.lowPad);
    for (let i = 0; i < count; i++, row++) {
      const p = at[i]! + shift;
      let value = isValid(data, row) ? this.bigValue(row) : 0n;
      const negative = value < 0n;
      if (negative) value = -value;
      value *= pad;
      view.setInt32(p, width);
      view.setInt32(p + 4, (groups << 16) | ((groups - this.fractionGroups - 1) & 0xffff));
      view.setInt32(p + 8, negative ? NEGATIVE | scale : scale);
      let q = p + 12 + 2 * (groups - 1);
      for (let left = groups; left > 0; left -= 3, q -= 6) {
        // Three groups fit a double: a third of the divisions of big numbers.
        let part = Number(value % 1_000_000_000_000n);
        value /= 1_000_000_000_000n;
        for (let k = 0; k < Math.min(3, left); k++) {
          const rest = Math.floor(part / 10000);
          view.setInt16(q - 2 * k, part - rest * 10000);
          part = rest;
        }
      }
    }
  }
}

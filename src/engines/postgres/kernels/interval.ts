import type { Data } from 'apache-arrow';
import { IntervalUnit, TimeUnit } from 'apache-arrow';
import { FixedKernel, wordsOf } from './kernel.ts';

const TWO32 = 4294967296;
const TWO31 = 2147483648;

/** Length word, then an interval's parts in the server's order: 64 bit of µs, days, months. */
function put(view: DataView, p: number, high: number, low: number, days: number, months: number): void {
  view.setInt32(p, 16);
  view.setInt32(p + 4, high);
  view.setInt32(p + 8, low);
  view.setInt32(p + 12, days);
  view.setInt32(p + 16, months);
}

abstract class IntervalKernel extends FixedKernel {
  override width = 16;
  protected words!: Int32Array;
  private readonly exact: boolean;
  /** `exact`: nanoseconds that are no whole µs are refused, not rounded down. */
  constructor(exact: boolean) {
    super();
    this.exact = exact;
  }
  protected override take(data: Data): void {
    this.words = wordsOf(data.values as Int32Array);
  }

  /** Nanoseconds as a high and a low word. */
  protected putNanos(
    view: DataView,
    p: number,
    row: number,
    high: number,
    low: number,
    days: number,
    months: number,
  ): void {
    // prettier-ignore
    const top = Math.floor(high / 1000);
    const rest = (high - top * 1000) * TWO32 + (low >>> 0);
    const micros = Math.floor(rest / 1000);
    if (this.exact && rest !== micros * 1000) this.refuse(row, 'its nanoseconds would be lost');
    put(view, p, top + Math.floor(micros / TWO32), micros, days, months);
  }
}

/** duration → interval: µs alone, since a duration is a length of time and has no days or months. */
export class Durations extends IntervalKernel {
  private readonly unit: TimeUnit;
  constructor(unit: TimeUnit, exact: boolean) {
    super(exact);
    this.unit = unit;
  }
  override write(view: DataView, _out: Uint8Array, at: Int32Array, count: number, shift: number, row: number): void {
    const { words, unit } = this;
    const micros = unit === TimeUnit.SECOND ? 1_000_000 : unit === TimeUnit.MILLISECOND ? 1000 : 1;
    for (let i = 0, w = row << 1; i < count; i++, w += 2) {
      const p = at[i]! + shift;
      if (unit === TimeUnit.NANOSECOND) {
        this.putNanos(view, p, row + i, words[w + 1]!, words[w]!, 0, 0);
        continue;
      }
      // The product may pass 2^53: made word by word, each of them exact.
      const product = (words[w]! >>> 0) * micros;
      const carry = Math.floor(product / TWO32);
      const high = words[w + 1]! * micros + carry;
      if (high < -TWO31 || high >= TWO31) this.refuse(row + i, 'it is outside the type interval');
      put(view, p, high, product - carry * TWO32, 0, 0);
    }
  }
}

/** interval of months, of days and ms, or of months, days and ns → interval. */
export class Intervals extends IntervalKernel {
  private readonly unit: IntervalUnit;
  constructor(unit: IntervalUnit, exact: boolean) {
    super(exact);
    this.unit = unit;
  }
  override write(view: DataView, _out: Uint8Array, at: Int32Array, count: number, shift: number, row: number): void {
    const { words, unit } = this;
    for (let i = 0; i < count; i++, row++) {
      const p = at[i]! + shift;
      if (unit === IntervalUnit.YEAR_MONTH) put(view, p, 0, 0, 0, words[row]!);
      else if (unit === IntervalUnit.DAY_TIME) {
        const micros = words[2 * row + 1]! * 1000;
        put(view, p, Math.floor(micros / TWO32), micros, words[2 * row]!, 0);
      } else {
        const w = 4 * row;
        this.putNanos(view, p, row, words[w + 3]!, words[w + 2]!, words[w + 1]!, words[w]!);
      }
    }
  }
}

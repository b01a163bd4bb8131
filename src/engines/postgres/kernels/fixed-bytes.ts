import type { Data } from 'apache-arrow';
import { FixedKernel } from './kernel.ts';

/** fixed-size binary → uuid (16 bytes) or bytea. */
export class FixedBytes extends FixedKernel {
  override width: number;
  private bytes!: Uint8Array;
  constructor(width: number) {
    super();
    this.width = width;
  }
  protected override take(data: Data): void {
    this.bytes = data.values as Uint8Array;
  }
  override write(view: DataView, out: Uint8Array, at: Int32Array, count: number, shift: number, row: number): void {
    const { bytes, width } = this;
    for (let i = 0, from = row * width; i < count; i++) {
      let p = at[i]! + shift;
      view.setInt32(p, width);
      p += 4;
      for (const to = from + width; from < to; from++) out[p++] = bytes[from]!;
    }
  }
}

/** Value of a hexadecimal digit by its character code; -1 for what is none. */
const HEX = Int8Array.from({ length: 256 }, (_, code) => {
  const digit = '0123456789abcdef'.indexOf(String.fromCharCode(code).toLowerCase());
  return digit;
});
const DASH = 45;

/** Strings such as `0f8fad5b-d9cb-469f-a165-70867728950e`, with or without dashes → uuid. */
export class UuidText extends FixedKernel {
  override width = 16;
  private bytes!: Uint8Array;
  private offsets!: Int32Array;
  protected override take(data: Data): void {
    this.bytes = data.values as Uint8Array;
    this.offsets = data.valueOffsets as Int32Array;
  }
  override write(view: DataView, out: Uint8Array, at: Int32Array, count: number, shift: number, row: number): void {
    const { bytes, offsets } = this;
    for (let i = 0; i < count; i++, row++) {
      let p = at[i]! + shift;
      view.setInt32(p, 16);
      p += 4;
      const end = p + 16;
      let from = offsets[row]!;
      const to = offsets[row + 1]!;
      let wrong = false;
      while (from < to && p < end) {
        if (bytes[from] === DASH) {
          from++;
          continue;
        }
        const high = HEX[bytes[from]!]!;
        const low = from + 1 < to ? HEX[bytes[from + 1]!]! : -1;
        wrong = wrong || high < 0 || low < 0;
        out[p++] = (high << 4) | low;
        from += 2;
      }
      if (wrong || p < end || from < to) this.refuse(row, 'it is not a uuid');
    }
  }
}

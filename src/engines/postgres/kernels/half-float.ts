import type { Data } from 'apache-arrow';
import { FixedKernel } from './kernel.ts';

const EXPONENT = 0x1f;
const BIAS = 15;
const FRACTION = 1024;

/** Value of the 16 bits of an IEEE 754 half. */
export function halfValue(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & EXPONENT;
  const fraction = bits & (FRACTION - 1);
  if (exponent === EXPONENT) return fraction === 0 ? sign * Infinity : NaN;
  if (exponent === 0) return sign * (fraction / FRACTION) * 2 ** (1 - BIAS);
  return sign * (1 + fraction / FRACTION) * 2 ** (exponent - BIAS);
}

/** float16 → float4 or float8, each of which holds every half. */
export class HalfFloats extends FixedKernel {
  override width: 4 | 8;
  private halves!: Uint16Array;
  constructor(width: 4 | 8) {
    super();
    this.width = width;
  }
  protected override take(data: Data): void {
    this.halves = data.values as Uint16Array;
  }
  override write(view: DataView, _out: Uint8Array, at: Int32Array, count: number, shift: number, row: number): void {
    const { halves, width } = this;
    for (let i = 0; i < count; i++, row++) {
      const p = at[i]! + shift;
      const value = halfValue(halves[row]!);
      view.setInt32(p, width);
      if (width === 4) view.setFloat32(p + 4, value);
      else view.setFloat64(p + 4, value);
    }
  }
}

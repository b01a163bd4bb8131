import type { Data } from 'apache-arrow';
import type { VariableKernel } from './kernel.ts';

/** A column of type null: NULL in each row, whatever the target. */
export class Nulls implements VariableKernel {
  readonly kind = 'variable';
  private count = 0;

  bind(data: Data): void {
    this.count = data.length;
  }

  addSizes(sizes: Int32Array): void {
    for (let row = 0; row < this.count; row++) sizes[row]! += 4;
  }

  write(view: DataView, _out: Uint8Array, cursors: Int32Array, count: number, shift: number): void {
    for (let i = 0; i < count; i++) {
      view.setInt32(cursors[i]! + shift, -1);
      cursors[i]! += shift + 4;
    }
  }
}

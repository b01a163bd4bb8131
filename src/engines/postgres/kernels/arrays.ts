import type { Data, FixedSizeList } from 'apache-arrow';
import type { Kernel, VariableKernel } from './kernel.ts';
import { CellError, isValid, MAX_FIXED_WIDTH } from './kernel.ts';
import { narrowOffsets } from './variable.ts';

/** Dimensions, whether there are nulls, type of the elements. */
const HEADER_BYTES = 12;
/** Length of the one dimension, and where it starts to count. */
const DIMENSION_BYTES = 8;

/** Lists of scalars, of any or of one length → arrays of one dimension. */
export class Arrays implements VariableKernel {
  readonly kind = 'variable';
  private readonly element: Kernel;
  private readonly elementOid: number;
  private data!: Data;
  private elements!: Data;
  private offsets: Int32Array = new Int32Array(0);
  private narrow: Int32Array = new Int32Array(0);
  private elementSizes = new Int32Array(0);
  private places = new Int32Array(0);

  /** @param element writes the elements, for the type whose object id is `elementOid` */
  constructor(element: Kernel, elementOid: number) {
    this.element = element;
    this.elementOid = elementOid;
  }

  bind(data: Data): void {
    this.data = data;
    this.elements = data.children[0]!;
    const offsets = data.valueOffsets as Int32Array | BigInt64Array | undefined;
    if (offsets instanceof Int32Array) this.offsets = offsets;
    else if (offsets) this.offsets = this.narrow = narrowOffsets(offsets, data.length, this.narrow);
    else
      this.offsets = this.narrow = evenOffsets((data as Data<FixedSizeList>).type.listSize, data.length, this.narrow);
    this.byRow(() => this.element.bind(this.elements));
  }

  addSizes(sizes: Int32Array): void {
    const { data, offsets } = this;
    const elementSizes = this.sizeElements();
    for (let row = 0; row < data.length; row++) {
      sizes[row]! += 4;
      if (!isValid(data, row)) continue;
      const from = offsets[row]!;
      const to = offsets[row + 1]!;
      sizes[row]! += HEADER_BYTES + (to > from ? DIMENSION_BYTES : 0);
      for (let at = from; at < to; at++) sizes[row]! += elementSizes[at]!;
    }
  }

  /** What each element takes, length word included. */
  private sizeElements(): Int32Array {
    const { element, elements } = this;
    if (this.elementSizes.length < elements.length) this.elementSizes = new Int32Array(elements.length);
    const sizes = this.elementSizes;
    if (element.kind === 'variable') {
      sizes.fill(0, 0, elements.length);
      this.byRow(() => element.addSizes(sizes));
    } else for (let at = 0; at < elements.length; at++) sizes[at] = 4 + (isValid(elements, at) ? element.width : 0);
    return sizes;
  }

  write(view: DataView, out: Uint8Array, cursors: Int32Array, count: number, shift: number, row: number): void {
    const { data, offsets, elementOid } = this;
    const hasNulls = this.elements.nullCount > 0 ? 1 : 0;
    for (let i = 0; i < count; i++, row++) {
      const start = cursors[i]! + shift;
      if (!isValid(data, row)) {
        view.setInt32(start, -1);
        cursors[i] = start + 4;
        continue;
      }
      const from = offsets[row]!;
      const length = offsets[row + 1]! - from;
      view.setInt32(start + 4, length > 0 ? 1 : 0);
      view.setInt32(start + 8, hasNulls);
      view.setInt32(start + 12, elementOid);
      let end = start + 4 + HEADER_BYTES;
      if (length > 0) {
        view.setInt32(end, length);
        view.setInt32(end + 4, 1);
        end = this.writeElements(view, out, end + DIMENSION_BYTES, from, length);
      }
      view.setInt32(start, end - start - 4);
      cursors[i] = end;
    }
  }

  /** Writes elements `from … from + length - 1` at `at`; answers where they end. */
  private writeElements(view: DataView, out: Uint8Array, at: number, from: number, length: number): number {
    const { element, elements, elementSizes } = this;
    if (this.places.length < length) this.places = new Int32Array(length);
    const { places } = this;
    const waste = out.length - MAX_FIXED_WIDTH - 4;
    for (let k = 0; k < length; k++) {
      places[k] = at;
      if (element.kind === 'fixed' && !isValid(elements, from + k)) {
        view.setInt32(at, -1);
        places[k] = waste;
      }
      at += elementSizes[from + k]!;
    }
    this.byRow(() => element.write(view, out, places, length, 0, from));
    return at;
  }

  /** An element that does not fit names the row that its list is in. */
  private byRow(act: () => void): void {
    try {
      act();
    } catch (error) {
      if (!(error instanceof CellError)) throw error;
      const { offsets, data } = this;
      let row = 0;
      while (row + 1 < data.length && offsets[row + 1]! <= error.row) row++;
      throw new CellError(row, `element ${error.row - offsets[row]! + 1}: ${error.message}`);
    }
  }
}

/** Offsets of lists that have `size` elements each. */
function evenOffsets(size: number, count: number, into: Int32Array): Int32Array {
  const offsets = into.length > count ? into : new Int32Array(count + 1);
  for (let row = 0; row <= count; row++) offsets[row] = row * size;
  return offsets;
}

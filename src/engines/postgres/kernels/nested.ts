import { type Data, DataType } from 'apache-arrow';
import type { JsonWriter } from './json-text.ts';
import { CellError, isValid, type Validity, type VariableKernel } from './kernel.ts';
import { VariableBytes } from './variable.ts';

/** What JSON writes for a zero byte; neither json nor jsonb can give it out as text. */
const ZERO = '\\u0000';

/** Structs, maps, unions and lists that no array can hold → json, jsonb or text, through the JSON text of each value. */
export class NestedJson implements VariableKernel {
  readonly kind = 'variable';
  private readonly writer: JsonWriter;
  private readonly gathered: VariableBytes;
  private offsets = new Int32Array(0);

  constructor(writer: JsonWriter, jsonb: boolean) {
    this.writer = writer;
    this.gathered = new VariableBytes({ text: false, jsonb });
  }

  bind(data: Data): void {
    if (this.offsets.length <= data.length) this.offsets = new Int32Array(data.length + 1);
    const { offsets } = this;
    const texts: string[] = [];
    let total = 0;
    for (let row = 0; row < data.length; row++) {
      offsets[row] = total;
      if (!isValid(data, row)) continue;
      const text = this.textOf(data, row);
      texts.push(text);
      total += Buffer.byteLength(text);
    }
    offsets[data.length] = total;
    this.gathered.take(validityOf(data, texts), Buffer.from(texts.join('')), offsets);
  }

  private textOf(data: Data, row: number): string {
    let text: string;
    try {
      text = this.writer(data, row);
    } catch (error) {
      throw error instanceof RangeError ? new CellError(row, error.message) : error;
    }
    if (text.includes(ZERO) && /(^|[^\\])(\\\\)*\\u0000/.test(text))
      throw new CellError(row, 'it holds a zero byte, which JSON in PostgreSQL cannot');
    return text;
  }

  addSizes(sizes: Int32Array): void {
    this.gathered.addSizes(sizes);
  }

  write(view: DataView, out: Uint8Array, cursors: Int32Array, count: number, shift: number, row: number): void {
    this.gathered.write(view, out, cursors, count, shift, row);
  }
}

/** A union has no bitmap: its values are null where those of its children are. */
function validityOf(data: Data, texts: readonly string[]): Validity {
  if (!DataType.isUnion(data.type)) return data;
  const nullBitmap = new Uint8Array(Math.ceil(data.length / 8));
  let nullCount = 0;
  for (const [row, text] of texts.entries()) {
    if (text === 'null') nullCount += 1;
    else nullBitmap[row >> 3]! |= 1 << (row & 7);
  }
  return { length: data.length, offset: 0, nullCount, nullBitmap };
}

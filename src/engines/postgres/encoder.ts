// Longer than most files: sizes, places and the order of columns within a chunk are one algorithm.
import type { Data } from 'apache-arrow';
import { SpillwayError } from '../../contracts/errors.ts';
import { KiB } from '../../policy/sizes.ts';
import type { SourceColumn } from './arrow-types.ts';
import { type Chunk, FILE_HEADER, FRAME_BYTES, putHeader } from './chunk.ts';
import type { ColumnBatch } from './ipc-reader.ts';
import type { EncodeOptions } from './kernels/choose.ts';
import { chooseKernel } from './kernels/choose.ts';
import type { Kernel } from './kernels/kernel.ts';
import { CellError, isValid, MAX_FIXED_WIDTH } from './kernels/kernel.ts';
import type { TargetColumn } from './types.ts';

/** Most rows in one chunk: bounds the cursor arrays. */
const MAX_CHUNK_ROWS = 16 * KiB;

interface EncodedColumn {
  readonly target: TargetColumn;
  readonly kernel: Kernel;
  data: Data | undefined;
}

/**
 * Encodes Arrow batches as messages of a binary COPY, column by column over raw buffers.
 *
 * Use: `start(batch)`, then `fill(chunk)` until it answers 0 with `more` false. Rows of small batches share a chunk:
 * a chunk is full when `more` is true after fill. All memory is reused; nothing is kept of a batch once it is encoded.
 */
export class CopyEncoder {
  /** Rows encoded so far. */
  rows = 0;
  /** Rows of the dataset before the first one that is encoded here, for messages. */
  private readonly rowsBefore: number;
  private readonly columns: EncodedColumn[];
  private sizes = new Int32Array(0);
  private readonly cursors = new Int32Array(MAX_CHUNK_ROWS);
  private readonly places = new Int32Array(MAX_CHUNK_ROWS);
  private next = 0;
  private count = 0;
  private headerDue = true;

  /**
   * Binds kernels for the target's columns, in order.
   * @throws SpillwayError `LoadRefused` that lists every column whose type does not fit, before any byte is made
   */
  constructor(
    source: readonly SourceColumn[],
    target: readonly TargetColumn[],
    options: EncodeOptions = {},
    rowsBefore = 0,
  ) {
    this.rowsBefore = rowsBefore;
    const problems: string[] = [];
    this.columns = [];
    for (const [index, column] of source.entries()) {
      const choice = chooseKernel(column, target[index]!, options);
      if ('problem' in choice) problems.push(choice.problem);
      else this.columns.push({ target: target[index]!, kernel: choice.kernel, data: undefined });
    }
    if (problems.length > 0) throw new SpillwayError('LoadRefused', problems.join(' '), { details: { problems } });
  }

  /** Whether rows of the current batch are left. */
  get more(): boolean {
    return this.next < this.count;
  }

  /** Takes the next batch; the one before must have been encoded. */
  start(batch: ColumnBatch): void {
    this.next = 0;
    this.count = batch.rows;
    if (batch.rows === 0) return; // its buffers may be empty, also those of offsets, of which there is one more than rows
    if (this.sizes.length < batch.rows) this.sizes = new Int32Array(batch.rows);
    let fixed = 2;
    for (const [index, column] of this.columns.entries()) {
      const data = (column.data = batch.columns[index]!);
      if (column.target.notNull && data.nullCount > 0) this.refuseNull(column.target, data);
      this.guard(column, () => column.kernel.bind(data));
      if (column.kernel.kind === 'fixed') fixed += 4 + (data.nullCount === 0 ? column.kernel.width : 0);
    }
    const sizes = this.sizes;
    sizes.fill(fixed, 0, batch.rows);
    for (const column of this.columns) {
      const { kernel } = column;
      if (kernel.kind === 'variable') this.guard(column, () => kernel.addSizes(sizes));
      else if (column.data!.nullCount > 0) addNullableSizes(column.data!, kernel.width, sizes);
    }
  }

  /** Bytes of message that the next row needs; a chunk must hold at least these. */
  get nextRowBytes(): number {
    return FRAME_BYTES + FILE_HEADER.length + this.sizes[this.next]!;
  }

  /**
   * Adds rows to a message that already has `used` bytes (0: a new one) and answers its bytes now.
   * A message that gets no row stays as it was. {@link seal} ends it.
   */
  fill(chunk: Chunk, used: number): number {
    const { sizes, cursors } = this;
    const capacity = chunk.bytes.length - MAX_FIXED_WIDTH - 4;
    let at = used;
    if (at === 0) {
      at = FRAME_BYTES;
      if (this.headerDue) {
        chunk.bytes.set(FILE_HEADER, at);
        at += FILE_HEADER.length;
      }
    }
    const first = this.next;
    const last = Math.min(this.count, first + MAX_CHUNK_ROWS);
    let row = first;
    while (row < last && at + sizes[row]! <= capacity) {
      cursors[row - first] = at;
      at += sizes[row]!;
      row++;
    }
    if (row === first) return used;
    this.writeRows(chunk, first, row - first);
    this.headerDue = false;
    this.next = row;
    this.rows += row - first;
    return at;
  }

  /** The file header alone, for a COPY without rows; answers 0 when it was sent already. */
  header(chunk: Chunk): number {
    if (!this.headerDue) return 0;
    this.headerDue = false;
    return putHeader(chunk);
  }

  private writeRows(chunk: Chunk, first: number, count: number): void {
    const { view, bytes } = chunk;
    const { cursors, places } = this;
    const waste = bytes.length - MAX_FIXED_WIDTH - 4;
    const fields = this.columns.length;
    for (let i = 0; i < count; i++) view.setInt16(cursors[i]!, fields);
    // Columns of one width in all rows share a running shift; only the others move the cursors.
    let shift = 2;
    for (const column of this.columns) {
      const { kernel } = column;
      const data = column.data!;
      try {
        if (kernel.kind === 'variable') {
          kernel.write(view, bytes, cursors, count, shift, first);
          shift = 0;
        } else if (data.nullCount === 0) {
          kernel.write(view, bytes, cursors, count, shift, first);
          shift += 4 + kernel.width;
        } else {
          placeNullable(data, view, cursors, places, count, shift, first, kernel.width, waste);
          kernel.write(view, bytes, places, count, 0, first);
          shift = 0;
        }
      } catch (error) {
        throw this.named(column, error);
      }
    }
  }

  private guard(column: EncodedColumn, act: () => void): void {
    try {
      act();
    } catch (error) {
      throw this.named(column, error);
    }
  }

  /** `this.rows - this.next` rows came before the current batch. */
  private named(column: EncodedColumn, error: unknown): unknown {
    if (!(error instanceof CellError)) return error;
    const row = this.rowsBefore + this.rows - this.next + error.row + 1;
    return new SpillwayError(
      'LoadRefused',
      `Row ${row}, column "${column.target.name}" does not fit ${column.target.typeName}: ${error.message}. Nothing was published; correct the value or cast the column in the query.`,
      { details: { row, column: column.target.name } },
    );
  }

  private refuseNull(target: TargetColumn, data: Data): void {
    let row = 0;
    while (row < data.length && isValid(data, row)) row++;
    // A column of type null has no bitmap.
    if (row === data.length) row = 0;
    const number = this.rowsBefore + this.rows + row + 1;
    throw new SpillwayError(
      'LoadRefused',
      `Row ${number}, column "${target.name}" is NULL, and the column must not be. Nothing was published; filter such rows in the query, or take the column out of the key.`,
      { details: { row: number, column: target.name } },
    );
  }
}

function addNullableSizes(data: Data, width: number, sizes: Int32Array): void {
  const bitmap = data.nullBitmap;
  for (let row = 0, bit = data.offset; row < data.length; row++, bit++) {
    if ((bitmap[bit >> 3]! >> (bit & 7)) & 1) sizes[row]! += width;
  }
}

/** Finds the place of each value, writes -1 for nulls and points their values at the waste area. */
function placeNullable(
  data: Data,
  view: DataView,
  cursors: Int32Array,
  places: Int32Array,
  count: number,
  shift: number,
  first: number,
  width: number,
  waste: number,
): void {
  const bitmap = data.nullBitmap;
  for (let i = 0, bit = data.offset + first; i < count; i++, bit++) {
    const p = cursors[i]! + shift;
    if ((bitmap[bit >> 3]! >> (bit & 7)) & 1) {
      places[i] = p;
      cursors[i] = p + 4 + width;
    } else {
      view.setInt32(p, -1);
      places[i] = waste;
      cursors[i] = p + 4;
    }
  }
}

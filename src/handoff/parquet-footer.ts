import { open } from 'node:fs/promises';
import { SpillwayError } from '../contracts/errors.ts';

/** What the footer of a Parquet file says, as far as we ask. */
export interface ParquetFooter {
  rows: number;
}

const MAGIC = 'PAR1';
const TAIL_BYTES = 8;
const NUM_ROWS_FIELD = 3;

/** Reads a file's row count from its footer. Raises HandoffLost for a file that is no whole Parquet file. */
export async function readParquetFooter(path: string): Promise<ParquetFooter> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const tail = await readAt(file, Math.max(0, size - TAIL_BYTES), TAIL_BYTES);
    if (size < TAIL_BYTES + MAGIC.length || tail.toString('latin1', 4) !== MAGIC)
      throw broken(path, 'it does not end like one');
    const length = tail.readUInt32LE(0);
    if (length + TAIL_BYTES + MAGIC.length > size) throw broken(path, 'its footer is cut off');
    return { rows: rowsOf(await readAt(file, size - TAIL_BYTES - length, length), path) };
  } finally {
    await file.close();
  }
}

async function readAt(
  file: { read: (buffer: Buffer, offset: number, length: number, position: number) => Promise<unknown> },
  position: number,
  length: number,
): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  await file.read(buffer, 0, length, position);
  return buffer;
}

const broken = (path: string, why: string): SpillwayError =>
  new SpillwayError('HandoffLost', `Run the step that wrote it again: ${path} is not a whole Parquet file, ${why}.`);

/** FileMetaData is a struct in Thrift's compact protocol; its third field is the number of rows. */
function rowsOf(footer: Buffer, path: string): number {
  try {
    return rowsField(footer);
  } catch (error) {
    throw error instanceof RangeError ? broken(path, error.message) : error;
  }
}

function rowsField(footer: Buffer): number {
  const at = { index: 0 };
  let field = 0;
  for (;;) {
    const header = footer[at.index++];
    if (header === undefined || header === 0) throw new RangeError('its footer names no row count');
    field = header >> 4 === 0 ? Number(zigzag(varint(footer, at))) : field + (header >> 4);
    if (field === NUM_ROWS_FIELD) return Number(zigzag(varint(footer, at)));
    skip(footer, at, header & 15);
  }
}

type Cursor = { index: number };

function varint(bytes: Buffer, at: Cursor): bigint {
  let value = 0n;
  for (let shift = 0n; ; shift += 7n) {
    const byte = bytes[at.index++];
    if (byte === undefined) throw new RangeError('footer ends within a number');
    value |= BigInt(byte & 127) << shift;
    if (byte < 128) return value;
  }
}

const zigzag = (value: bigint): bigint => (value >> 1n) ^ -(value & 1n);

// Type codes of the compact protocol.
const [TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT] = [
  1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
] as const;

function skip(bytes: Buffer, at: Cursor, type: number, inCollection = false): void {
  if (type === TRUE || type === FALSE) at.index += inCollection ? 1 : 0;
  else if (type === BYTE) at.index += 1;
  else if (type === I16 || type === I32 || type === I64) varint(bytes, at);
  else if (type === DOUBLE) at.index += 8;
  else if (type === BINARY) skipBytes(bytes, at);
  else if (type === LIST || type === SET) skipList(bytes, at);
  else if (type === MAP) skipMap(bytes, at);
  else if (type === STRUCT) skipStruct(bytes, at);
  else throw new RangeError(`footer holds unknown type ${type}`);
}

function skipBytes(bytes: Buffer, at: Cursor): void {
  // Not `at.index += …`: that would read the index before the length has moved it.
  const length = Number(varint(bytes, at));
  at.index += length;
}

function skipList(bytes: Buffer, at: Cursor): void {
  const header = bytes[at.index++] ?? 0;
  const count = header >> 4 === 15 ? Number(varint(bytes, at)) : header >> 4;
  for (let item = 0; item < count; item += 1) skip(bytes, at, header & 15, true);
}

function skipMap(bytes: Buffer, at: Cursor): void {
  const count = Number(varint(bytes, at));
  if (count === 0) return;
  const types = bytes[at.index++] ?? 0;
  for (let item = 0; item < count; item += 1) {
    skip(bytes, at, types >> 4, true);
    skip(bytes, at, types & 15, true);
  }
}

function skipStruct(bytes: Buffer, at: Cursor): void {
  for (;;) {
    const header = bytes[at.index++];
    if (header === undefined) throw new RangeError('footer ends within a struct');
    if (header === 0) return;
    if (header >> 4 === 0) varint(bytes, at);
    skip(bytes, at, header & 15);
  }
}

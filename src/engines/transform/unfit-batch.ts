import { type DataType, Dictionary, type Field, type Schema } from 'apache-arrow';

/** What cannot be written, or not beside the batches before it. */
export class UnfitBatch extends Error {
  override readonly name = 'UnfitBatch';
}

/** @throws UnfitBatch for anything but rows of Arrow, which may be of a copy of the library that is not ours */
export function checkRows(yielded: unknown): void {
  if (typeof yielded === 'object' && yielded !== null && 'schema' in yielded) return;
  const what = typeof yielded === 'object' ? (yielded?.constructor.name ?? 'null') : `a ${typeof yielded}`;
  throw new UnfitBatch(`it yielded ${what}; yield a RecordBatch or a Table of apache-arrow`);
}

/** @throws UnfitBatch for columns that are not those of the batches before, or dictionary-encoded */
export function checkColumns(schema: Schema, before: Schema | undefined): void {
  for (const field of schema.fields as Field<DataType>[]) {
    const coded = codedColumn(field);
    if (coded !== undefined)
      throw new UnfitBatch(
        `column ${coded} is dictionary-encoded; give its values a plain type, such as vectorFromArray(values, new Utf8())`,
      );
  }
  if (before !== undefined && shape(schema) !== shape(before))
    throw new UnfitBatch(`a batch has columns (${shape(schema)}), those before it had (${shape(before)})`);
}

const shape = (schema: Schema): string => schema.fields.map(({ name, type }) => `${name} ${String(type)}`).join(', ');

/** A file holds one dictionary a column, and a transform makes another one with each batch. */
function codedColumn({ name, type }: Field<DataType>): string | undefined {
  if (type instanceof Dictionary) return name;
  return ((type.children as Field<DataType>[] | null) ?? []).map(codedColumn).find((found) => found !== undefined);
}

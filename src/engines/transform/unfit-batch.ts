import { type DataType, Dictionary, type Field, type Schema } from 'apache-arrow';

/** Columns of a batch that cannot be written beside those before it. */
export class UnfitBatch extends Error {
  override readonly name = 'UnfitBatch';
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

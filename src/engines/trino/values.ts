import type { ReplyColumn, TypeSignature } from './protocol.ts';

/** A value of a page: bigints as `bigint`, also within arrays, maps and rows; everything else as the protocol's JSON has it. */
export type TrinoValue = string | number | bigint | boolean | null | TrinoValue[] | { [key: string]: TrinoValue };

type Decode = (value: unknown) => TrinoValue;

const asIs: Decode = (value) => value as TrinoValue;
const orNull =
  (decode: (value: NonNullable<unknown>) => TrinoValue): Decode =>
  (value) =>
    value === null || value === undefined ? null : decode(value);

/** Builds the decoder of one page's rows; undefined when no column needs one. */
export function rowDecoder(columns: readonly ReplyColumn[]): ((rows: unknown[][]) => TrinoValue[][]) | undefined {
  const decoders = columns.map((column) => decoder(column.typeSignature));
  const changing = decoders.flatMap((decode, index) => (decode === asIs ? [] : [{ decode, index }]));
  if (changing.length === 0) return undefined;
  return (rows) => {
    for (const row of rows) for (const { decode, index } of changing) row[index] = decode(row[index]);
    return rows as TrinoValue[][];
  };
}

function decoder(signature: TypeSignature | undefined): Decode {
  if (!signature) return asIs;
  const inner = (index: number): Decode => decoder(typeArgument(signature.arguments[index]?.value));
  if (signature.rawType === 'bigint') return orNull((value) => BigInt(value as string | number));
  if (signature.rawType === 'array') {
    const element = inner(0);
    return element === asIs ? asIs : orNull((value) => (value as unknown[]).map(element));
  }
  if (signature.rawType === 'map') {
    const held = inner(1); // keys are strings in JSON whatever their type
    if (held === asIs) return asIs;
    return orNull((value) => Object.fromEntries(Object.entries(value).map(([key, item]) => [key, held(item)])));
  }
  if (signature.rawType === 'row') {
    const fields = signature.arguments.map((_argument, index) => inner(index));
    if (fields.every((field) => field === asIs)) return asIs;
    return orNull((value) => (value as unknown[]).map((item, index) => (fields[index] ?? asIs)(item)));
  }
  return asIs;
}

/** The type of an argument: itself (`TYPE`), or what a field name stands beside (`NAMED_TYPE`). */
function typeArgument(value: unknown): TypeSignature | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  if ('rawType' in value) return value as TypeSignature;
  return 'typeSignature' in value ? (value.typeSignature as TypeSignature) : undefined;
}

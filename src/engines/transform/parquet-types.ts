import {
  BufferType,
  type Data,
  DataType,
  DateDay,
  DateUnit,
  Field,
  makeData,
  RecordBatch,
  Schema,
  Struct,
  TimeMillisecond,
  TimestampMillisecond,
  TimeUnit,
} from 'apache-arrow';

/*
 * Parquet counts instants and times in milliseconds or finer, and days as days. Arrow's encoder in Rust writes seconds, and days counted in
 * milliseconds, as bare integers, which only its own reader takes for what they are.
 */

const MS_A_DAY = 86_400_000n;

type Conversion = { type: DataType; values: (values: ArrayLike<number | bigint>) => BigInt64Array | Int32Array };

const milliseconds = (values: ArrayLike<number | bigint>): BigInt64Array =>
  BigInt64Array.from(values as ArrayLike<bigint>, (seconds) => seconds * 1000n);
const days = (values: ArrayLike<number | bigint>): Int32Array =>
  Int32Array.from(values as ArrayLike<number>, (ms) => Number((BigInt(ms) - floorRest(BigInt(ms))) / MS_A_DAY));
const floorRest = (ms: bigint): bigint => ((ms % MS_A_DAY) + MS_A_DAY) % MS_A_DAY;

function conversionOf(type: DataType): Conversion | undefined {
  if (DataType.isTimestamp(type) && type.unit === TimeUnit.SECOND)
    return { type: new TimestampMillisecond(type.timezone), values: milliseconds };
  if (DataType.isTime(type) && type.unit === TimeUnit.SECOND)
    return { type: new TimeMillisecond(), values: (values) => Int32Array.from(values as ArrayLike<number>, (seconds) => seconds * 1000) }; // prettier-ignore
  if (DataType.isDate(type) && type.unit === DateUnit.MILLISECOND) return { type: new DateDay(), values: days };
  return undefined;
}

type Column = Field<DataType>;
const within = ({ children }: DataType): Column[] => (children as Column[] | null) ?? [];
const columnsOf = (schema: Schema): Column[] => schema.fields as Column[];
const cannotBeRead = (type: DataType): boolean =>
  DataType.isInterval(type) ||
  within(type).some((field) => conversionOf(field.type) !== undefined || cannotBeRead(field.type));

/** Names of columns that others than the encoder's own reader would not take for what they are: intervals, and nested ones with such values, which are not converted. */
export const columnsOthersMisread = (schema: Schema): string[] =>
  columnsOf(schema)
    .filter(({ type }) => cannotBeRead(type))
    .map(({ name }) => name);

/** The columns as Parquet has them. */
export const parquetSchema = (schema: Schema): Schema =>
  new Schema(
    columnsOf(schema).map(({ name, type, nullable, metadata }) => new Field(name, conversionOf(type)?.type ?? type, nullable, metadata)),
    schema.metadata,
  ); // prettier-ignore

/** The rows with the columns of {@link parquetSchema}. */
export function parquetBatch({ data }: RecordBatch, schema: Schema): RecordBatch {
  const children = data.children.map(converted);
  return new RecordBatch(schema, makeData({ type: new Struct(schema.fields), length: data.length, nullCount: 0, children })); // prettier-ignore
}

function converted(column: Data): Data {
  const conversion = conversionOf(column.type);
  if (!conversion) return column;
  const made = conversion.values(column.values as ArrayLike<number | bigint>);
  const buffers = { ...column.buffers, [BufferType.DATA]: made };
  return column.clone(conversion.type, column.offset, column.length, column.nullCount, buffers);
}

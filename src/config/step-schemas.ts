import { z } from 'zod';
import { parseBytes, parseDurationMs } from '../policy/sizes.ts';

const STEP_NAME = /^[A-Za-z][A-Za-z0-9_-]{0,62}$/;
const TABLE_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

// Every rule is said in our own words, whatever kind of value breaks it.
const oneOf = <const Names extends readonly [string, ...string[]]>(...names: Names) =>
  z.enum(names, `must be one of ${names.join(', ')}`);
const text = z.string('must be a text');
const name = (rule: string) => z.string(rule).min(1, rule);
const listOf = <Item extends z.ZodType>(item: Item, rule: string) => z.array(item, rule).min(1, rule);
const wholeNumber = (rule: string, least: number, most = Number.MAX_SAFE_INTEGER) =>
  z.int(rule).min(least, rule).max(most, rule);
/** `pattern` is what a JSON schema, which cannot call `read`, holds texts to. */
const parsed = (read: (value: string | number) => number | undefined, rule: string, pattern: string) =>
  z
    .union([z.string(), z.int()], rule)
    .refine((value) => read(value) !== undefined, rule)
    .meta({ pattern, minimum: 0 });

const stepName = z
  .string('must be a name')
  .regex(STEP_NAME, 'must start with a letter and have at most 63 letters, digits, _ or -');
const size = parsed(
  parseBytes,
  'must be a size such as "6 GiB" or a whole number of bytes',
  String.raw`^\s*(\d+\s*[bB]?|\d+(\.\d+)?\s*[kKmMgGtT]([iI]?[bB])?)\s*$`,
);
const duration = parsed(
  parseDurationMs,
  'must be a duration such as "2 hours" or a number of milliseconds',
  String.raw`^\s*\d+(\.\d+)?\s*(ms|s|sec|seconds?|m|min|minutes?|h|hours?|d|days?)\s*$`,
);
const statement = z.string('must be a statement').trim().min(1, 'must be a statement');
const dataset = name('must be the name of a step');
const connection = name('must be the name of a configured connection');
const columns = listOf(name('must be the name of a column'), 'must be a list of at least one column');
const from = 'must name at least one dataset: table name → step';

const retry = z.strictObject(
  { maximumAttempts: wholeNumber('must be a whole number >= 1', 1).optional(), initialInterval: duration.optional() },
  'must be { maximumAttempts, initialInterval }',
);
const index = z.strictObject(
  { columns, unique: z.boolean('must be true or false').optional() },
  'must be { columns, unique }',
);

const CHECKPOINT = 'must be true, or { reuse: "run" | "any-run", version, keep }';
const version = name('must be a text').optional();
const checkpoint = z
  .union(
    [
      z.boolean(),
      z.strictObject({ reuse: z.literal('run').optional(), version, keep: z.boolean().optional() }),
      z.strictObject({ reuse: z.literal('any-run'), version }),
    ],
    CHECKPOINT,
  )
  .optional();

const options = {
  step: stepName,
  weight: oneOf('heavy', 'light').optional(),
  profile: oneOf('S', 'M', 'L', 'whole').optional(),
  memory: size.optional(),
  scratch: size.optional(),
  startToClose: duration.optional(),
  retry: retry.optional(),
  priority: wholeNumber('must be a whole number from 1 (first) to 5 (last)', 1, 5).optional(),
};

const params = z
  .array(
    z.union([text, z.number(), z.boolean(), z.null()], 'must be a text, a number, true, false or null'),
    'must be a list of values',
  )
  .optional();

const trinoQuery = z.strictObject({
  ...options,
  verb: z.literal('trino.query'),
  checkpoint,
  sql: statement,
  params,
  connection: connection.optional(),
});

const datafusionSql = z.strictObject({
  ...options,
  verb: z.literal('datafusion.sql'),
  checkpoint,
  from: z
    .record(z.string().regex(TABLE_NAME, 'must have a plain table name as its key'), dataset, from)
    .refine((tables) => Object.keys(tables).length > 0, from),
  sql: statement,
  isolate: z.boolean('must be true or false').optional(),
});

const transform = z.strictObject({
  ...options,
  verb: z.literal('transform'),
  checkpoint,
  from: dataset,
  run: name('must be the name of a transform'),
  args: z.record(z.string(), z.json('must be JSON'), 'must be an object of JSON values').optional(),
});

const directory = name('must be the name of a configured directory').optional();
const csv = z.strictObject(
  {
    header: z.boolean('must be true or false').optional(),
    delimiter: z.string('must be one character').length(1, 'must be one character').optional(),
    types: oneOf('infer', 'text').optional(),
  },
  'must be { header, delimiter, types }',
);
const pathBelow = name('must be a path below the directory');

const files = z.strictObject({
  ...options,
  verb: z.literal('files'),
  directory,
  path: z.union([pathBelow, z.array(pathBelow).min(1)], 'must be a path below the directory, or a list of them'),
  format: oneOf('parquet', 'arrow', 'csv').optional(),
  csv: csv.optional(),
});

const write = { ...options, from: dataset, directory, path: pathBelow };
const writeParquet = z.strictObject({ ...write, verb: z.literal('write.parquet') });
const writeArrow = z.strictObject({ ...write, verb: z.literal('write.arrow') });

const tableName = z.string('must be schema.table').regex(/^[^.]+\.[^.]+$/, 'must be schema.table');
const PARTITION = 'must be { in: [values] }, or { from, to } with a value each, or a list of values';
const partitionValue = z.union([z.string(), z.number(), z.boolean(), z.null()], PARTITION);
const partitionEdge = z.union([partitionValue, z.array(partitionValue).min(1)], PARTITION);
const partition = z.union(
  [z.strictObject({ in: z.array(partitionValue).min(1) }), z.strictObject({ from: partitionEdge, to: partitionEdge })],
  PARTITION,
);

const CONNECTIONS = 'must be a whole number from 1 to 16';
const postgresLoad = z.strictObject({
  ...options,
  verb: z.literal('postgres.load'),
  from: dataset,
  into: tableName,
  key: columns.optional(),
  write: oneOf('replace', 'append', 'merge').optional(),
  partition: partition.optional(),
  evolve: z.array(oneOf('add', 'widen'), "must be a list of 'add' and 'widen'").optional(),
  strategy: oneOf('auto', 'freeze', 'unlogged', 'parallel').optional(),
  connections: z.int(CONNECTIONS).min(1, CONNECTIONS).max(16, CONNECTIONS).optional(),
  indexes: z.array(index, 'must be a list of { columns, unique }').optional(),
  indexOrder: oneOf('before-logged', 'after-logged').optional(),
  connection: connection.optional(),
});

const postgresSql = z.strictObject({
  ...options,
  verb: z.literal('postgres.sql'),
  sql: statement,
  params,
  into: tableName.optional(),
  key: columns.optional(),
  indexes: z.array(index, 'must be a list of { columns, unique }').optional(),
  after: z.array(name('must be the name of a step'), 'must be a list of steps').optional(),
  connection: connection.optional(),
});

/** What a step of each verb may say; every rule in words that follow its key in a message. */
export const STEP_SCHEMAS = {
  'trino.query': trinoQuery,
  'datafusion.sql': datafusionSql,
  transform,
  files,
  'postgres.load': postgresLoad,
  'postgres.sql': postgresSql,
  'write.parquet': writeParquet,
  'write.arrow': writeArrow,
} as const;

/** A pipeline as data. `$schema` is for editors. */
export const JOB_SCHEMA = z.strictObject({
  $schema: z.string().optional(),
  name: name('must be a text'),
  steps: listOf(
    z.discriminatedUnion('verb', Object.values(STEP_SCHEMAS) as [typeof trinoQuery, ...z.ZodObject[]]),
    'must be a list of at least one step',
  ),
});

/** Known keys of what stands inside a step, by the step's key. */
export const INNER_KEYS: Record<string, string[]> = {
  retry: Object.keys(retry.shape),
  indexes: Object.keys(index.shape),
  csv: Object.keys(csv.shape),
};

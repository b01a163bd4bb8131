// The program that run-transform.ts starts: other people's code, whose memory and time must not be the worker's.
import { createReadStream, existsSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  type Data,
  DataType,
  type Field,
  makeData,
  RecordBatch,
  RecordBatchReader,
  type Schema,
  Struct,
} from 'apache-arrow';
import { heldBytesOf } from '../../host/process-memory.ts';
import { importDefault } from '../../config/import-module.ts';
import { nearestName } from '../../policy/nearest-name.ts';
import { authorFrame } from './author-frame.ts';
import { UnfitBatch } from './unfit-batch.ts';
import type { Transform } from './define-transforms.ts';
import { RowsWriter } from './rows-writer.ts';
import type {
  TransformEvent,
  TransformModule,
  TransformOrder,
  TransformTrouble,
  WrittenPart,
} from './transform-job.ts';

type RunOrder = Extract<TransformOrder, { kind: 'run' }>;

/** Past this share of the limit garbage is collected; buffers of batches are outside the heap, and V8 is in no hurry with them. */
const COLLECT_ABOVE = 0.8;

class Trouble extends Error {
  readonly trouble: TransformTrouble;
  constructor(trouble: TransformTrouble, message: string, cause?: unknown) {
    super(message, { cause });
    this.trouble = trouble;
  }
}

const OWN = dirname(fileURLToPath(import.meta.url));

const say = (event: TransformEvent): void => void process.send?.(event);

async function load({ module, compiledIn }: TransformModule): Promise<Readonly<Record<string, Transform>>> {
  const beside = (name: string): string => join(OWN, existsSync(join(OWN, `${name}.ts`)) ? `${name}.ts` : `${name}.js`);
  let found: unknown;
  try {
    found = await importDefault(module, {
      compiledIn,
      alias: {
        // Found wherever the module lies, and also before the package is built.
        'spillway/transforms': beside('define-transforms'),
        // One Arrow: the batches that come in are of the classes that the module builds its own with.
        'apache-arrow': fileURLToPath(import.meta.resolve('apache-arrow')),
      },
    });
  } catch (error) {
    throw new Trouble('module', `${module} does not load: ${messageOf(error)}`, error);
  }
  const wrong =
    typeof found !== 'object' || found === null
      ? 'its default export'
      : Object.entries(found).find(([, value]) => typeof value !== 'function')?.[0];
  if (wrong !== undefined)
    throw new Trouble('module', `${module} must export defineTransforms({ … }) by default; ${wrong} is no transform`);
  return found as Record<string, Transform>;
}

async function run(order: RunOrder): Promise<void> {
  const transforms = await load(order);
  const transform = Object.hasOwn(transforms, order.transform) ? transforms[order.transform] : undefined;
  if (transform === undefined) {
    const names = Object.keys(transforms);
    const near = nearestName(order.transform, names);
    throw new Trouble(
      'module',
      `${order.module} has no transform '${order.transform}'. ${near === undefined ? `It has: ${names.join(', ') || 'none'}.` : `Did you mean ${near}?`}`,
    );
  }
  const writer = new RowsWriter(order.writeTo, order.limitBytes);
  let parts: WrittenPart[];
  let rowsIn = 0;
  let readAll = false;
  async function* counted(): AsyncGenerator<RecordBatch> {
    for await (const batch of split(order)) {
      rowsIn += batch.numRows;
      yield batch;
    }
    readAll = true;
  }
  try {
    const { args, step, run } = order;
    for await (const rows of transform(counted(), { args, step, run })) {
      await writer.write(rows);
      keepWithin(order, writer);
      say({ ev: 'progress', rowsIn, rows: writer.rows, bytes: writer.bytes });
    }
    if (writer.schema === undefined)
      throw new Trouble(
        'output',
        'it yielded no batch; yield an empty one where there are no rows, so that their columns are known',
      );
    parts = await writer.close();
  } catch (error) {
    await writer.discard();
    if (error instanceof Trouble) throw error;
    throw new Trouble(error instanceof UnfitBatch ? 'output' : 'threw', messageOf(error), error);
  }
  say({
    ev: 'done',
    rowsIn,
    readAll,
    rows: writer.rows,
    bytes: writer.bytes,
    parts,
    unfit: [...writer.unfit],
    schema: writer.schema.fields.map(({ name, type, nullable }) => ({ name, type: String(type), nullable })),
  });
}

/** The input in batches of at most `batchRows`; one without rows when there is none. */
async function* split({ input, batchRows }: RunOrder): AsyncGenerator<RecordBatch> {
  let schema: Schema | undefined;
  let any = false;
  for await (const reader of readers(input)) {
    schema ??= reader.schema;
    const batches = reader[Symbol.asyncIterator]();
    for (;;) {
      const next = await batches.next().catch((error: unknown) => {
        throw new Trouble('input', `its input broke off: ${messageOf(error)}`, error);
      });
      if (next.done === true) break;
      const batch = next.value;
      for (let at = 0; at < batch.numRows; at += batchRows) {
        any = true;
        yield batch.numRows <= batchRows ? batch : batch.slice(at, at + batchRows);
      }
    }
  }
  if (!any && schema) {
    yield new RecordBatch(schema, noValues(new Struct(schema.fields)) as Data<Struct>);
  }
}

/** A column without values. The library makes none of a nested type that could be written. */
function noValues(type: DataType): Data {
  const children = ((type.children ?? []) as Field<DataType>[]).map((field) => noValues(field.type));
  const [child] = children;
  const valueOffsets = DataType.isLargeList(type) ? new BigInt64Array(1) : new Int32Array(1);
  const isList = DataType.isList(type) || DataType.isLargeList(type) || DataType.isMap(type);
  return makeData({ type, length: 0, nullCount: 0, children, ...(child && { child }), ...(isList && { valueOffsets }) } as never) as Data; // prettier-ignore
}

async function* readers(input: RunOrder['input']) {
  if ('fifo' in input) {
    yield (await RecordBatchReader.from(createReadStream(input.fifo))).open();
    return;
  }
  for (const file of input.files) {
    const handle = await open(file);
    try {
      yield (await RecordBatchReader.from(handle)).open();
    } finally {
      await handle.close();
    }
  }
}

function keepWithin({ limitBytes, scratchBytes }: RunOrder, writer: RowsWriter): void {
  if (writer.diskBytes > scratchBytes)
    throw new Trouble('disk', `its rows passed the ${scratchBytes} bytes of scratch that were lent`);
  if (heldBytesOf('self') <= COLLECT_ABOVE * limitBytes) return;
  globalThis.gc?.();
  const held = heldBytesOf('self');
  if (held > limitBytes) throw new Trouble('memory', `it holds ${held} bytes of the ${limitBytes} that were lent`);
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error)).split('\n')[0]!;

/** Frames of the module's own code; ours say nothing to its author. */
const stackOf = (error: unknown): string | undefined => {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? cause.stack : undefined;
};

process.once('disconnect', () => process.exit(1)); // whoever wanted the rows is gone
process.once('message', (order: TransformOrder) => {
  const work = order.kind === 'list' ? load(order).then((all) => say({ ev: 'transforms', names: Object.keys(all) })) : run(order); // prettier-ignore
  void work
    .catch((error: unknown) => {
      const trouble = error instanceof Trouble ? error.trouble : 'threw';
      const stack = stackOf(error);
      const frame = trouble === 'threw' ? authorFrame(stack, OWN) : undefined;
      const message = frame === undefined ? messageOf(error) : `${messageOf(error)} (${frame})`;
      say({ ev: 'error', trouble, message, ...(stack !== undefined && { stack }) });
      process.exitCode = 1;
    })
    .finally(() => process.disconnect());
});
say({ ev: 'ready' });

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DateDay, Table, vectorFromArray } from 'apache-arrow';
import { runRecorded } from 'spillway/testing';
import transforms from '../transforms.ts';
import { ordersByDay } from '../workflows.ts';

test('orders are read, aggregated and published, without any server', async () => {
  const run = await runRecorded(ordersByDay, [{ since: '1998-01-01' }], { results: { publish: { rows: 214 } } });
  assert.deepEqual(
    run.steps.map(({ step, engine, weight }) => [step, engine, weight]),
    [
      ['orders', 'Trino', 'heavy'],
      ['daily', 'DataFusion', 'heavy'],
      ['named', 'TypeScript', 'light'],
      ['publish', 'PostgreSQL', 'light'],
    ],
  );
  assert.equal(run.result.rows, 214);
  assert.deepEqual(run.warnings, []);
});

test('a transform is a plain function over batches', async () => {
  const orders = new Table({
    orderdate: vectorFromArray([new Date('1998-08-02'), new Date('1998-08-03')], new DateDay()),
  });
  const weekdays: unknown[] = [];
  const context = { args: { column: 'orderdate' }, step: 'named', run: 'test' };
  for await (const rows of transforms.weekday(batchesOf(orders), context)) weekdays.push(...rows.getChild('weekday')!);
  assert.deepEqual(weekdays, ['Sunday', 'Monday']);
});

async function* batchesOf(table: Table) {
  yield* table.batches;
}

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runRecorded } from 'spillway/testing';
import { ordersByDay } from '../workflows.ts';

test('orders are read, aggregated and published, without any server', async () => {
  const run = await runRecorded(ordersByDay, [{ since: '1998-01-01' }], { results: { publish: { rows: 214 } } });
  assert.deepEqual(
    run.steps.map(({ step, engine, weight }) => [step, engine, weight]),
    [
      ['orders', 'Trino', 'heavy'],
      ['daily', 'DataFusion', 'heavy'],
      ['publish', 'PostgreSQL', 'light'],
    ],
  );
  assert.equal(run.result.rows, 214);
  assert.deepEqual(run.warnings, []);
});

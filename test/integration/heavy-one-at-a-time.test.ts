import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { execa } from 'execa';
import type { InspectedContainer } from '../parts/container-host.ts';
import { SMALL_SQL, slowJob, smallJob } from './stack-jobs.ts';
import { eventually } from './stack-waiting.ts';
import { runningContainer } from './stack-containers.ts';
import { describeOverlap, heavyIntervals } from './stack-heavy.ts';
import { Stack } from './stack.ts';
import { trinoRows } from './stack-trino.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await Stack.open('heavy');
  await stack.worker();
}, 600_000);
afterEach(() => stack?.clean(), 90_000);
afterAll(() => stack?.close(), 90_000);

describe('a heavy step', () => {
  test('runs in a container that has its lease, its cores, and nothing else of the host', async () => {
    const workflowId = await stack.startJob(slowJob(stack, 'confined', 20_000));
    const name = await runningContainer(stack, 'paired');
    const inspected = await execa(stack.parts.image.runtime, ['container', 'inspect', name]);
    const { HostConfig, Config, EffectiveCaps } = (JSON.parse(inspected.stdout) as InspectedContainer[])[0]!;
    const lease = (await stack.status()).leases.find(({ step }) => step === 'paired');
    expect(lease?.bytes).toBeGreaterThan(0);
    expect(HostConfig).toMatchObject({
      Memory: lease!.bytes,
      MemorySwap: lease!.bytes,
      NetworkMode: 'none',
      ReadonlyRootfs: true,
      Privileged: false,
    });
    expect(HostConfig['CpusetCpus']).toMatch(/^\d+([,-]\d+)*$/);
    expect(HostConfig['SecurityOpt']).toContain('no-new-privileges');
    expect(HostConfig['PidsLimit']).toBeGreaterThan(0);
    expect(EffectiveCaps ?? []).toEqual([]);
    expect(Config['User']).toMatch(/^[1-9]\d*(:\d+)?$/);
    await stack.result(workflowId);
  }, 120_000);

  test('never runs beside another: five pipelines started together, told by the engines’ own records', async () => {
    const sinceMs = Date.now();
    const tables = ['one', 'two', 'three', 'four', 'five'];
    const ids = await Promise.all(tables.map((table) => stack.startJob(smallJob(stack, table))));
    await Promise.all(ids.map((id) => stack.result(id)));

    const intervals = await eventually(
      async () => {
        const found = await heavyIntervals(stack, sinceMs);
        return found.length >= 2 * tables.length ? found : undefined;
      },
      { withinMs: 10_000, what: 'a record of each heavy step' },
    );
    expect(intervals.map(({ kind }) => kind).sort()).toEqual([
      ...tables.map(() => 'container'),
      ...tables.map(() => 'query'),
    ]);
    expect(describeOverlap(intervals)).toEqual([]);

    const wanted = await trinoRows(stack.parts.trino.url, SMALL_SQL);
    for (const table of tables) {
      const rows = await stack.sql<{ p: string; n: string }>(
        `select orderpriority as p, orders as n from ${stack.schema}.${table} order by 1`,
      );
      expect(rows.map(({ p, n }) => [p, Number(n)])).toEqual(wanted);
    }
  }, 240_000);

  test('is queued by Trino itself as well, should two ever come', async () => {
    const [row] = await trinoRows(
      stack.parts.trino.url,
      `select array_join(resource_group_id, '.') from system.runtime.queries where source like 'spillway/%/orders/%' limit 1`,
    );
    expect(row).toEqual(['heavy']);
  });
});

import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { RecordBatchReader } from 'apache-arrow';
import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { FusedQuery } from '../../src/contracts/plan.ts';
import {
  runDatafusion,
  type DatafusionRequest,
  type DatafusionResult,
  type DatafusionRows,
} from '../../src/engines/datafusion/run-datafusion.ts';
import { openContainerHost, type ContainerHost } from './container-host.ts';

/** One container for statements that read each other's rows, and hand rows of several steps over. */
jest.setTimeout(300_000);

const MB = 1_000_000;
let host: ContainerHost;
let nextToken = 1;
beforeAll(async () => {
  host = await openContainerHost('several');
}, 300_000);
afterAll(() => host.close());
afterEach(async () => {
  expect(await host.leftovers()).toEqual([]);
});

const query = (step: string, sql: string, from: FusedQuery['from'] = {}): FusedQuery => ({ step, sql, from });
/** Other rows each time that it is computed. */
const dice = (rows: number): FusedQuery =>
  query('dice', `select value as a, random() as r, cast(value as varchar) as s from generate_series(1, ${rows}) order by r`); // prettier-ignore

function request(fused: FusedQuery, further: FusedQuery[], more: Partial<DatafusionRequest> = {}): DatafusionRequest {
  const token = nextToken++;
  const attemptDir = join(host.scratch, `attempt-${token}`);
  return {
    ...{
      run: 'run-1',
      step: fused.step,
      token,
      pool: host.pool,
      leaseBytes: 700 * MB,
      scratchBytes: 6000 * MB,
      cpus: 2,
    },
    ...{ inputs: {}, sql: fused.sql, fused, attemptDir, timeoutMs: 200_000 },
    output: { kind: 'arrow', dir: join(attemptDir, 'out') },
    further: further.map((one, index) => ({
      ...{ step: one.step, query: one },
      output: { kind: index === 0 ? 'arrow' : 'parquet', dir: join(host.scratch, `attempt-${token}-${one.step}`) },
    })),
    ...more,
  };
}
const run = (asked: DatafusionRequest): Promise<DatafusionResult> =>
  runDatafusion({ runtime: host.runtime, image: host.image, machine: host.machine }, asked);

/** The only row of an Arrow file, which is removed. */
function only({ parts }: DatafusionRows): Record<string, unknown> {
  const path = fileURLToPath(parts[0]!.uri);
  const rows = [...RecordBatchReader.from(readFileSync(path))].flatMap((batch) => [...batch]);
  expect(rows).toHaveLength(1);
  rmSync(path);
  return { ...rows[0]!.toJSON() };
}
const sums = (step: string, from: FusedQuery): FusedQuery => query(step, 'select sum(r) as r, count(*) as n from t', { t: from }); // prettier-ignore

test('what several read is computed once, and its rows are the same to all of them', async () => {
  const asked = request(sums('first', dice(300_000)), [sums('second', dice(300_000)), query('third', 'select a, s from t where a > 0', { t: dice(300_000) })]); // prettier-ignore
  const result = await run(asked);
  const { second, third } = result.further;
  const first = only(result);
  expect(first['n']).toBe(300_000n);
  // Sums of floating-point numbers in different orders differ in their last digits; another throw of the dice differs in its third.
  expect(only(second!)['r']).toBeCloseTo(first['r'] as number, 4);
  expect(third).toMatchObject({ parts: [{ kind: 'parquet', rows: 300_000 }], schema: [{ name: 'a' }, { name: 's' }] });
  const [part] = third!.parts;
  expect(dirname(fileURLToPath(part!.uri))).toBe(asked.further![1]!.output.dir);
  expect(statSync(fileURLToPath(part!.uri)).size).toBe(part!.bytes);
  rmSync(fileURLToPath(part!.uri));
  // Its own rows alone: what was computed beside them is told apart.
  expect(result).toMatchObject({ rows: 1, used: { rows: 1 } });
  // What was kept for all of them was counted, and is gone.
  expect(result.used.scratchPeakBytes).toBeGreaterThan(5 * MB);
});

test('one statement that reads another twice gets the same rows twice; each statement sees its own tables only', async () => {
  const inner = query('inner', 'select a, r from t', { t: dice(1_000) });
  const same = query('same', 'select count(*) as n from t join u on t.a = u.a and t.r = u.r', { t: inner, u: inner });
  expect(only(await run(request(same, [])))).toEqual({ n: 1_000n });
  const foreign = query('foreign', 'select count(*) as n from u', { t: dice(10) });
  await expect(run(request(foreign, []))).rejects.toMatchObject({ code: 'SqlError', message: expect.stringMatching(/foreign: .*'?\w*\.?\w*\.?u'? not found/) }); // prettier-ignore
});

describe('when one of them fails, its name is told and nothing is left of any', () => {
  const left = (asked: DatafusionRequest): string[] =>
    [asked.attemptDir, join(asked.attemptDir, 'out'), ...asked.further!.map(({ output }) => output.dir)].flatMap(
      (dir) =>
      readdirSync(dir, { withFileTypes: true }).filter((found) => found.isFile()).map(({ name }) => name), // prettier-ignore
    );

  test('the one that others read', async () => {
    const broken = query('broken', 'select 10 / (a - 5) as x from t', { t: dice(10) });
    const reads = (step: string): FusedQuery => query(step, 'select sum(x) as x from t', { t: broken });
    const asked = request(reads('first'), [reads('second')]);
    await expect(run(asked)).rejects.toMatchObject({ code: 'SqlError', message: expect.stringMatching(/broken: .*[Dd]ivide by zero/) }); // prettier-ignore
    expect(left(asked)).toEqual([]);
  });

  test('the second of those that hand rows over, when the first has done so', async () => {
    const wrong = query('wrong', 'select cast(s as date) as d from t', { t: dice(10) });
    const asked = request(sums('first', dice(10)), [wrong]);
    await expect(run(asked)).rejects.toMatchObject({ code: 'SqlError', message: expect.stringContaining('wrong') });
    expect(left(asked)).toEqual([]);
  });

  test('scratch that is too small for what is kept and what is handed over together', async () => {
    const all = query('all', 'select a, r, s from t', { t: dice(400_000) });
    const asked = request(all, [{ ...all, step: 'again' }], { scratchBytes: 16 * MB });
    await expect(run(asked)).rejects.toMatchObject({ code: 'ScratchFull' });
    expect(left(asked)).toEqual([]);
  });
});

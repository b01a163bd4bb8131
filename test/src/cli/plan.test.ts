import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { main } from '../../../src/cli/main.ts';

const example = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..', 'examples', 'daily-revenue');

let home: string;
beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), 'spillway-plan-'));
});
afterAll(() => rmSync(home, { recursive: true }));

/** Runs the command line with a home of its own, and a Temporal that is not there. */
async function plan(...args: string[]): Promise<{ exit: number; out: string; err: string }> {
  let [out, err] = ['', ''];
  const flags = ['--home', home, '--temporal-address', '127.0.0.1:1', '--config', join(example, 'spillway.config.ts')];
  const exit = await main(['plan', ...args, ...flags], {
    out: (text) => (out += `${text}\n`),
    err: (text) => (err += `${text}\n`),
  });
  return { exit, out, err };
}
const job = (steps: object[]): string => {
  const path = join(home, 'job.json');
  writeFileSync(path, JSON.stringify({ name: 'job', steps }));
  return path;
};

describe('`spillway plan`, without any server', () => {
  test('shows a job file: leases, rungs, handoffs with their reasons, and statements', async () => {
    const { exit, out } = await plan(join(example, 'job.json'));
    expect(exit).toBe(0);
    expect(out).toMatch(/^daily-revenue: feasible in pool default, which can lend [\d.]+ GiB once a worker is up/);
    expect(out).toMatch(/lines +Trino +default\.heavy +server .* parquet +.*parquet stands in for arrow/);
    expect(out).toMatch(/daily +DataFusion +default\.heavy +M .* L .*, whole/);
    expect(out).toContain("date( '1992-01-01' )");
  });

  test.each<[string, () => string[], RegExp]>([
    [
      'a step that can never fit',
      () => [
        job([
          { step: 'a', verb: 'trino.query', sql: 'select 1 as a' },
          { step: 'b', verb: 'datafusion.sql', from: { a: 'a' }, sql: 'select * from a', memory: '64TB' },
          { step: 'c', verb: 'postgres.load', from: 'b', into: 'x.y' },
        ]),
      ],
      /b\.memory must be at most [\d.]+ GiB \(what pool default can lend\), got 64TB/,
    ],
    ['a workflow that needs an input', () => ['dailyRevenue'], /planned without input, and may need one .*--input/],
    ['a name that no workflow has', () => ['dailyRevenu'], /Did you mean dailyRevenue\?/],
    ['a file that is not there', () => ['nowhere.json'], /nowhere\.json is not there/],
  ])('refuses %s', async (_title, args, message) => {
    const { exit, err } = await plan(...args());
    expect(exit).toBe(2);
    expect(err).toMatch(message);
  });
});

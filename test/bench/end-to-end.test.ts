import { describe, expect, test } from '@jest/globals';
import { criticalPath } from '../../bench/end-to-end/critical-path.ts';
import { pipelineOf, workOf } from '../../bench/end-to-end/pipeline.ts';
import { pinnedVersions } from '../../bench/bench-python.ts';
import { readPipeline } from '../../src/config/pipeline-schema.ts';

const steps = (of: Record<string, number>) => Object.entries(of).map(([step, seconds]) => ({ step, seconds }));

describe('the end-to-end bench', () => {
  test('its pipeline passes the checks that every job passes', () => {
    const job = pipelineOf(workOf('tiny'), 'somewhere');
    expect(readPipeline({ kind: 'job', job }).sinks).toEqual(['load_fact', 'load_daily']);
  });

  test('both sides work on the same statements', () => {
    const work = workOf('sf1');
    const { steps: own } = pipelineOf(work, 'somewhere');
    const sql = own.flatMap((step) => ('sql' in step ? [step.sql] : []));
    expect(sql).toEqual([work.extract, ...work.targets.map((target) => target.sql)]);
  });

  test('every package of the script is pinned', () => {
    expect(Object.keys(pinnedVersions('end-to-end'))).toEqual(['trino', 'datafusion', 'pyarrow', 'pgpq', 'psycopg']);
    expect(Object.keys(pinnedVersions('postgres'))).toContain('adbc-driver-postgresql');
  });

  test.each<[string, Record<string, number>, number]>([
    ['a short load runs beside the other query', { lines: 5, fact: 2, load_fact: 1, daily: 3, load_daily: 1 }, 11],
    ['a long load is what is waited for', { lines: 5, fact: 2, load_fact: 9, daily: 3, load_daily: 1 }, 16],
  ])('the critical path counts heavy steps one after the other: %s', (_title, of, expected) =>
    expect(criticalPath(steps(of))).toBe(expected),
  );
});

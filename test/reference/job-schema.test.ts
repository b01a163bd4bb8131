import { expect, test } from '@jest/globals';
import { Ajv } from 'ajv';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { jobSchema, stepsOf } from '../../reference/job-schema.ts';
import { STEP_CONTRACTS, stepOptions } from '../../reference/contracts.ts';
import { readPipeline } from '../../src/config/pipeline-schema.ts';
import { expectGolden, root } from '../src/render/golden.ts';

const schema = jobSchema(
  (verb) =>
    new Map([...stepOptions('StepOptions'), ...stepOptions('RowsOptions'), ...stepOptions(STEP_CONTRACTS[verb])]),
);
const accepts = new Ajv({ strictTypes: false }).compile(schema);

const query = { step: 'orders', verb: 'trino.query', sql: 'select 1' };
const load = { step: 'publish', verb: 'postgres.load', from: 'orders', into: 'mart.orders' };
const withQuery = (over: object) => ({ name: 'daily', steps: [{ ...query, ...over }, load] });
const withLoad = (over: object) => ({ name: 'daily', steps: [query, { ...load, ...over }] });

/** Whether a run would take it. */
function runs(job: unknown): boolean {
  try {
    readPipeline({ kind: 'job', job });
    return true;
  } catch {
    return false;
  }
}

test('the schema in the package is the one that runs are checked with', () =>
  expectGolden({ 'job.schema.json': `${JSON.stringify(schema, null, 2)}\n` }, 'schemas'));

test('every option of every verb says what it is', () => {
  const plain = ['step', 'verb'];
  for (const { properties } of stepsOf(schema) as { properties: Record<string, { description?: string }> }[]) {
    for (const [key, { description }] of Object.entries(properties))
      if (!plain.includes(key)) expect([key, description]).toEqual([key, expect.stringMatching(/\w/)]);
  }
});

test('it takes the example', () => {
  const job: unknown = JSON.parse(readFileSync(join(root, 'examples', 'daily-revenue', 'job.json'), 'utf8'));
  expect([accepts(job), accepts.errors]).toEqual([true, null]);
});

test.each<[string, unknown]>([
  ['a pipeline', withQuery({})],
  ['without steps', { name: 'daily', steps: [] }],
  ['without a name', { steps: [query, load] }],
  ['with a key of nobody', { ...withQuery({}), owner: 'me' }],
  ['of a mistyped verb', withQuery({ verb: 'trino.qury' })],
  ['of a mistyped option', withQuery({ parms: [1] })],
  ['of a step without its statement', withQuery({ sql: undefined })],
  ['of a name with a space', withLoad({ step: 'my load' })],
  ['of a priority that is none', withQuery({ priority: 6 })],
  ['of attempts', withQuery({ retry: { maximumAttempts: 2, initialInterval: '10s' } })],
  ['of no attempts', withQuery({ retry: { maximumAttempts: 0 } })],
  ['of values', withQuery({ params: ['a', 1, true, null] })],
  ['of a value that is an object', withQuery({ params: [{}] })],
  ['of a table without a schema', withLoad({ into: 'orders' })],
  ['of an index', withLoad({ indexes: [{ columns: ['a'], unique: true }] })],
  ['of an index without columns', withLoad({ indexes: [{ columns: [] }] })],
  ['of a strategy that is none', withLoad({ strategy: 'fast' })],
  ...['512GB', '1.5 GiB', '600m', '600 b', '1024', 1024, 1.5, '1.5', '6 XB', '', -1, true].map((scratch): [string, unknown] => [`of scratch ${scratch}`, withQuery({ scratch })]), // prettier-ignore
  ...['2 hours', '90s', '1.5 min', 500, '2 fortnights', 'soon', ''].map((startToClose): [string, unknown] => [`of startToClose ${startToClose}`, withQuery({ startToClose })]), // prettier-ignore
])('an editor and a run think alike of a job %s', (_, job) => {
  const asJson: unknown = JSON.parse(JSON.stringify(job));
  expect(accepts(asJson)).toBe(runs(asJson));
});

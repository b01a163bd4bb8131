import { test } from '@jest/globals';
import { readPipeline } from '../../../src/config/pipeline-schema.ts';
test('x', () => {
  const steps = [
    { verb: 'trino.query' }, { step: 'q', verb: 'trino.query', sql: ' ', params: [{}], weight: 'hevy', profile: 1, memory: 'x', retry: { maxAttempts: 2, maximumAttempts: 0 }, priority: 9, connction: 'x' },
    { step: 'd', verb: 'datafusion.sql', from: { 'a b': 'q', c: 3 }, sql: 'x' }, { step: 'e', verb: 'datafusion.sql', from: {}, sql: 'x' }, { step: 'f', verb: 'datafusion.sql', sql: 3 },
    { step: 'p', verb: 'postgres.load', from: 'q', into: 'x', key: [], write: 'append', indexes: [{ columns: [], uniqe: true }] }, null, { step: 'z z', verb: 'trino.query', sql: 'x' }, {step:'g', verb:'postgres.load', from:['a'], into:'a.b', startToClose:'soon'},
  ];
  try { readPipeline({ kind: 'job', job: { name: 'n', steps } }); } catch (e) { process.stdout.write((e as Error).message + '\n'); }
});

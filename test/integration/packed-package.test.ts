import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { execa } from 'execa';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { root, Stack } from './stack.ts';
import { smallJob } from './stack-jobs.ts';

/** What somebody writes who uses the package: nothing but its public names. */
const CONFIG = `import { defineConfig } from 'spillway';

export default defineConfig({ workflows: './workflows.ts' });
`;
const workflows = (
  schema: string,
): string => `import { datafusion, postgres, trino, type SinkResult } from 'spillway/workflow';

export async function nationsByRegion({ above }: { above: number }): Promise<SinkResult> {
  const nations = trino.query('nations', { sql: 'select nationkey, regionkey from tpch.tiny.nation where nationkey > ?', params: [above] });
  const counted = datafusion.sql('counted', { from: { nations }, sql: 'select regionkey, count(*) as nations from nations group by 1' });
  return postgres.load('publish', { from: counted, into: '${schema}.nations', key: ['regionkey'] });
}
`;

let stack: Stack;
/** A project of somebody else, with the tarball installed. */
let project: string;
/** Paths in the tarball. */
let packed: string[];
beforeAll(async () => {
  stack = await Stack.open('packed');
  const { stdout } = await execa('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', stack.directory], {
    cwd: root,
  });
  const [{ filename, files }] = JSON.parse(stdout) as [{ filename: string; files: { path: string }[] }];
  packed = files.map(({ path }) => path);
  project = join(stack.directory, 'project');
  mkdirSync(project);
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'project', private: true, type: 'module' }));
  await execa(
    'npm',
    ['install', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error', join('..', filename)],
    { cwd: project },
  );
  writeFileSync(join(project, 'spillway.config.ts'), CONFIG);
  writeFileSync(join(project, 'workflows.ts'), workflows(stack.schema));
  await stack.worker({ bin: join(project, 'node_modules', '.bin', 'spillway'), cwd: project });
}, 600_000);
afterEach(() => stack?.clean(), 90_000);
afterAll(() => stack?.close(), 90_000);

describe('the package as it is published', () => {
  test('holds the program, what it runs, and what it sets servers up with; and no tests', () => {
    const files = (folder: string): string[] =>
      readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile() && !entry.parentPath.includes('__pycache__'))
        .map((entry) => relative(root, join(entry.parentPath, entry.name)));
    expect(packed).toEqual(expect.arrayContaining([...files('bin'), ...files('containers'), ...files('provision')]));
    for (const path of [
      'package.json',
      'dist/src/index.js',
      'dist/src/index.d.ts',
      'dist/src/sdk/index.js',
      'dist/workflows/memory-pool.js',
    ]) {
      expect(packed).toContain(path);
    }
    // The project that `spillway init` writes has a test of its own.
    const ours = packed.filter((path) => !path.startsWith('templates/'));
    expect(ours.filter((path) => /(^|\/)(test|bench)\/|\.test\./.test(path))).toEqual([]);
    expect(packed).toEqual(expect.arrayContaining(files('templates')));
  });

  test('runs a workflow of its own project beside eltPipeline', async () => {
    const own = await stack.start('nationsByRegion', ['--input', '{"above":4}'], stack.id('own'));
    const job = await stack.startJob(smallJob(stack, 'small'));
    expect(await stack.result(own)).toMatchObject({ step: 'publish', rows: 5, table: `${stack.schema}.nations` });
    await stack.result(job);
    expect(await stack.sql(`select sum(nations)::int as nations from ${stack.schema}.nations`)).toEqual([
      { nations: 20 },
    ]);
    expect(await stack.sql(`select from ${stack.schema}.small`)).toHaveLength(5);
  }, 120_000);
});

import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isSource } from '../../../src/cli/commands/dev.ts';
import { main } from '../../../src/cli/main.ts';
import { packageVersion } from '../../../src/provision/package-root.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-init-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

async function init(): Promise<{ exit: number; out: string[]; err: string[] }> {
  const [out, err]: [string[], string[]] = [[], []];
  const exit = await main(['init', folder], { out: (text) => out.push(text), err: (text) => err.push(text) });
  return { exit, out, err };
}
const manifest = () => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Record<string, object>;

test('an empty folder becomes a project', async () => {
  expect(await init()).toMatchObject({ exit: 0, err: [] });
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort();
  expect(files).toEqual(
    ['.gitignore', 'README.md', 'package.json', 'spillway.config.ts', 'test', 'test/orders-by-day.test.ts', 'transforms.ts', 'tsconfig.json', 'workflows.ts'], // prettier-ignore
  );
  expect(manifest()).toMatchObject({ type: 'module', dependencies: { spillway: `^${packageVersion()}` } });
});

test('what is there stays as it is, and is named; a manifest gets what it lacks', async () => {
  writeFileSync(join(folder, 'workflows.ts'), '// mine');
  writeFileSync(
    join(folder, 'package.json'),
    JSON.stringify({
      name: 'mine',
      scripts: { start: 'mine', test: 'echo "Error: no test specified" && exit 1' },
      dependencies: { spillway: 'file:../here.tgz' },
    }),
  );
  const { exit, err } = await init();
  expect([exit, err]).toEqual([0, ['left as they are: workflows.ts']]);
  expect(readFileSync(join(folder, 'workflows.ts'), 'utf8')).toBe('// mine');
  expect(manifest()).toMatchObject({
    name: 'mine',
    type: 'module',
    scripts: { start: 'mine', test: expect.stringContaining('node --import'), typecheck: 'tsc' },
    dependencies: { spillway: 'file:../here.tgz' },
  });
});

test.each<[string, boolean]>([
  ['workflows.ts', true],
  ['steps/clean.mts', true],
  ['job.json', true],
  ['README.md', false],
  ['node_modules/x/index.js', false],
  ['.git/config.json', false],
  ['dist/workflows.js', false],
])('`spillway dev` takes an edit of %s as one of the sources: %s', (path, expected) =>
  expect(isSource(path)).toBe(expected),
);

import { afterEach, beforeEach, expect, test } from '@jest/globals';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

interface Bootstrap {
  build: (say: (line: string) => void, at: string) => Promise<boolean>;
  installDependencies: (say: (line: string) => void, at: string) => Promise<boolean>;
  checkNode: (version: string) => void;
  run: (command: string, args: string[], options?: object) => Promise<void>;
}
const repository = join(import.meta.dirname, '..', '..');
const { build, checkNode, installDependencies, run } = (await import(
  join(repository, 'scripts', 'bootstrap.mjs')
)) as Bootstrap;

let folder: string;
let said: string[];
const say = (line: string): void => void said.push(line);

/** A package with one source, and the compiler of this repository. */
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-bootstrap-'));
  said = [];
  mkdirSync(join(folder, 'src'));
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(join(repository, 'node_modules', 'typescript'), join(folder, 'node_modules', 'typescript'));
  writeFileSync(join(folder, 'src', 'a.ts'), 'export const a: number = 1;\n');
  const compilerOptions = { module: 'nodenext', outDir: 'dist', rootDir: '.', types: [] };
  writeFileSync(join(folder, 'tsconfig.build.json'), JSON.stringify({ compilerOptions, include: ['src'] }));
  writeFileSync(join(folder, 'package-lock.json'), JSON.stringify({ lockfileVersion: 3, packages: { '': {} } }));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('sources are compiled once, and again when their content changed, not when only their time did', async () => {
  expect(await build(say, folder)).toBe(true);
  expect(readFileSync(join(folder, 'dist', 'src', 'a.js'), 'utf8')).toContain('a = 1');
  utimesSync(join(folder, 'src', 'a.ts'), new Date(), new Date());
  expect(await build(say, folder)).toBe(false);
  writeFileSync(join(folder, 'src', 'a.ts'), 'export const a: number = 2;\n');
  expect(await build(say, folder)).toBe(true);
  expect(readFileSync(join(folder, 'dist', 'src', 'a.js'), 'utf8')).toContain('a = 2');
  expect(said).toEqual(['Building (tsc) …', 'Building (tsc) …']);
}, 60_000);

test('a build that fails leaves the last good one and nothing beside it', async () => {
  await build(say, folder);
  writeFileSync(join(folder, 'src', 'a.ts'), 'export const a: number = "x";\n');
  await expect(build(say, folder)).rejects.toMatchObject({ ran: true });
  expect(existsSync(join(folder, 'dist', 'src', 'a.js'))).toBe(true);
  expect(readdirSync(join(folder, 'node_modules'))).toEqual(['typescript']);
  writeFileSync(join(folder, 'src', 'a.ts'), 'export const a: number = 1;\n');
  expect(await build(say, folder)).toBe(false);
}, 60_000);

test('dependencies that npm installed from this lock file are left alone', async () => {
  const packages = {
    '': {},
    'node_modules/x': { version: '1.0.0' },
    'node_modules/elsewhere': { version: '2.0.0', optional: true },
  };
  writeFileSync(join(folder, 'package-lock.json'), JSON.stringify({ lockfileVersion: 3, packages }));
  const installed = { packages: { 'node_modules/x': { version: '1.0.0' } } };
  writeFileSync(join(folder, 'node_modules', '.package-lock.json'), JSON.stringify(installed));
  expect(await installDependencies(say, folder)).toBe(false);
  expect(said).toEqual([]);
});

test('dependencies are installed when the lock file changed', async () => {
  writeFileSync(join(folder, 'node_modules', '.spillway-stamp'), 'of another lock file');
  writeFileSync(join(folder, 'package.json'), '{"name":"x","version":"1.0.0"}');
  const packages = { '': { name: 'x', version: '1.0.0' } };
  writeFileSync(
    join(folder, 'package-lock.json'),
    JSON.stringify({ name: 'x', version: '1.0.0', lockfileVersion: 3, packages }),
  );
  expect(await installDependencies(say, folder)).toBe(true);
  expect(said).toEqual(['Installing dependencies (npm ci) …']);
  expect(await installDependencies(say, folder)).toBe(false);
}, 60_000);

test.each<[string, boolean]>([
  ['20.2.9', false],
  ['18.20.0', false],
  ['20.3.0', true],
  ['24.0.0', true],
])('Node %s will do: %s', (version, enough) => {
  if (enough) expect(() => checkNode(version)).not.toThrow();
  else expect(() => checkNode(version)).toThrow(/20\.3 or newer is needed/);
});

test('a program that ends badly hands on its exit code; one that is not there is named', async () => {
  await expect(run(process.execPath, ['-e', 'process.exit(3)'])).rejects.toMatchObject({ code: 3, ran: true });
  await expect(run('no-such-program', [])).rejects.toThrow('no-such-program is not on PATH');
});

import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { packageRoot, packageVersion } from '../../provision/package-root.ts';
import { Exit } from '../exit.ts';
import type { Output } from '../output.ts';

/** Files of the template whose names a package may not carry. */
const RENAMED: Readonly<Record<string, string>> = { gitignore: '.gitignore' };

const SCRIPTS = {
  start: `spillway start ordersByDay --input "{\\"since\\":\\"1998-01-01\\"}"`,
  test: 'node --import jiti/register --test test/orders-by-day.test.ts',
  typecheck: 'tsc',
};
/** The versions that this package itself is built and tested with. */
const TOOLS = ['typescript', 'jiti', '@types/node'] as const;

type Manifest = Record<string, unknown> & {
  scripts?: Record<string, string>;
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
};

/** Writes a project that runs into a folder; what is there already is left as it is, and named. */
export function initCommand(options: { directory: string }, output: Output): Exit {
  const directory = resolve(options.directory);
  const template = join(packageRoot(), 'templates', 'project');
  const kept: string[] = [];
  for (const entry of readdirSync(template, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const name = relative(template, join(entry.parentPath, entry.name));
    const target = join(directory, RENAMED[name] ?? name);
    if (existsSync(target)) kept.push(relative(directory, target));
    else {
      mkdirSync(dirname(target), { recursive: true });
      cpSync(join(entry.parentPath, entry.name), target);
      output.out(`wrote ${relative(directory, target)}`);
    }
  }
  const manifest = join(directory, 'package.json');
  const before = existsSync(manifest) ? (JSON.parse(readFileSync(manifest, 'utf8')) as Manifest) : undefined;
  const after = withScripts(before ?? { name: basename(directory).toLowerCase(), private: true });
  writeFileSync(manifest, `${JSON.stringify(after, null, 2)}\n`);
  output.out(before ? 'added scripts and tools to package.json, where it had none' : 'wrote package.json');
  if (kept.length > 0) output.err(`left as they are: ${kept.join(', ')}`);
  const there = relative(process.cwd(), directory);
  output.out(`\nNext: ${there === '' ? '' : `cd ${there} && `}npm install && npm start`);
  return Exit.OK;
}

/** A manifest with what the project needs; what it says already wins, but for modules, which workflows have to be. */
function withScripts(manifest: Manifest): Manifest {
  const own = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as Required<Manifest>;
  const versions = { ...own.dependencies, ...own.devDependencies };
  return {
    ...manifest,
    type: 'module',
    // `npm init` writes a test that fails on purpose.
    scripts: { ...SCRIPTS, ...withoutPlaceholder(manifest.scripts) },
    dependencies: {
      spillway: `^${packageVersion()}`,
      // Transforms build rows with it; the version that this package runs them with.
      'apache-arrow': versions['apache-arrow']!,
      ...manifest.dependencies,
    },
    devDependencies: {
      ...Object.fromEntries(TOOLS.map((name) => [name, versions[name]!])),
      ...manifest.devDependencies,
    },
  };
}

const withoutPlaceholder = (scripts: Record<string, string> = {}): Record<string, string> =>
  Object.fromEntries(Object.entries(scripts).filter(([, text]) => !text.includes('no test specified')));

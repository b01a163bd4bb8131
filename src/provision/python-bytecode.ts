import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Environment } from './command.ts';
import { run } from './command.ts';

/** A Python that can be started here: its own program, or that of a tree of another system by way of the tree's loader. */
export interface StartablePython {
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** The Python of a Debian tree that was unpacked below `root`, with the libraries of that tree. */
export function pythonOfTree(root: string, version: string): StartablePython {
  const [triplet] = readdirSync(join(root, 'lib')).filter((name) => name.endsWith('-linux-gnu'));
  if (triplet === undefined) throw new Error(`${root} holds no libraries of a Linux system`);
  const libraries = join(root, 'lib', triplet);
  const loader = readdirSync(libraries).find((name) => name.startsWith('ld-linux'));
  if (loader === undefined) throw new Error(`${libraries} holds no loader`);
  return {
    command: [
      join(libraries, loader),
      ...['--library-path', `${libraries}:${join(root, 'usr', 'lib', triplet)}`],
      join(root, 'usr', 'bin', `python${version}`),
    ],
    env: { PYTHONHOME: join(root, 'usr') },
  };
}

/**
 * Compiles every module below these directories, so that a start does not: where it may not write, as in a container, it would compile them each time.
 * Modules are taken as compiled for good, whatever their files' times say later.
 * @param root of the tree that the directories lie in; left away where a module names its file
 */
export async function compileModules(
  { command: [program, ...args], env: own }: StartablePython,
  directories: readonly string[],
  env: Environment,
  root?: string,
): Promise<void> {
  const flags = ['-q', '--invalidation-mode', 'unchecked-hash', ...(root === undefined ? [] : ['-s', root, '-p', '/'])];
  await run(program!, [...args, '-S', '-m', 'compileall', ...flags, ...directories], {
    env: { ...env, ...own },
    timeoutMs: 5 * 60_000,
  });
}

import type { Environment } from './command.ts';
import { run } from './command.ts';
import { findOnPath } from './find-program.ts';

/** Another Python than the one that runs pip: wheels are taken for it. */
export interface WheelTarget {
  readonly python: string;
  readonly platforms: readonly string[];
}

/**
 * Installs pinned wheels into a directory, each verified by the hash in the requirements file; nothing is compiled.
 * @param python that runs pip; the first on PATH unless given
 */
export async function pipInstall(
  requirements: string,
  directory: string,
  env: Environment,
  target?: WheelTarget,
  python = findOnPath('python3', env),
): Promise<void> {
  if (python === undefined) throw new Error('python3 is not on PATH');
  const foreign = target
    ? [
        '--python-version',
        target.python,
        '--implementation',
        'cp',
        ...target.platforms.flatMap((name) => ['--platform', name]),
      ]
    : [];
  const flags = [
    '--quiet',
    '--disable-pip-version-check',
    '--no-input',
    '--no-compile',
    '--no-deps',
    '--only-binary=:all:',
  ];
  await run(
    python,
    ['-m', 'pip', 'install', ...flags, '--require-hashes', ...foreign, '--target', directory, '-r', requirements],
    {
      env,
      timeoutMs: 15 * 60_000,
    },
  );
}

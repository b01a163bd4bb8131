import { execFileSync } from 'node:child_process';
import { cpus, release, totalmem } from 'node:os';
import type { Figure } from './figures.ts';

/** What `--json` writes: the figures of one bench, with all that is needed to judge them elsewhere. */
export interface FigureFile {
  readonly name: string;
  readonly git: {
    readonly sha: string;
    readonly branch: string;
    /** Files that differ from the commit. */ readonly changed: number;
  } | null;
  readonly machine: { readonly cpu: string; readonly cpus: number; readonly ramBytes: number; readonly kernel: string };
  /** Part → version. */
  readonly versions: Readonly<Record<string, string>>;
  readonly rounds: number;
  readonly figures: readonly Figure[];
}

/** Puts a file together from figures and from what this machine and checkout say of themselves. */
export function figureFile(of: {
  name: string;
  rounds: number;
  versions: Record<string, string>;
  figures: Figure[];
  root: string;
}): FigureFile {
  const { name, rounds, versions, figures, root } = of;
  return {
    name,
    git: gitOf(root),
    machine: machineOf(),
    versions: { node: process.versions.node, ...versions },
    rounds,
    figures,
  };
}

function machineOf(): FigureFile['machine'] {
  const all = cpus();
  return { cpu: all[0]?.model.trim() ?? 'unknown', cpus: all.length, ramBytes: totalmem(), kernel: release() };
}

/** The checkout that was measured; null outside of one. */
function gitOf(root: string): FigureFile['git'] {
  const git = (...args: string[]): string =>
    execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    const changed = git('status', '--porcelain')
      .split('\n')
      .filter((line) => line !== '').length;
    return { sha: git('rev-parse', 'HEAD'), branch: git('rev-parse', '--abbrev-ref', 'HEAD'), changed };
  } catch {
    return null;
  }
}

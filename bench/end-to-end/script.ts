import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { execa } from 'execa';
import type { Environment } from '../../src/provision/command.ts';
import { benchFile } from '../bench-python.ts';
import type { Work } from './pipeline.ts';

/** What one run of the script took. */
export interface ScriptRun {
  /** From the start of the process to its end. */
  wallSeconds: number;
  /** Phase → seconds, as the script took them; `inner` is all of it but the imports. */
  seconds: Record<string, number>;
  peakRssBytes: number;
}

export interface ScriptOrder {
  python: string;
  /** Address with the password; it goes by a file that only its owner reads. */
  postgres: string;
  trino: string;
  lakeRoot: string;
  work: Work;
  /** Schema of its tables. */
  into: string;
  /** Directory for the file with the order. */
  tmp: string;
  env: Environment;
  signal: AbortSignal;
}

/** Runs the hand-written script once. */
export async function runScript({ python, work, into, tmp, env, signal, ...servers }: ScriptOrder): Promise<ScriptRun> {
  const given = join(tmp, `script-${process.pid}.json`);
  const targets = work.targets.map((target) => ({ ...target, table: `${into}.${target.name}` }));
  writeFileSync(
    given,
    JSON.stringify({ ...servers, catalog: 'lake', unload: 'bench_unload', extract: work.extract, targets }),
    { mode: 0o600 },
  );
  const began = performance.now();
  try {
    const { stdout } = await execa(python, [benchFile('end-to-end', 'hand-written.py'), given], {
      env: { ...env },
      extendEnv: false,
      stdin: 'ignore',
      cancelSignal: signal,
    });
    const wallSeconds = (performance.now() - began) / 1000;
    return { wallSeconds, ...(JSON.parse(stdout) as Omit<ScriptRun, 'wallSeconds'>) };
  } finally {
    rmSync(given, { force: true });
  }
}

import { spawn, type ChildProcess } from 'node:child_process';
import { realpath } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { watch } from 'chokidar';
import type { ResolvedConfig } from '../../config/resolved.ts';
import { packageRoot } from '../../provision/package-root.ts';
import { Exit } from '../exit.ts';
import type { Output } from '../output.ts';

/** Editors write a file in several steps; this long without another change is one edit. */
const QUIET_MS = 200;
const WATCHED = /\.(ts|mts|js|mjs|json)$/;
const IGNORED = /(^|\/)(node_modules|dist|\.[^/]+)(\/|$)/;

/** Whether a change of this path, relative to the project, calls for another worker. */
export const isSource = (path: string): boolean => WATCHED.test(path) && !IGNORED.test(path);

const mayHoldSources = (path: string, isFile: boolean): boolean => (isFile ? isSource(path) : !IGNORED.test(path));

/**
 * Runs a worker of the project and another one after each edit; running steps get the drain time to end. A worker that ends by itself, as
 * by a mistake in the sources, is started again at the next edit. Ends with SIGINT or SIGTERM.
 */
export async function devCommand(config: ResolvedConfig, argv: readonly string[], output: Output): Promise<Exit> {
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  let changed = deferred<string>();
  let last = 0;
  const root = await realpath(config.root); // what is a link itself is not followed
  const watcher = watch(root, {
    ignored: (path, stats) => !mayHoldSources(relative(root, path), stats?.isFile() === true),
    ignoreInitial: true,
    followSymlinks: false,
  }).on('all', (_event, path) => {
    const file = relative(root, path);
    if (!isSource(file)) return;
    last = Date.now();
    changed.resolve(file);
  });
  stop.signal.addEventListener('abort', () => changed.resolve(''));
  output.err(`watching ${config.root}; Ctrl-C ends`);
  try {
    while (!stop.signal.aborted) {
      const worker = startWorkerProcess(argv);
      const file = await changed.promise;
      if (!stop.signal.aborted) {
        while (Date.now() - last < QUIET_MS) await sleep(QUIET_MS);
        output.err(`${file} changed: another worker`);
      }
      changed = deferred();
      await worker.end();
    }
    return Exit.OK;
  } finally {
    await watcher.close();
  }
}

interface WorkerChild {
  /** Asks it to drain, and waits for its end. */
  end(): Promise<void>;
}

function startWorkerProcess(argv: readonly string[]): WorkerChild {
  const bin = join(packageRoot(), 'bin', 'spillway.js');
  // A group of its own: Ctrl-C in the terminal is ours to hand on, once.
  const child: ChildProcess = spawn(process.execPath, [bin, 'worker', '--from-sources', ...argv], {
    stdio: ['ignore', 'inherit', 'inherit'],
    detached: true,
  });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  return {
    async end() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
      await ended;
    },
  };
}

interface Deferred<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
}

function deferred<T>(): Deferred<T> {
  let resolve!: (value: T) => void;
  return { promise: new Promise<T>((done) => (resolve = done)), resolve: (value) => resolve(value) };
}

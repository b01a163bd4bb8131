import { renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { type BundleOptions, bundleWorkflowCode, type Logger } from '@temporalio/worker';
import type { BundleAnswer, BundleOrder } from './bundle-order.ts';

// The program that bundles.ts starts: the bundler takes some 200 MB that a process never gives back, and a worker is charged for all it has.

/** Two copies of Temporal's workflow library in one bundle lose track of each other; and where the entry lies there is no node_modules. */
const oneTemporal: NonNullable<BundleOptions['webpackConfigHook']> = (webpack) => {
  const { resolve } = createRequire(import.meta.url);
  const folderOf = (name: string): string => dirname(resolve(`${name}/package.json`));
  const alias = Object.fromEntries(
    ['@temporalio/workflow', '@temporalio/common'].map((name) => [name, folderOf(name)]),
  );
  return { ...webpack, resolve: { ...webpack.resolve, alias: { ...webpack.resolve?.alias, ...alias } } };
};

/** Keeps what the bundler says of errors, and nothing of its statistics. */
class ErrorLines implements Logger {
  #lines: string[] = [];
  /** The first errors, as one line. */
  firstLines(): string {
    return this.#lines.slice(0, 4).join(' ');
  }
  error(message: string): void {
    const plain = message.replace(/\u001b\[[0-9;]*m/g, '');
    this.#lines.push(
      ...plain
        .split('\n')
        .filter((line) => /error|can't|cannot|not found|unexpected/i.test(line))
        .map((line) => line.trim()),
    );
  }
  log(level: string, message: string): void {
    if (level === 'ERROR') this.error(message);
  }
  trace(): void {}
  debug(): void {}
  info(): void {}
  warn(): void {}
}

async function bundle(order: BundleOrder): Promise<BundleAnswer> {
  const logger = new ErrorLines();
  try {
    const { code } = await bundleWorkflowCode({
      workflowsPath: order.workflowsPath,
      ...(order.interceptors.length > 0 ? { workflowInterceptorModules: order.interceptors } : {}),
      ...(order.oneTemporal ? { webpackConfigHook: oneTemporal } : {}),
      logger,
    });
    const aside = `${order.writeTo}.${process.pid}`;
    writeFileSync(aside, code);
    renameSync(aside, order.writeTo);
    return {};
  } catch (error) {
    return { error: logger.firstLines() || (error as Error).message };
  }
}

const answer = await bundle(JSON.parse(process.argv[2]!) as BundleOrder);
process.stdout.write(`${JSON.stringify(answer)}\n`);

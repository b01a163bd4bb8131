import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { type BundleOptions, bundleWorkflowCode, type Logger, type WorkflowBundleWithSourceMap } from '@temporalio/worker';
import type { ResolvedConfig } from '../config/resolved.ts';
import { SpillwayError } from '../contracts/errors.ts';
import { writeBundleEntry } from './bundle-entry.ts';
import { packageFiles } from './package-files.ts';

/** The pool's own bundle: users' code never gets into it. */
export const bundlePool = (): Promise<WorkflowBundleWithSourceMap> =>
  bundleWorkflowCode({ workflowsPath: packageFiles.memoryPool, logger: new ErrorLines() });

/** The user's workflows with ours beside them. @throws SpillwayError `InvalidInput` when they cannot be bundled */
export async function bundleWorkflows(config: ResolvedConfig): Promise<WorkflowBundleWithSourceMap> {
  const entry = writeBundleEntry(join(config.home, 'run', 'bundle'), {
    ...(config.workflows === undefined ? {} : { workflows: config.workflows }),
    registered: packageFiles.registered,
    interceptor: packageFiles.interceptor,
  });
  const logger = new ErrorLines();
  try {
    return await bundleWorkflowCode({ workflowsPath: entry, workflowInterceptorModules: [packageFiles.interceptor], logger, webpackConfigHook: oneTemporal });
  } catch (error) {
    const what = logger.firstLines() || (error as Error).message;
    throw new SpillwayError('InvalidInput', `${config.workflows ?? 'the registered workflows'} cannot be bundled: ${what}`, { cause: error });
  }
}

/** The entry lies in the home, where no node_modules is; and two copies of Temporal's workflow library in one bundle lose track of each other. */
const oneTemporal: NonNullable<BundleOptions['webpackConfigHook']> = (webpack) => {
  const { resolve } = createRequire(import.meta.url);
  const folderOf = (name: string): string => dirname(resolve(`${name}/package.json`));
  const alias = Object.fromEntries(['@temporalio/workflow', '@temporalio/common'].map((name) => [name, folderOf(name)]));
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
    // eslint-disable-next-line no-control-regex -- the bundler colours its text
    const plain = message.replace(/\u001b\[[0-9;]*m/g, '');
    this.#lines.push(...plain.split('\n').filter((line) => /error|can't|cannot|not found|unexpected/i.test(line)).map((line) => line.trim()));
  }
  log(level: string, message: string): void {
    if (level === 'ERROR') this.error(message);
  }
  trace(): void {}
  debug(): void {}
  info(): void {}
  warn(): void {}
}

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { WorkflowBundle } from '@temporalio/worker';
import { execa } from 'execa';
import type { ResolvedConfig } from '../config/resolved.ts';
import { SpillwayError } from '../contracts/errors.ts';
import { packageVersion } from '../provision/package-root.ts';
import type { BundleAnswer, BundleOrder } from './bundle-order.ts';
import { writeBundleEntry } from './bundle-entry.ts';
import { type BuiltWith, readBuilt, writeBuilt } from './built-bundle.ts';
import { packageFiles } from './package-files.ts';

/** The pool's own bundle: users' code never gets into it. Kept in the home, named by the content of all that goes into it. */
export async function bundlePool(config: Pick<ResolvedConfig, 'home'>): Promise<WorkflowBundle> {
  const kept = join(bundleFolder(config), `pool-${packageHash()}.js`);
  if (!existsSync(kept))
    await runBundler({ workflowsPath: packageFiles.memoryPool, interceptors: [], oneTemporal: false, writeTo: kept });
  return { code: readFileSync(kept, 'utf8') };
}

/**
 * The user's workflows with ours beside them: what was built ahead, or built now.
 * @throws SpillwayError `InvalidInput` when they cannot be bundled, or were built ahead by another release, or the signal ended the bundler
 */
export const bundleWorkflows = async (config: ResolvedConfig, signal?: AbortSignal): Promise<WorkflowBundle> =>
  config.bundle === undefined ? buildWorkflows(config, signal) : readBuilt(config.bundle, builtWith());

/** Builds the workflows into a file for {@link bundleWorkflows} of other processes. */
export async function buildAhead(config: ResolvedConfig, writeTo: string): Promise<void> {
  const { code } = await buildWorkflows(config);
  writeBuilt(writeTo, code, builtWith());
}

/** What both sides of a bundle must agree on. */
function builtWith(): BuiltWith {
  const { resolve } = createRequire(import.meta.url);
  const manifest = JSON.parse(readFileSync(resolve('@temporalio/worker/package.json'), 'utf8')) as { version: string };
  return { spillway: packageVersion(), temporal: manifest.version };
}

async function buildWorkflows(config: ResolvedConfig, signal?: AbortSignal): Promise<{ code: string }> {
  const folder = bundleFolder(config);
  const entry = writeBundleEntry(folder, {
    ...(config.workflows === undefined ? {} : { workflows: config.workflows }),
    registered: packageFiles.registered,
    interceptor: packageFiles.interceptor,
  });
  // Never kept: what the user's module imports is known to the bundler alone.
  const writeTo = join(folder, `own-${process.pid}.js`);
  try {
    const order = { workflowsPath: entry, interceptors: [packageFiles.interceptor], oneTemporal: true, writeTo };
    await runBundler(order, signal);
    return { code: readFileSync(writeTo, 'utf8') };
  } catch (error) {
    const what = config.workflows ?? 'the registered workflows';
    throw new SpillwayError('InvalidInput', `${what} cannot be bundled: ${(error as Error).message}`, { cause: error });
  } finally {
    rmSync(writeTo, { force: true });
  }
}

/** Runs the bundler in a process of its own, whose memory goes with it. Raises the bundler's first errors, as one line. */
async function runBundler(order: BundleOrder, signal?: AbortSignal): Promise<void> {
  const run = await execa(process.execPath, [...bundlerProgram(), JSON.stringify(order)], {
    reject: false,
    stdin: 'ignore',
    env: {},
    extendEnv: false, // nothing of ours is the bundler's business
    ...(signal && { cancelSignal: signal }),
  });
  const last = run.stdout.trim().split('\n').at(-1) ?? '';
  const answer = last.startsWith('{') ? (JSON.parse(last) as BundleAnswer) : undefined;
  if (answer === undefined)
    throw new Error(
      `the bundler ended without an answer (${run.signal ?? `exit code ${run.exitCode}`}): ${run.stderr.trim().split('\n').at(-1) ?? ''}`,
    );
  if (answer.error !== undefined) throw new Error(answer.error);
}

/** From the build it is plain Node; from sources the same TypeScript loader as for configuration files. */
function bundlerProgram(): string[] {
  if (packageFiles.bundleProcess.endsWith('.js')) return [packageFiles.bundleProcess];
  const jiti = dirname(createRequire(import.meta.url).resolve('jiti/package.json'));
  return [join(jiti, 'lib', 'jiti-cli.mjs'), packageFiles.bundleProcess];
}

function bundleFolder({ home }: Pick<ResolvedConfig, 'home'>): string {
  const folder = join(home, 'run', 'bundle');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return folder;
}

/** Content of everything that the pool's bundle may be made of, and of what makes it. */
function packageHash(): string {
  const hash = createHash('sha256').update(process.version);
  const { resolve } = createRequire(import.meta.url);
  for (const name of ['@temporalio/worker', '@temporalio/workflow'])
    hash.update(readFileSync(resolve(`${name}/package.json`)));
  for (const folder of packageFiles.poolFolders) {
    const modules = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
      (name) => /\.[jt]s$/.test(name) && !name.endsWith('.d.ts'),
    );
    for (const name of modules.sort()) hash.update(`\0${name}\0`).update(readFileSync(join(folder, name)));
  }
  return hash.digest('hex').slice(0, 16);
}

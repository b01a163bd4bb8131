import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { PartSource } from '../contracts/parts.ts';
import type { ContainerRuntime } from './container-runtime.ts';
import type { Environment } from './command.ts';
import { oneLine, run } from './command.ts';
import { findOnPath } from './find-program.ts';
import { withLock } from './lock.ts';
import { PINS, IMAGE_PACKAGES } from './pins.ts';
import { pipInstall } from './pip.ts';
import type { Report } from './progress.ts';
import { compileModules, pythonOfTree } from './python-bytecode.ts';
import { copyRunner, hashOf, runnerFolder, runnerHash, runnerRequirements } from './runner-sources.ts';

/** The image of the DataFusion runner, present in the runtime's store. */
export interface RunnerImage {
  readonly name: string;
  readonly found: PartSource;
}

/**
 * Makes sure that the image of the DataFusion runner is there, and answers its name.
 *
 * The name carries a hash of the runner and of every pin, so an edit makes another image and an old one is never run by
 * mistake. The base (Python and wheels) is made once per pin: on Debian 12 from its packages and pinned wheels,
 * without any registry (15 s); elsewhere by an ordinary build of the Containerfile. The runner is one layer on top.
 */
export async function datafusionImage(
  runtime: ContainerRuntime,
  tmp: string,
  env: Environment,
  report: Report,
): Promise<RunnerImage> {
  const sources = runnerFolder();
  const requirements = runnerRequirements();
  const pins = hashOf([`${PINS.imageRecipe}`, ...IMAGE_PACKAGES, readFileSync(requirements, 'utf8')]);
  const base = `localhost/spillway-datafusion-base:${pins}`;
  const name = `localhost/spillway-datafusion:${runnerHash(pins)}`;
  if (await imageExists(runtime, name, env)) return { name, found: 'container' };
  return withLock(name, async () => {
    if (await imageExists(runtime, name, env)) return { name, found: 'container' as const };
    mkdirSync(tmp, { recursive: true });
    const work = mkdtempSync(join(tmp, 'image-'));
    try {
      const made = await makeBase(runtime, { base, work, requirements, sources, env, report });
      await addRunner(runtime, { base: made, name, work, env });
      return { name, found: 'fetched' as const };
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  });
}

interface BaseOrder {
  readonly base: string;
  readonly work: string;
  readonly requirements: string;
  readonly sources: string;
  readonly env: Environment;
  readonly report: Report;
}

async function makeBase(runtime: ContainerRuntime, order: BaseOrder): Promise<string> {
  const { base, env, report } = order;
  if (await imageExists(runtime, base, env)) return base;
  const fromPackages = await debianHasPackages(env);
  report({
    part: 'image',
    what: 'fetching',
    text: `DataFusion ${PINS.datafusion} image: ${fromPackages ? 'from Debian packages and wheels' : 'building its Containerfile'}`,
  });
  if (fromPackages) await importBase(runtime, order);
  else await buildBase(runtime, order);
  return base;
}

/** Only Debian 12 has these packages with Python 3.11, for which the wheels are pinned. */
async function debianHasPackages(env: Environment): Promise<boolean> {
  if (process.platform !== 'linux' || findOnPath('apt-get', env) === undefined || findOnPath('dpkg', env) === undefined)
    return false;
  const known = await run('apt-cache', ['show', '--no-all-versions', 'python3.11-minimal', 'libssl3'], { env }).catch(
    () => '',
  );
  return /^Package: python3\.11-minimal$/m.test(known) && /^Package: libssl3$/m.test(known);
}

async function importBase(
  runtime: ContainerRuntime,
  { base, work, requirements, env, report }: BaseOrder,
): Promise<void> {
  const root = join(work, 'root');
  const packages = join(work, 'packages');
  mkdirSync(packages);
  mkdirSync(root);
  const wheels = pipInstall(requirements, join(root, 'opt', 'df'), env, {
    python: '3.11',
    platforms: ['manylinux_2_28', 'manylinux_2_17', 'manylinux2014'].map(
      (name) => `${name}_${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}`,
    ),
  });
  const system = (async () => {
    await run('apt-get', ['download', ...IMAGE_PACKAGES], { env, cwd: packages, timeoutMs: 5 * 60_000 });
    // Unpacked only: no maintainer script runs, so none of it needs root.
    for (const file of readdirSync(packages)) await run('dpkg', ['-x', join(packages, file), root], { env });
  })();
  await Promise.all([wheels, system]);
  for (const directory of ['tmp', 'proc', 'sys', 'dev', 'in', 'shm', 'scratch', 'opt/spillway', 'etc']) {
    mkdirSync(join(root, directory), { recursive: true });
  }
  for (const name of ['bin', 'sbin']) if (!existsSync(join(root, name))) symlinkSync(`usr/${name}`, join(root, name));
  writeFileSync(
    join(root, 'etc', 'passwd'),
    'root:x:0:0:root:/:/bin/false\nnobody:x:65534:65534:nobody:/tmp:/bin/false\n',
  );
  prune(join(root, 'opt', 'df'));
  const modules = [join(root, 'usr', 'lib', 'python3.11'), join(root, 'opt', 'df')];
  await compileModules(pythonOfTree(root, '3.11'), modules, env, root).catch((error: unknown) =>
    report({
      ...{ part: 'image', what: 'fetching' },
      text: `its Python modules could not be compiled, so each start takes 0.2 s more: ${oneLine(error)}`,
    }),
  );
  // The container runs without privileges: everything must be readable by all, whatever our umask.
  await run('chmod', ['-R', 'a+rX', root], { env });
  const archive = join(work, 'root.tar');
  await run('tar', ['-cf', archive, '--owner=0', '--group=0', '--numeric-owner', '-C', root, '.'], {
    env,
    timeoutMs: 5 * 60_000,
  });
  rmSync(root, { recursive: true });
  await run(runtime.kind, ['import', archive, base], { env, timeoutMs: 5 * 60_000 });
}

/** A third of the wheels is tests, headers and a network protocol that the runner does not speak. */
function prune(directory: string): void {
  const arrow = join(directory, 'pyarrow');
  for (const name of readdirSync(arrow)) {
    if (/^(tests|include|libarrow_flight.*|_flight.*)$/.test(name)) rmSync(join(arrow, name), { recursive: true });
  }
}

/** An ordinary build, where an image registry answers: a slim Python and the pinned wheels. */
async function buildBase(
  runtime: ContainerRuntime,
  { base, work, requirements, sources, env }: BaseOrder,
): Promise<void> {
  const context = join(work, 'base');
  cpSync(sources, context, { recursive: true });
  cpSync(requirements, join(context, 'requirements.txt'));
  const file = join(context, 'Containerfile');
  if (!existsSync(file)) throw new Error('containers/datafusion/Containerfile is missing');
  try {
    await run(runtime.kind, ['build', '--target', 'base', '--tag', base, '--file', file, context], {
      env,
      timeoutMs: 15 * 60_000,
    });
  } catch (error) {
    throw new Error(
      `the image could not be built: ${oneLine(error)}. Give this host access to an image registry, or set runtime.image`,
    );
  }
}

async function addRunner(
  runtime: ContainerRuntime,
  order: { base: string; name: string; work: string; env: Environment },
): Promise<void> {
  const { base, name, work, env } = order;
  const context = join(work, 'runner');
  copyRunner(join(context, 'spillway'));
  await run('chmod', ['-R', 'a+rX', context], { env });
  const lines = [
    `FROM ${base}`,
    'COPY spillway /opt/spillway',
    'ENV PYTHONPATH=/opt/df PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 LANG=C.UTF-8',
    `LABEL io.spillway.datafusion="${PINS.datafusion}"`,
    'ENTRYPOINT ["/usr/bin/python3.11", "/opt/spillway/runner.py"]',
  ];
  writeFileSync(join(context, 'Containerfile'), `${lines.join('\n')}\n`);
  // Nothing runs in this build, so it needs no registry and none of the runtime's flags.
  await run(runtime.kind, ['build', '--tag', name, '--file', join(context, 'Containerfile'), context], {
    env,
    timeoutMs: 5 * 60_000,
  });
}

/** Whether the runtime's store has an image of this name. */
export async function imageExists(
  runtime: Pick<ContainerRuntime, 'kind'>,
  name: string,
  env: Environment,
): Promise<boolean> {
  return run(runtime.kind, ['image', 'inspect', '--format', '{{.Id}}', name], { env, timeoutMs: 30_000 }).then(
    () => true,
    () => false,
  );
}

import { execa } from 'execa';
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cached } from '../../src/provision/cached.ts';
import { findJava } from '../../src/provision/java.ts';
import { pipInstall } from '../../src/provision/pip.ts';
import { postgresBinaries } from '../../src/provision/postgres-binaries.ts';
import { temporalCli } from '../../src/provision/temporal-cli.ts';
import { trinoServer } from '../../src/provision/trino-server.ts';
import { cacheDir } from './provision-home.ts';

const fixtures = join(dirname(fileURLToPath(import.meta.url)), 'compose-images');
const quiet = (): void => undefined;

/** Images that stand in for the ones of a registry, by the variable that names each in a rendered compose file. */
export interface ComposeImages {
  readonly variables: Record<string, string>;
  remove(): Promise<void>;
}

/** podman-compose of the pinned version, as the words that start it. */
export async function podmanCompose(): Promise<{ program: string; env: Record<string, string> }> {
  const folder = await cached(
    cacheDir,
    'podman-compose-1.6.0',
    (aside) => pipInstall(join(fixtures, 'podman-compose.txt'), aside, process.env),
    quiet,
  );
  return { program: join(folder, 'bin', 'podman-compose'), env: { PYTHONPATH: folder } };
}

/**
 * Builds images with the real servers from what this host has: the same entry points, folders and variables as the images
 * of a registry. `base` has Python and its libraries; nothing runs in these builds.
 */
export async function buildComposeImages(base: string, work: string): Promise<ComposeImages> {
  const names: string[] = [];
  const build = async (name: string, fill: (context: string) => Promise<string[]>): Promise<string> => {
    const context = mkdtempSync(join(work, `${name}-`));
    const lines = await fill(context);
    await execa('chmod', ['-R', 'a+rX', context]);
    writeFileSync(join(context, 'Containerfile'), [`FROM ${base}`, 'COPY root /', ...lines, ''].join('\n'));
    const image = `localhost/spillway-test-${name}:${process.pid}`;
    await execa('podman', ['build', '--quiet', '--tag', image, '--file', join(context, 'Containerfile'), context]);
    rmSync(context, { recursive: true });
    names.push(image);
    return image;
  };
  return {
    variables: {
      SPILLWAY_TEMPORAL_IMAGE: await build('temporal', temporalRoot),
      SPILLWAY_POSTGRES_IMAGE: await build('postgres', postgresRoot),
      SPILLWAY_TRINO_IMAGE: await build('trino', trinoRoot),
    },
    remove: async () => {
      await execa('podman', ['image', 'rm', '--force', ...names]);
    },
  };
}

async function temporalRoot(context: string): Promise<string[]> {
  const cli = await temporalCli(cacheDir, process.env, quiet);
  place(cli.path, context, '/usr/bin/temporal');
  return ['ENTRYPOINT ["/usr/bin/temporal"]'];
}

async function trinoRoot(context: string): Promise<string[]> {
  const [server, java] = await Promise.all([
    trinoServer(cacheDir, process.env, quiet),
    findJava(cacheDir, process.env, quiet),
  ]);
  place(server, context, '/usr/lib/trino');
  place(java.home, context, '/usr/lib/jvm');
  place(join(fixtures, 'trino-entry.py'), context, '/opt/trino-entry.py');
  place(join(fixtures, 'trino-cli.py'), context, '/usr/bin/trino');
  chmodSync(join(context, 'root/usr/bin/trino'), 0o755);
  return ['ENTRYPOINT ["/usr/bin/python3.11", "/opt/trino-entry.py"]'];
}

async function postgresRoot(context: string): Promise<string[]> {
  const { directory } = await postgresBinaries(cacheDir, process.env, quiet);
  const top = dirname(directory);
  const share = top.replace('/usr/lib/', '/usr/share/');
  for (const path of new Set([top, share])) if (existsSync(path)) place(path, context, path);
  const libraries = join(context, 'root/opt/postgres-libraries');
  mkdirSync(libraries, { recursive: true });
  for (const path of await librariesOf(join(directory, 'postgres'), join(directory, 'initdb'))) {
    cpSync(path, join(libraries, path.slice(path.lastIndexOf('/') + 1)), { dereference: true });
  }
  // initdb asks the server for its version through a shell.
  place('/bin/dash', context, '/usr/bin/sh');
  mkdirSync(join(context, 'root/usr/lib/postgresql'), { recursive: true });
  symlinkSync(directory, join(context, 'root/usr/lib/postgresql/bin'));
  if (existsSync(join(directory, 'pg_isready')))
    symlinkSync(join(directory, 'pg_isready'), join(context, 'root/usr/bin/pg_isready'));
  mkdirSync(join(context, 'root/etc'), { recursive: true });
  writeFileSync(
    join(context, 'root/etc/passwd'),
    'root:x:0:0:root:/:/bin/false\npostgres:x:999:999::/var/lib/postgresql:/bin/false\n',
  );
  place(join(fixtures, 'postgres-entry.py'), context, '/opt/postgres-entry.py');
  return [
    'ENV LD_LIBRARY_PATH=/opt/postgres-libraries',
    'ENTRYPOINT ["/usr/bin/python3.11", "/opt/postgres-entry.py"]',
  ];
}

/** Libraries that programs are linked to, the C library's own excepted: those are the base's. */
async function librariesOf(...programs: string[]): Promise<string[]> {
  const found = new Set<string>();
  for (const program of programs) {
    const { stdout } = await execa('ldd', [program]);
    for (const [, path = ''] of stdout.matchAll(/=> (\/\S+)/g)) {
      if (!/\/(libc|libm|libdl|librt|libpthread|libresolv)\.so/.test(path)) found.add(path);
    }
  }
  return [...found];
}

/** Copies a file or folder to its path in the image. */
function place(from: string, context: string, to: string): void {
  mkdirSync(dirname(join(context, 'root', to)), { recursive: true });
  cpSync(from, join(context, 'root', to), { recursive: true, dereference: true });
}

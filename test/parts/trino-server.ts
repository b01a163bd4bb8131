import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, open, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findJava } from '../../src/provision/java.ts';
import { freePort } from '../../src/provision/ports.ts';
import { trinoServer } from '../../src/provision/trino-server.ts';
import { cacheDir } from '../integration/provision-home.ts';

/** A real Trino 476 of a test: one node, catalogs `tpch`, `memory` and `lake`, resource groups `heavy` and `control`. */
export interface TrinoServer {
  url: string;
  /** What the `lake` catalog calls `local:///`; also the scratch root. */
  lakeRoot: string;
  pid: number;
  /** Ends the server and removes its directory; a second call does nothing. */
  stop(): Promise<void>;
}

export interface TrinoServerOptions {
  /** @defaultValue '1g' */
  heap?: string;
  /** Lines of config.properties on top of the usual ones. */
  config?: Record<string, string>;
}

// 11 s on a quiet machine; more than two minutes were seen where ten other servers shared two cores.
const START_MS = 300_000;

const PLUGINS = ['tpch', 'memory', 'hive', 'resource-group-managers'];

// `heavy` runs one at a time; everything else, look-ups and kills among it, goes to `control` and never waits behind it.
const RESOURCE_GROUPS = {
  rootGroups: [
    { name: 'heavy', maxQueued: 20, hardConcurrencyLimit: 1, softMemoryLimit: '100%' },
    { name: 'control', maxQueued: 200, hardConcurrencyLimit: 20, softMemoryLimit: '100%' },
  ],
  selectors: [{ clientTags: ['heavy'], group: 'heavy' }, { group: 'control' }],
};

const properties = (lines: Record<string, string>): string =>
  Object.entries(lines)
    .map(([key, value]) => `${key}=${value}\n`)
    .join('');

/** Starts Trino and answers once its port does; whether it can scan yet is for the caller to find out. */
export async function startTrinoServer(options: TrinoServerOptions = {}): Promise<TrinoServer> {
  const home = await trinoServer(cacheDir, process.env, () => undefined);
  const { home: javaHome } = await findJava(cacheDir, process.env, () => undefined);
  const root = await mkdtemp(join(tmpdir(), 'spillway-trino-'));
  const port = await freePort([], new Set());
  const lakeRoot = join(root, 'lake');
  const etc = join(root, 'etc');
  for (const made of ['etc/catalog', 'plugin', 'data', 'lake', 'spill'])
    await mkdir(join(root, made), { recursive: true });
  for (const name of PLUGINS) await symlink(join(home, 'plugin', name), join(root, 'plugin', name));
  await writeFile(
    join(etc, 'config.properties'),
    properties({
      coordinator: 'true',
      'node-scheduler.include-coordinator': 'true',
      'http-server.http.port': String(port),
      'discovery.uri': `http://127.0.0.1:${port}`,
      'catalog.config-dir': join(etc, 'catalog'),
      'plugin.dir': join(root, 'plugin'),
      'query.max-memory': '500MB',
      'query.max-memory-per-node': '500MB',
      'memory.heap-headroom-per-node': '200MB',
      'query.client.timeout': '30s',
      'spiller-spill-path': join(root, 'spill'),
      ...options.config,
    }),
  );
  await writeFile(
    join(etc, 'resource-groups.properties'),
    properties({
      'resource-groups.configuration-manager': 'file',
      'resource-groups.config-file': join(etc, 'resource-groups.json'),
    }),
  );
  await writeFile(join(etc, 'resource-groups.json'), JSON.stringify(RESOURCE_GROUPS));
  await writeFile(
    join(etc, 'catalog', 'tpch.properties'),
    properties({ 'connector.name': 'tpch', 'tpch.splits-per-node': '4' }),
  );
  await writeFile(join(etc, 'catalog', 'memory.properties'), properties({ 'connector.name': 'memory' }));
  await writeFile(
    join(etc, 'catalog', 'lake.properties'),
    properties({
      'connector.name': 'hive',
      'hive.metastore': 'file',
      'hive.metastore.catalog.dir': 'local:///metastore',
      'fs.native-local.enabled': 'true',
      'local.location': lakeRoot,
      'hive.storage-format': 'PARQUET',
      'hive.non-managed-table-writes-enabled': 'true',
      'hive.parquet.use-column-names': 'true',
      'hive.timestamp-precision': 'MICROSECONDS',
    }),
  );
  const log = await open(join(root, 'server.log'), 'w');
  const child = spawn(
    join(javaHome, 'bin', 'java'),
    [
      ...['-cp', `${home}/lib/*`, '-server', `-Xmx${options.heap ?? '1g'}`, '-XX:+UseG1GC'],
      ...[
        '-XX:MinHeapFreeRatio=10',
        '-XX:MaxHeapFreeRatio=20',
        '-XX:+ExitOnOutOfMemoryError',
        '-XX:ReservedCodeCacheSize=256M',
      ],
      ...['-Djdk.attach.allowAttachSelf=true', '-XX:+EnableDynamicAgentLoading'],
      ...[
        '-Dnode.environment=test',
        '-Dnode.id=test',
        `-Dnode.data-dir=${join(root, 'data')}`,
        '-Dnode.bind-ip=127.0.0.1',
      ],
      ...[
        '-Dnode.internal-address=127.0.0.1',
        `-Dconfig=${join(etc, 'config.properties')}`,
        'io.trino.server.TrinoServer',
      ],
    ],
    {
      cwd: root,
      stdio: ['ignore', log.fd, log.fd],
      env: { PATH: process.env['PATH'], JAVA_HOME: javaHome, TMPDIR: root },
    },
  );
  await log.close();
  const server: TrinoServer = {
    url: `http://127.0.0.1:${port}`,
    lakeRoot,
    pid: child.pid ?? -1,
    stop: async () => {
      await ended(child);
      await rm(root, { recursive: true, force: true });
    },
  };
  try {
    await answers(server.url, child, join(root, 'server.log'));
  } catch (error) {
    await server.stop();
    throw error;
  }
  return server;
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  const stubborn = setTimeout(() => child.kill('SIGKILL'), 15_000);
  await exit;
  clearTimeout(stubborn);
}

async function answers(url: string, child: ChildProcess, log: string): Promise<void> {
  const deadline = Date.now() + START_MS;
  for (;;) {
    if (child.exitCode !== null)
      throw new Error(`Trino ended with ${child.exitCode}:\n${(await readFile(log, 'utf8')).slice(-3000)}`);
    const reply = await fetch(`${url}/v1/info`).catch(() => undefined);
    const info = reply?.ok ? ((await reply.json()) as { starting?: boolean }) : undefined;
    if (info?.starting === false) return;
    if (Date.now() > deadline)
      throw new Error(
        `Trino did not start within ${START_MS / 1000} s:\n${(await readFile(log, 'utf8')).slice(-3000)}`,
      );
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

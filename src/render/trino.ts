import type { ResolvedHardware } from '../config/resolved.ts';
import { formatBytes } from '../policy/sizes.ts';
import type { Setting } from './settings-text.ts';
import { comment, engineSize, jvmSize, settingsText } from './settings-text.ts';

/** Where one Trino lives; everything else comes from the hardware profile. */
export interface TrinoPlace {
  /** Trino's version; decides names of settings that changed, for example 476. */
  readonly version: number;
  readonly httpPort: number;
  readonly nodeId: string;
  /** Directory with `config.properties` and the other rendered files. */
  readonly etcDir: string;
  readonly dataDir: string;
  readonly pluginDir: string;
  /** The one scratch root: the lake's `local:///`, and the parent of the spill directory. */
  readonly scratch: string;
  /** Writable directory for the JVM's temporary files; native codecs are unpacked there. */
  readonly tmpDir: string;
  /** `container`: listens on all addresses of its own network, of which only a port of loopback is published. @defaultValue 'loopback' */
  readonly network?: 'loopback' | 'container';
}

/** Newest Trino that has `query.max-total-memory-per-node`; later ones stop when they find it. */
const LAST_WITH_TOTAL_PER_NODE = 368;
/** First Trino whose results after spilling are right. */
const FIRST_SAFE_SPILL = 480;

/**
 * Configuration files of a Trino that runs one heavy query at a time in the memory of a hardware profile.
 * Answers relative file name → text; the same input gives the same text. Listens on loopback only.
 */
export function renderTrino(hardware: ResolvedHardware, place: TrinoPlace): Record<string, string> {
  return {
    'config.properties': configProperties(hardware, place),
    'jvm.config': jvmConfig(hardware, place),
    'node.properties': nodeProperties(place),
    'resource-groups.properties': settingsText('Which queries wait for which.', [
      { key: 'resource-groups.configuration-manager', value: 'file' },
      { key: 'resource-groups.config-file', value: `${place.etcDir}/resource-groups.json` },
    ]),
    'resource-groups.json': resourceGroups(),
    'catalog/tpch.properties': settingsText('Generated TPC-H rows, for examples and tests.', [
      { key: 'connector.name', value: 'tpch' },
    ]),
    'catalog/memory.properties': settingsText(
      'Tables in the heap, outside every query limit: for small look-ups only.',
      [{ key: 'connector.name', value: 'memory' }],
    ),
    'catalog/lake.properties': lakeCatalog(place),
  };
}

function configProperties({ trino }: ResolvedHardware, place: TrinoPlace): string {
  const total: Setting =
    place.version > LAST_WITH_TOTAL_PER_NODE
      ? {
          key: 'query.max-total-memory',
          value: engineSize(trino.maxTotalMemoryBytes),
          why: `User memory and what can be revoked, together. Up to Trino ${LAST_WITH_TOTAL_PER_NODE} this was query.max-total-memory-per-node, which stops later servers.`,
        }
      : {
          key: 'query.max-total-memory-per-node',
          value: engineSize(trino.maxTotalMemoryBytes),
          why: `User and system memory of one query on one node (query.max-total-memory after Trino ${LAST_WITH_TOTAL_PER_NODE}).`,
        };
  const spillSafe = place.version >= FIRST_SAFE_SPILL;
  return settingsText('Trino: one node, one heavy query at a time. Rendered from the hardware profile.', [
    { key: 'coordinator', value: 'true' },
    { key: 'node-scheduler.include-coordinator', value: 'true', why: 'One node is both coordinator and worker.' },
    { key: 'http-server.http.port', value: String(place.httpPort) },
    { key: 'discovery.uri', value: `http://127.0.0.1:${place.httpPort}` },
    { key: 'catalog.config-dir', value: `${place.etcDir}/catalog` },
    { key: 'plugin.dir', value: place.pluginDir },
    {
      key: 'query.max-memory-per-node',
      value: engineSize(trino.maxMemoryPerNodeBytes),
      why: `User memory of one query on one node. Together with the headroom it must stay below the heap of ${formatBytes(trino.heapBytes)}, or the server does not start.`,
    },
    {
      key: 'query.max-memory',
      value: engineSize(trino.maxMemoryPerNodeBytes),
      why: 'The same for the cluster, which is this one node. Its default of 20 GB would cap every query.',
    },
    total,
    {
      key: 'memory.heap-headroom-per-node',
      value: engineSize(trino.heapHeadroomBytes),
      why: 'Heap that no query limit counts: live server state and the text pool of the tpch catalog.',
    },
    {
      key: 'spill-enabled',
      value: spillSafe ? 'true' : 'false',
      why: spillSafe
        ? 'Large aggregations, joins and sorts go to disk instead of failing.'
        : `Off: before ${FIRST_SAFE_SPILL} an aggregation that spilled may return wrong rows (trino#25892). Path and limits stand ready for a session that consents.`,
    },
    {
      key: 'spiller-spill-path',
      value: `${place.scratch}/trino-spill`,
      why: 'On the scratch disk, charged to the step that spills.',
    },
    {
      key: 'max-spill-per-node',
      value: engineSize(trino.spillBytes),
      why: 'Of all queries together (default 100 GB).',
    },
    {
      key: 'query-max-spill-per-node',
      value: engineSize(trino.spillBytes),
      why: 'Of one query; heavy ones run alone.',
    },
    {
      key: 'query.client.timeout',
      value: '30s',
      why: 'A query whose reader fell silent ends after this, so that a killed worker leaves nothing running.',
    },
  ]);
}

function jvmConfig({ trino }: ResolvedHardware, place: TrinoPlace): string {
  const options: [option: string, why?: string][] = [
    ['-server'],
    [
      `-Xmx${jvmSize(trino.heapBytes)}`,
      `Heap. What is not heap (metaspace, code, threads) comes on top, up to the container's ${formatBytes(trino.containerBytes)}.`,
    ],
    ['-XX:+UseG1GC', 'Named, as the JVM picks the serial collector by itself in a small container.'],
    [
      '-XX:MinHeapFreeRatio=10',
      'With the next one: a collection between queries gives free heap back to the system. The defaults (40 and 70) return nothing.',
    ],
    ['-XX:MaxHeapFreeRatio=20'],
    ['-XX:+ExitOnOutOfMemoryError', 'Exit code 3 instead of a server that limps on.'],
    ['-XX:ReservedCodeCacheSize=256M'],
    ['-Djdk.attach.allowAttachSelf=true', 'Trino attaches to itself for its statistics.'],
    ['-XX:+EnableDynamicAgentLoading'],
    [`-Djava.io.tmpdir=${place.tmpDir}`, 'Native codecs are unpacked here; the directory must not be mounted noexec.'],
    ['-Dfile.encoding=UTF-8'],
  ];
  const lines = options.map(([option, why]) => `${why === undefined ? '' : comment(why)}${option}\n`);
  return `${comment('JVM of Trino. Rendered from the hardware profile.')}\n${lines.join('')}`;
}

function nodeProperties(place: TrinoPlace): string {
  const bind: Setting =
    place.network === 'container'
      ? {
          key: 'node.bind-ip',
          value: '0.0.0.0',
          why: 'Of the container alone; the host publishes the port on loopback.',
        }
      : { key: 'node.bind-ip', value: '127.0.0.1', why: 'Loopback only.' };
  return settingsText('Identity of this node.', [
    { key: 'node.environment', value: 'spillway' },
    { key: 'node.id', value: place.nodeId },
    { key: 'node.data-dir', value: place.dataDir },
    bind,
    { key: 'node.internal-address', value: '127.0.0.1', why: 'One node talks to itself.' },
  ]);
}

/** Two groups: heavy queries one at a time, and everything short beside them, so that control never waits for what it controls. */
function resourceGroups(): string {
  const groups = {
    rootGroups: [
      // The memory of a heavy query is bounded by the query limits; a soft limit of 100 % only never queues twice.
      { name: 'heavy', hardConcurrencyLimit: 1, maxQueued: 100, softMemoryLimit: '100%' },
      { name: 'control', hardConcurrencyLimit: 16, maxQueued: 1000, softMemoryLimit: '100%' },
    ],
    selectors: [{ clientTags: ['heavy'], group: 'heavy' }, { group: 'control' }],
  };
  const text = JSON.stringify(groups, undefined, 2);
  return `${text.replace(/\[\s+("[^"]*")\s+\]/g, '[$1]')}\n`; // a list of one on one line, as formatters have it
}

function lakeCatalog(place: TrinoPlace): string {
  return settingsText('The shared scratch as a lake: unloads are written here, handoffs are read from here.', [
    { key: 'connector.name', value: 'hive' },
    { key: 'hive.metastore', value: 'file' },
    { key: 'hive.metastore.catalog.dir', value: 'local:///metastore' },
    { key: 'fs.native-local.enabled', value: 'true' },
    {
      key: 'local.location',
      value: place.scratch,
      why: 'What local:/// means: the scratch root, so that every handoff can be an external location.',
    },
    { key: 'hive.storage-format', value: 'PARQUET' },
    {
      key: 'hive.compression-codec',
      value: 'SNAPPY',
      why: 'Three times as fast as the default (gzip) for files that live for minutes.',
    },
    {
      key: 'hive.non-managed-table-writes-enabled',
      value: 'true',
      why: 'CREATE TABLE … AS into an external location.',
    },
    {
      key: 'hive.parquet.use-column-names',
      value: 'true',
      why: 'Columns by name: other writers order them differently.',
    },
    { key: 'hive.timestamp-precision', value: 'MICROSECONDS', why: 'The default refuses timestamp(6).' },
  ]);
}

/** Options of a rendered `jvm.config`, without its comments. */
export function jvmOptions(jvmConfigText: string): string[] {
  return jvmConfigText.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
}

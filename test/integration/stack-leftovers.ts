import { execa } from 'execa';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { engineDataId } from '../../src/contracts/pool.ts';
import { type FoundTransform, transformProcesses } from '../../src/engines/transform/transform-processes.ts';
import { filesUnder } from '../../src/handoff/bytes-under.ts';
import { openCgroupTree, poolPath } from '../../src/host/cgroup-tree.ts';
import { markedProcesses, type MarkedProcess } from '../../src/host/marked-processes.ts';
import { memoryRootOf } from '../../src/host/tmpfs.ts';
import type { Stack } from './stack.ts';
import { trinoRows } from './stack-trino.ts';

/** What of any run is still there, each in one line; empty when nothing is. */
export const leftoversOf = async (stack: Stack): Promise<string[]> => [
  ...(await outsideOf(stack)).filter((line) => !stack.before.has(line)),
  ...(await leases(stack)),
];

/** What runs made outside of the pool's ledger. */
export async function outsideOf(stack: Stack): Promise<string[]> {
  const found = await Promise.all([containers(stack), groups(stack), queries(stack), loads(stack)]);
  const transforms = stackTransforms(stack).map(
    ({ step, process }) => `process ${process.pid} of transform step ${step}`,
  );
  const steps = (await stepProcesses(stack)).map(({ values: [name] }) => `process ${name}`);
  return [...found.flat(), ...transforms, ...steps, ...files(stack), ...(await inMemory(stack))];
}

/** Processes of transforms that this stack's pool lends to; other pools of the host have some of their own. */
export const stackTransforms = (stack: Stack): FoundTransform[] =>
  transformProcesses().filter(({ lease }) => lease?.pool === stack.pool);

/** Processes of steps that run without a container, of this stack's pool. */
export const stepProcesses = async (stack: Stack): Promise<MarkedProcess[]> =>
  markedProcesses('--spillway-process').filter(({ values }) => values.includes(`spillway.pool=${stack.pool}`));

/** Of this stack's pool alone: other pools of the host have containers of their own. */
async function containers(stack: Stack): Promise<string[]> {
  const { runtime } = stack.parts.image;
  const filter = ['--filter', `label=spillway.pool=${stack.pool}`];
  const { stdout } = await execa(runtime, ['ps', '--all', ...filter, '--format', '{{.Names}}']);
  return stdout
    .split('\n')
    .filter(Boolean)
    .map((name) => `container ${name}`);
}

/** Memory groups of steps, and of workers that are gone, on hosts that have groups. */
async function groups(stack: Stack): Promise<string[]> {
  const cgroups = await openCgroupTree();
  if (cgroups.version === 'none') return [];
  const live = stack.workers.map(({ pid }) => `worker-${pid}-`);
  const names = await cgroups.children(poolPath(stack.pool));
  return names.filter((name) => !live.some((own) => name.startsWith(own))).map((name) => `memory group ${name}`);
}

async function queries(stack: Stack): Promise<string[]> {
  const rows = await trinoRows(
    stack.parts.trino.url,
    `select query_id, source, state from system.runtime.queries
     where source like 'spillway/%/%' and state not in ('FINISHED', 'FAILED')`,
  );
  return rows.map(([id, source, state]) => `query ${String(id)} of ${String(source)} (${String(state)})`);
}

async function loads(stack: Stack): Promise<string[]> {
  const rows = await stack.sql<{ what: string }>(`
    select 'session ' || application_name as what from pg_stat_activity where application_name like 'spillway/%'
    union all
    select 'table ' || relname from pg_class c join pg_namespace n on n.oid = relnamespace
    where nspname = 'spillway' and relname like 'stg%' and relkind in ('r', 'i')`);
  const ledger = await stack.sql<{ there: boolean }>(`select to_regclass('spillway.loads') is not null as there`);
  const open = ledger[0]!.there
    ? await stack.sql<{ what: string }>(
        `select 'load ' || run || '/' || step || ' (' || state || ')' as what from spillway.loads where state = 'loading' or staging is not null`,
      )
    : [];
  return [...rows, ...open].map(({ what }) => what);
}

/** Rows that are kept in memory. */
async function inMemory(stack: Stack): Promise<string[]> {
  const root = await memoryRootOf(stack.parts.scratch);
  return root === undefined ? [] : (await filesUnder(root)).map(({ path }) => `file ${path}`);
}

/**
 * Charges of live workers and of the resident Trino stand, and what that Trino keeps between queries, which is revoked when
 * somebody needs it; everything else has to be given back.
 */
async function leases(stack: Stack): Promise<string[]> {
  const { leases: held, queue, lentBytes, scratchLentBytes } = await stack.status();
  const standing = [...stack.workers.map(({ pid }) => `worker-${pid}-`), `trino.default-${stack.parts.trino.pid}-`];
  const engine = engineDataId('trino.default');
  const stands = ({ kind, leaseId }: { kind: string; leaseId: string }): boolean =>
    (kind === 'standing' && standing.some((name) => leaseId.includes(`/${name}`))) || leaseId === engine;
  const left = [...held, ...queue].filter((lease) => !stands(lease));
  const keptBytes = held.find(({ leaseId }) => leaseId === engine)?.bytes ?? 0;
  return [
    ...left.map(({ kind, leaseId, state }) => `${kind} lease ${leaseId} (${state})`),
    ...(lentBytes > keptBytes ? [`${lentBytes - keptBytes} B lent`] : []),
    ...(scratchLentBytes > 0 ? [`${scratchLentBytes} B of scratch lent`] : []),
  ];
}

function files(stack: Stack): string[] {
  return ['runs', 'ledger', 'trino-spill', join('metastore', 'spillway')].flatMap((folder) => {
    const at = join(stack.parts.scratch, folder);
    try {
      return readdirSync(at, { recursive: true, encoding: 'utf8' })
        .filter((name) => !name.startsWith('.'))
        .map((name) => `file ${join(folder, name)}`);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  });
}

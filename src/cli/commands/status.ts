import { PoolClient } from '../../../activities/index.ts';
import type { ResolvedConfig } from '../../config/resolved.ts';
import { TaskQueue, type PoolStatus } from '../../contracts/pool.ts';
import { formatBytes } from '../../policy/sizes.ts';
import { partsStatus } from '../../provision/parts-status.ts';
import { connect } from '../../worker/connect.ts';
import { type QueuePollers, recentPollers } from '../../worker/recent-pollers.ts';
import { Exit } from '../exit.ts';
import { type Output, table } from '../output.ts';

/** Shows every part and whether it answers, the pool, and queues that nobody polls. Exit code 3 when a part does not answer. */
export async function statusCommand(config: ResolvedConfig, options: { json: boolean }, output: Output): Promise<Exit> {
  const { parts, status } = await partsStatus({ home: config.home });
  const temporal = await poolAndQueues(config).catch(() => undefined);
  const silent = status.filter(({ state }) => state !== 'answers').map(({ part }) => part);
  const unreachable = temporal === undefined || silent.some((part) => !isConfigured(config, part));
  const unpolled = (temporal?.queues ?? []).filter(({ pollers }) => pollers.length === 0).map(({ queue }) => queue);
  if (options.json) {
    const workers = [...new Set((temporal?.queues ?? []).flatMap(({ pollers }) => pollers))];
    output.out(
      JSON.stringify(
        {
          temporal: { address: config.temporal.address, ui: config.temporal.ui, answers: temporal !== undefined },
          trino: { url: config.trino['default']?.url },
          postgres: { url: config.postgres['default']?.url },
          scratch: config.scratch,
          image: parts?.image?.name ?? config.runtime.image,
          pool: temporal?.pool ?? null,
          workers,
          queues: temporal?.queues ?? [],
          parts: status,
          warnings: unpolled.map((queue) => `nobody polls ${queue}`),
        },
        null,
        2,
      ),
    );
  } else {
    output.out(
      table(
        ['part', 'state', 'where'],
        status.map(({ part, state, text }) => [part, state, text]),
      ),
    );
    if (temporal?.pool)
      output.out(
        `pool ${config.pool.name}: ${formatBytes(temporal.pool.lentBytes)} of ${formatBytes(temporal.pool.lendableBytes)} lent`,
      );
    for (const queue of unpolled) output.err(`warning: nobody polls ${queue}; start a worker with \`spillway worker\``);
  }
  return unreachable ? Exit.UNREACHABLE : Exit.OK;
}

/** Parts that somebody else runs are not ours to report on. */
const isConfigured = (config: ResolvedConfig, part: string): boolean =>
  config.origins[`${part}.default.url`] === 'file' || config.origins[`${part}.address`] === 'file';

async function poolAndQueues(
  config: ResolvedConfig,
): Promise<{ pool: PoolStatus | undefined; queues: QueuePollers[] }> {
  const { client, connection } = await connect(config.temporal);
  try {
    const { name } = config.pool;
    const queues = await recentPollers(connection, config.temporal.namespace, TaskQueue.all(name));
    return { pool: await new PoolClient(client).status(name), queues };
  } finally {
    await connection.close();
  }
}

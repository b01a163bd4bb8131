import { PoolClient } from '../../../activities/pool-client.ts';
import type { ResolvedConfig } from '../../config/resolved.ts';
import { SpillwayError } from '../../contracts/errors.ts';
import { formatBytes } from '../../policy/sizes.ts';
import { connect } from '../../worker/connect.ts';
import { Exit } from '../exit.ts';
import { table, type Output } from '../output.ts';

/** Shows who holds and who waits, in bytes. */
export async function poolCommand(config: ResolvedConfig, options: { json: boolean }, output: Output): Promise<Exit> {
  const { client, connection } = await connect(config.temporal);
  try {
    const status = await new PoolClient(client).status(config.pool.name);
    if (!status)
      throw new SpillwayError(
        'EngineUnreachable',
        `pool ${config.pool.name} does not answer. Start a worker with \`spillway worker\`.`,
      );
    if (options.json) {
      output.out(JSON.stringify(status, null, 2));
      return Exit.OK;
    }
    output.out(
      `pool ${status.pool}: ${formatBytes(status.lentBytes)} lent, ${formatBytes(status.freeBytes)} free of ${formatBytes(status.lendableBytes)} (limit ${formatBytes(status.limitBytes)}, standing ${formatBytes(status.standingBytes)})`,
    );
    output.out(
      table(
        ['step', 'kind', 'weight', 'bytes', 'state', 'workflow', 'because'],
        [...status.leases, ...status.queue].map((lease) => [
          lease.step,
          lease.kind,
          lease.weight,
          formatBytes(lease.bytes),
          lease.state,
          lease.workflowId ?? '–',
          lease.because,
        ]),
      ),
    );
    return Exit.OK;
  } finally {
    await connection.close();
  }
}

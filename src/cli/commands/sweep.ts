import { existsSync } from 'node:fs';
import { RunLiveness } from '../../../activities/holders.ts';
import type { ResolvedConfig } from '../../config/resolved.ts';
import { checkpointLimits } from '../../config/checkpoint-limits.ts';
import { openCheckpoints } from '../../handoff/checkpoints.ts';
import { sweepScratch } from '../../handoff/janitor.ts';
import { openHostScratch } from '../../handoff/scratch-ledger.ts';
import { formatBytes } from '../../policy/sizes.ts';
import { connect } from '../../worker/connect.ts';
import { Exit } from '../exit.ts';
import { type Output, table } from '../output.ts';

/**
 * Shows files on scratch and in memory that belong to no run that is open in the configured Temporal namespace, and checkpoints that are too old or too many; removes them with `remove`.
 * What a worker's janitor does every 15 seconds, for hosts without a worker. Exit code 1 when something could not be removed.
 */
export async function sweepCommand(
  config: ResolvedConfig,
  { remove, json }: { remove: boolean; json: boolean },
  output: Output,
): Promise<Exit> {
  const listedAtMs = Date.now();
  const { client, connection } = await connect(config.temporal);
  try {
    const scratch = existsSync(config.scratch) ? await openHostScratch(config.scratch) : undefined;
    const liveness = new RunLiveness(client);
    const liveRuns: string[] = [];
    for (const { run, reservedAtMs } of (await scratch?.listEntries()) ?? [])
      if (await liveness.isLive(run, listedAtMs, reservedAtMs)) liveRuns.push(run);
    const report = await (scratch && sweepScratch(scratch, { liveRuns, listedAtMs, dryRun: !remove }));
    const old = await (scratch && openCheckpoints(scratch, checkpointLimits(config)).sweep({ dryRun: !remove }));
    const [removed, failed] = [[report, old].flatMap((of) => of?.removed ?? []), [report, old].flatMap((of) => of?.failed ?? [])]; // prettier-ignore
    if (json) output.out(JSON.stringify({ dryRun: !remove, removed, failed }, null, 2));
    else {
      const rows = removed.map(({ path, bytes, because }) => [path, formatBytes(bytes), because]);
      if (rows.length > 0) output.out(table([remove ? 'removed' : 'would be removed', 'bytes', 'because'], rows));
      else
        output.out(`nothing under ${config.scratch} belongs to a run that is over, but for checkpoints that are kept`);
      if (rows.length > 0 && !remove)
        output.err(`Runs were looked for in namespace ${config.temporal.namespace} at ${config.temporal.address}. Remove with --remove.`); // prettier-ignore
      for (const { path, error } of failed) output.err(`${path} could not be removed: ${error}`);
    }
    return failed.length === 0 ? Exit.OK : Exit.RUN_FAILED;
  } finally {
    await connection.close();
  }
}

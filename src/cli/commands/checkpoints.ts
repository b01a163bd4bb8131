import { existsSync } from 'node:fs';
import { checkpointLimits } from '../../config/checkpoint-limits.ts';
import type { ResolvedConfig } from '../../config/resolved.ts';
import { SpillwayError } from '../../contracts/errors.ts';
import { openCheckpoints } from '../../handoff/checkpoints.ts';
import { openHostScratch } from '../../handoff/scratch-ledger.ts';
import { nearestName } from '../../policy/nearest-name.ts';
import { formatBytes } from '../../policy/sizes.ts';
import { Exit } from '../exit.ts';
import { type Output, table } from '../output.ts';

export interface CheckpointsRequest {
  /** `remove`; without it they are listed. */
  act?: string;
  /** Of the checkpoint to remove, or `all`. */
  id?: string;
  json: boolean;
}

/** Lists the checkpoints of this host, or removes one or all. Runs that read one have their own hold on its rows, and go on. */
export async function checkpointsCommand(
  config: ResolvedConfig,
  { act, id, json }: CheckpointsRequest,
  output: Output,
): Promise<Exit> {
  if (act !== undefined && act !== 'remove')
    throw new SpillwayError('InvalidInput', `checkpoints knows remove, got ${act}. Leave it out to list them.`);
  if (act === 'remove' && id === undefined)
    throw new SpillwayError('InvalidInput', 'checkpoints remove needs the id of one, as the list shows it, or all.');
  const limits = checkpointLimits(config);
  const checkpoints = existsSync(config.scratch)
    ? openCheckpoints(await openHostScratch(config.scratch), limits)
    : undefined;
  const listed = (await checkpoints?.list()) ?? [];
  if (act === 'remove') {
    const going = listed.filter((one) => id === 'all' || one.id === id);
    if (going.length === 0 && id !== 'all') {
      const near = nearestName(id!, listed.map((one) => one.id)); // prettier-ignore
      throw new SpillwayError('InvalidInput', `no checkpoint is called ${id!}.${near ? ` Did you mean ${near}?` : ' List them with `spillway checkpoints`.'}`); // prettier-ignore
    }
    for (const one of going) await checkpoints!.remove(one.id);
    if (json) output.out(JSON.stringify({ removed: going }, null, 2));
    else output.out(`removed ${going.length}, ${formatBytes(going.reduce((sum, { bytes }) => sum + bytes, 0))}`);
    return Exit.OK;
  }
  if (json) {
    output.out(JSON.stringify({ ...limits, checkpoints: listed }, null, 2));
    return Exit.OK;
  }
  if (listed.length === 0) output.out(`no checkpoints under ${config.scratch}`);
  else {
    const rows = listed.map((one) => [
      one.id,
      one.step,
      one.reuse === 'run' ? one.run : 'any run',
      one.rows,
      formatBytes(one.bytes),
      when(one.madeAtMs),
      when(one.usedAtMs),
      when(one.expiresAtMs),
    ]);
    output.out(table(['id', 'step', 'found by', 'rows', 'bytes', 'made', 'last used', 'goes'], rows));
    const bytes = listed.reduce((sum, one) => sum + one.bytes, 0);
    output.err(`${formatBytes(bytes)} of ${formatBytes(limits.limitBytes)} (checkpoints.limit)`);
  }
  return Exit.OK;
}

const when = (ms: number): string => new Date(ms).toISOString().replace(/:\d\d\.\d+Z$/, 'Z');

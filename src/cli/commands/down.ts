import type { ResolvedConfig } from '../../config/resolved.ts';
import { takeDown } from '../../provision/take-down.ts';
import { Exit } from '../exit.ts';
import type { Output } from '../output.ts';

export async function downCommand(config: ResolvedConfig, output: Output): Promise<Exit> {
  const stopped = await takeDown({ home: config.home });
  for (const { part, process, how } of stopped)
    output.out(`${part} (process ${process.pid}) ${how === 'ended' ? 'stopped' : 'had to be killed'}`);
  if (stopped.length === 0) output.out('nothing of ours was running');
  return Exit.OK;
}

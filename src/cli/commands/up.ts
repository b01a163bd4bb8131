import type { ResolvedConfig } from '../../config/resolved.ts';
import type { Parts } from '../../contracts/parts.ts';
import { bringUp } from '../../provision/bring-up.ts';
import { configuredParts } from '../../provision/configured-parts.ts';
import type { SecretReader } from '../../worker/engines.ts';
import { Exit } from '../exit.ts';
import type { Output } from '../output.ts';

/** Brings up all parts, one line for each thing that happens. */
export function bringUpAll(
  config: ResolvedConfig,
  readSecret: SecretReader,
  systemPackages: boolean,
  output: Output,
): Promise<Parts> {
  return bringUp({
    home: config.home,
    hardware: config.hardware,
    scratch: config.scratch,
    namespace: config.temporal.namespace,
    systemPackages,
    configured: configuredParts(config, readSecret),
    env: process.env,
    report: ({ part, what, text }) => output.err(`${part.padEnd(8)} ${what.padEnd(8)} ${text}`),
  });
}

export async function upCommand(
  config: ResolvedConfig,
  readSecret: SecretReader,
  options: { systemPackages: boolean; json: boolean },
  output: Output,
): Promise<Exit> {
  const parts = await bringUpAll(config, readSecret, options.systemPackages, output);
  if (options.json) output.out(JSON.stringify(parts, null, 2));
  else {
    output.out(`Temporal    ${parts.temporal.address}  UI ${parts.temporal.ui}`);
    output.out(`Trino       ${parts.trino.url}`);
    output.out(`PostgreSQL  ${parts.postgres.url}`);
    output.out(`DataFusion  ${parts.image.name} in ${parts.image.runtime}`);
    output.out(
      'Next: `spillway worker` in one terminal, `spillway run job.json` in another. `spillway down` stops all of it.',
    );
  }
  return Exit.OK;
}

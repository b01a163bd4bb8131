import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { ResolvedConfig } from '../../config/resolved.ts';
import { PINS, SEARCH_ATTRIBUTES } from '../../provision/pins.ts';
import { renderAll } from '../../render/render-all.ts';
import { Exit } from '../exit.ts';
import type { Output } from '../output.ts';

/** Writes the files of a hardware profile below `out`; files of the same name are replaced, others stay. */
export function renderCommand(config: ResolvedConfig, options: { out: string; json: boolean }, output: Output): Exit {
  const files = renderAll(config, {
    temporalCli: PINS.temporalCli,
    trino: PINS.trino,
    postgres: PINS.postgresImage,
    searchAttributes: SEARCH_ATTRIBUTES,
  });
  const out = resolve(options.out);
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(out, name)), { recursive: true });
    writeFileSync(join(out, name), text);
  }
  const names = Object.keys(files).sort();
  if (options.json) output.out(JSON.stringify({ hardware: config.hardware, out, files: names }, null, 2));
  else {
    for (const name of names) output.out(join(options.out, name));
    for (const [key, why] of Object.entries(config.because ?? {})) output.err(`${key} is ${why}`);
  }
  return Exit.OK;
}

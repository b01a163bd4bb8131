// `npm run bench -- <name> [--json FILE] [--rounds N] [--quick]`
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { loadConfig } from '../src/config/load-config.ts';
import { SpillwayError } from '../src/contracts/errors.ts';
import { packageRoot } from '../src/provision/package-root.ts';
import type { Bench } from './bench.ts';
import { admissionBench } from './admission/bench.ts';
import { endToEndBench } from './end-to-end/bench.ts';
import { figureFile } from './figure-file.ts';
import { figureTable } from './figures.ts';
import { fusedBench } from './fused/bench.ts';
import { handoffBench } from './handoff/bench.ts';
import { poolBench } from './pool/bench.ts';
import { postgresBench } from './postgres/bench.ts';

const BENCHES: Readonly<Record<string, Bench>> = {
  pool: poolBench,
  admission: admissionBench,
  'end-to-end': endToEndBench,
  postgres: postgresBench,
  handoff: handoffBench,
  fused: fusedBench,
};
const DEFAULT_ROUNDS = 3;

interface Asked {
  name: string;
  bench: Bench;
  rounds: number;
  quick: boolean;
  json?: string;
}

function readArguments(argv: string[]): Asked {
  const usage = `Write: npm run bench -- <${Object.keys(BENCHES).join(' | ')}> [--json FILE] [--rounds N] [--quick]`;
  const refuse = (what: string): never => {
    throw new SpillwayError('InvalidInput', `${what}. ${usage}`);
  };
  let parsed;
  try {
    parsed = parseArgs({
      args: argv,
      allowPositionals: true,
      options: { json: { type: 'string' }, rounds: { type: 'string' }, quick: { type: 'boolean' } },
    });
  } catch (error) {
    return refuse((error as Error).message.replace(/\.$/, ''));
  }
  const { values, positionals } = parsed;
  const [name, ...more] = positionals;
  const bench = name === undefined ? undefined : BENCHES[name];
  if (name === undefined || !bench || more.length > 0)
    return refuse(name === undefined ? 'no bench is named' : `no bench is named '${positionals.join(' ')}'`);
  const quick = values.quick === true;
  const rounds = values.rounds === undefined ? (quick ? 1 : DEFAULT_ROUNDS) : Number(values.rounds);
  if (!Number.isSafeInteger(rounds) || rounds < 1)
    return refuse(`--rounds must be a whole number >= 1, got ${values.rounds}`);
  return { name, bench, rounds, quick, ...(values.json === undefined ? {} : { json: values.json }) };
}

async function main(): Promise<void> {
  const { name, bench, rounds, quick, json } = readArguments(process.argv.slice(2));
  const config = await loadConfig({ cwd: process.cwd(), env: process.env });
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const interrupt = new AbortController();
  const stop = (signal: string): void =>
    interrupt.abort(new SpillwayError('Unexpected', `${signal}: the bench was stopped`));
  process.once('SIGINT', stop).once('SIGTERM', stop);
  const { figures, versions } = await bench({ config, rounds, quick, say, env: process.env, signal: interrupt.signal });
  process.stdout.write(`${figureTable(figures)}\n`);
  if (quick) say('--quick only proves that it runs; its figures say nothing.');
  if (json !== undefined)
    writeFileSync(
      json,
      `${JSON.stringify(figureFile({ name, rounds, versions, figures, root: packageRoot() }), undefined, 2)}\n`,
    );
}

try {
  await main();
} catch (error) {
  process.stderr.write(
    `${error instanceof SpillwayError ? error.message : error instanceof Error ? error.stack : String(error)}\n`,
  );
  process.exitCode = error instanceof SpillwayError && error.code === 'InvalidInput' ? 2 : 1;
}

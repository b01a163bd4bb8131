import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadConfig } from '../../src/config/load-config.ts';
import type { StepReport } from '../../src/contracts/pipeline.ts';
import { connectPostgres } from '../../src/engines/postgres/connection.ts';
import { MiB } from '../../src/policy/sizes.ts';
import { bringUp } from '../../src/provision/bring-up.ts';
import { connect } from '../../src/worker/connect.ts';
import type { ReleaseStack } from '../../src/worker/release-stack.ts';
import { benchPython, pinnedVersions } from '../bench-python.ts';
import type { BenchOrder, BenchOutcome } from '../bench.ts';
import { inBenchHome } from '../bench-home.ts';
import { figureOf } from '../figures.ts';
import { criticalPath } from './critical-path.ts';
import { pipelineOf, workOf } from './pipeline.ts';
import { type ProductRun, runPipelineOnce, startWorkerProcess } from './product.ts';
import { runScript, type ScriptRun } from './script.ts';
import { dropSchema, freshSchema, sameTables } from './tables.ts';

const OURS = 'bench_ours';
const THEIRS = 'bench_script';

/** Our pipeline from Trino to PostgreSQL beside a hand-written script that does the same on the same servers. */
export const endToEndBench = inBenchHome(measure);

async function measure(
  { config, rounds, quick, env, signal, say }: BenchOrder,
  home: string,
  stack: ReleaseStack,
): Promise<BenchOutcome> {
  const cacheDir = join(config.home, 'cache');
  const own = () => loadConfig({ cwd: home, env, flags: { home } });
  const before = await own();
  const report = ({ part, what, text }: { part: string; what: string; text: string }): void =>
    say(`${part.padEnd(8)} ${what.padEnd(8)} ${text}`);
  const [python, parts] = await Promise.all([
    benchPython('end-to-end', cacheDir, env, say),
    bringUp({ home, cacheDir, hardware: before.hardware, scratch: before.scratch, systemPackages: true, env, report }),
  ]);
  const secret = readFileSync(parts.postgres.passwordFile!, 'utf8').trim();
  const postgres = await connectPostgres(parts.postgres.url, secret);
  stack.push('PostgreSQL', () => postgres.end());
  const address = new URL(parts.postgres.url);
  address.password = encodeURIComponent(secret);
  const { temporal } = await own();
  const { client, connection } = await connect(temporal);
  stack.push('the client', () => connection.close());
  const worker = await startWorkerProcess(home, env);
  stack.push('the worker', () => worker.stop());

  const work = workOf(quick ? 'tiny' : 'sf1');
  let serial = 0;
  const ours = async (): Promise<ProductRun> => {
    signal.throwIfAborted();
    await freshSchema(postgres, OURS);
    return runPipelineOnce(client, pipelineOf(work, OURS), `bench-end-to-end-${process.pid}-${(serial += 1)}`);
  };
  const theirs = async (): Promise<ScriptRun> => {
    signal.throwIfAborted();
    await freshSchema(postgres, THEIRS);
    const { url: trino, lakeRoot } = parts.trino;
    return runScript({
      python,
      postgres: address.href,
      trino,
      lakeRoot,
      work,
      into: THEIRS,
      tmp: join(home, 'tmp'),
      env,
      signal,
    });
  };
  if (!quick) {
    say('warming up');
    await theirs();
    await ours();
  }
  const runs: { ours: ProductRun[]; theirs: ScriptRun[] } = { ours: [], theirs: [] };
  for (let round = 0; round < rounds; round += 1) {
    const [script, product] = [await theirs(), await ours()];
    runs.theirs.push(script);
    runs.ours.push(product);
    const rows = await sameTables(postgres, work, OURS, THEIRS);
    const seconds = Object.fromEntries(product.steps.map((step) => [step.step, step.seconds]));
    say(
      `round ${round + 1} of ${rounds}: ${JSON.stringify({ rows, ours: { wall: product.wallSeconds, ...seconds }, script: { wall: script.wallSeconds, ...script.seconds } })}`,
    );
  }
  const peakRss = worker.peakRssBytes();
  for (const schema of [OURS, THEIRS]) await dropSchema(postgres, schema);

  const step = (name: string) => runs.ours.map(({ steps }) => secondsOf(steps, name));
  const phase = (...names: string[]) =>
    runs.theirs.map(({ seconds }) => names.reduce((sum, name) => sum + seconds[name]!, 0));
  const wall = runs.ours.map(({ wallSeconds }) => wallSeconds);
  const sum = (a: number[], b: number[]): number[] => a.map((value, i) => value + b[i]!);
  return {
    versions: {
      temporal: parts.temporal.version,
      trino: parts.trino.version,
      postgres: parts.postgres.version,
      ...Object.fromEntries(Object.entries(pinnedVersions('end-to-end')).map(([name, version]) => [`script:${name}`, version])),
    },
    figures: [
      figureOf({ name: 'wall', unit: 's', ours: wall, against: 'hand-written script, its process from start to end', theirs: runs.theirs.map((one) => one.wallSeconds), goal: { of: 'ratio', atMost: 1.1 } }),
      figureOf({ name: 'wall against the script without its imports', unit: 's', ours: wall, against: 'hand-written script, imports not counted', theirs: phase('inner') }),
      figureOf({ name: 'peak RSS of the worker', unit: 'MiB', ours: [peakRss / MiB], against: 'process of the script', theirs: runs.theirs.map((one) => one.peakRssBytes / MiB), goal: { of: 'ours', atMost: 350 } }),
      figureOf({ name: 'extract', unit: 's', ours: step('lines'), against: 'phase of the script', theirs: phase('extract') }),
      figureOf({ name: 'fact, transformed, loaded, indexed', unit: 's', ours: sum(step('fact'), step('load_fact')), against: 'phase of the script', theirs: phase('fact', 'factIndexes') }),
      figureOf({ name: 'daily, transformed, loaded, indexed', unit: 's', ours: sum(step('daily'), step('load_daily')), against: 'phase of the script', theirs: phase('daily', 'dailyIndexes') }),
      figureOf({ name: 'wall outside of the steps', unit: 's', ours: runs.ours.map(({ wallSeconds, steps }) => wallSeconds - criticalPath(steps)) }),
    ],
  }; // prettier-ignore
}

function secondsOf(steps: readonly StepReport[], name: string): number {
  const found = steps.find(({ step }) => step === name);
  if (!found) throw new Error(`the run reports no step ${name}`);
  return found.seconds;
}

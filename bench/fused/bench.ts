import { readFileSync } from 'node:fs';
import { loadConfig } from '../../src/config/load-config.ts';
import type { DatafusionSqlStep, PipelineSpec } from '../../src/contracts/pipeline.ts';
import { connectPostgres } from '../../src/engines/postgres/connection.ts';
import { bringUp } from '../../src/provision/bring-up.ts';
import { connect } from '../../src/worker/connect.ts';
import type { ReleaseStack } from '../../src/worker/release-stack.ts';
import { join } from 'node:path';
import { inBenchHome } from '../bench-home.ts';
import type { BenchOrder, BenchOutcome } from '../bench.ts';
import { type ProductRun, runPipelineOnce, startWorkerProcess } from '../end-to-end/product.ts';
import { dropSchema, freshSchema } from '../end-to-end/tables.ts';
import { figureOf } from '../figures.ts';

const SCHEMA = 'bench_fused';

/** Three steps of DataFusion in a row as one statement, beside the same three with a container each. */
export const fusedBench = inBenchHome(measure);

/** Lines of orders, their revenue, that of one year, and its sums: the first two give many rows, the last one few. */
function pipelineOf(data: 'sf1' | 'tiny', isolate: boolean): PipelineSpec {
  const step = (name: string, from: string, sql: string): DatafusionSqlStep => ({
    ...{ step: name, verb: 'datafusion.sql', from: { [from]: from }, sql },
    ...(isolate && { isolate }),
  });
  return {
    name: `bench-fused-${isolate ? 'apart' : 'together'}`,
    steps: [
      {
        ...{ step: 'lines', verb: 'trino.query', sql: `select orderkey, suppkey, extendedprice, discount, shipdate, shipmode, comment from tpch.${data}.lineitem` }, // prettier-ignore
        checkpoint: { reuse: 'any-run', version: data },
      },
      step('revenue', 'lines', 'select suppkey, shipdate, shipmode, comment, extendedprice * (1 - discount) as revenue from lines'), // prettier-ignore
      step('recent', 'revenue', "select suppkey, shipmode, revenue from revenue where shipdate >= date '1997-01-01'"),
      step('sums', 'recent', 'select shipmode, count(distinct suppkey) as suppliers, sum(revenue) as revenue from recent group by shipmode'), // prettier-ignore
      { step: 'load', verb: 'postgres.load', from: 'sums', into: `${SCHEMA}.sums`, key: ['shipmode'] },
    ],
  };
}

async function measure(
  { config, rounds, quick, env, signal, say }: BenchOrder,
  home: string,
  stack: ReleaseStack,
): Promise<BenchOutcome> {
  // prettier-ignore
  const own = () => loadConfig({ cwd: home, env, flags: { home } });
  const before = await own();
  const report = ({ part, what, text }: { part: string; what: string; text: string }): void =>
    say(`${part.padEnd(8)} ${what.padEnd(8)} ${text}`);
  const parts = await bringUp({ home, cacheDir: join(config.home, 'cache'), hardware: before.hardware, scratch: before.scratch, systemPackages: true, env, report }); // prettier-ignore
  const postgres = await connectPostgres(parts.postgres.url, readFileSync(parts.postgres.passwordFile!, 'utf8').trim());
  stack.push('PostgreSQL', () => postgres.end());
  const { client, connection } = await connect((await own()).temporal);
  stack.push('the client', () => connection.close());
  const worker = await startWorkerProcess(home, env);
  stack.push('the worker', () => worker.stop());

  await freshSchema(postgres, SCHEMA);
  const data = quick ? 'tiny' : 'sf1';
  let serial = 0;
  const once = (isolate: boolean): Promise<ProductRun> => {
    signal.throwIfAborted();
    return runPipelineOnce(client, pipelineOf(data, isolate), `bench-fused-${process.pid}-${(serial += 1)}`);
  };
  say('reading the lines, and learning sizes');
  for (const isolate of [false, true]) await once(isolate);
  const runs: Record<'together' | 'apart', ProductRun[]> = { together: [], apart: [] };
  for (let round = 0; round < rounds; round += 1) {
    runs.apart.push(await once(true));
    runs.together.push(await once(false));
    say(`round ${round + 1} of ${rounds}: ${JSON.stringify({ together: runs.together.at(-1)!.wallSeconds, apart: runs.apart.at(-1)!.wallSeconds })}`); // prettier-ignore
  }
  await dropSchema(postgres, SCHEMA);
  const containers = ({ steps }: ProductRun): number => steps.filter(({ verb }) => verb === 'datafusion.sql').length;
  const inContainers = ({ steps }: ProductRun): number =>
    steps.filter(({ verb }) => verb === 'datafusion.sql').reduce((sum, { seconds }) => sum + seconds, 0);
  const figure = (name: string, unit: string, of: (run: ProductRun) => number, goal?: number) =>
    figureOf({
      ...{
        name,
        unit,
        ours: runs.together.map(of),
        against: 'each in a container of its own',
        theirs: runs.apart.map(of),
      },
      ...(goal !== undefined && { goal: { of: 'ratio', atMost: goal } as const }),
    });
  return {
    versions: { temporal: parts.temporal.version, trino: parts.trino.version, postgres: parts.postgres.version },
    figures: [
      // 1.5 times as fast: two thirds of the time.
      figure('wall of the run', 's', ({ wallSeconds }) => wallSeconds, 0.67),
      figure('in containers', 's', inContainers, 0.67),
      figure('containers', 'containers', containers),
    ],
  };
}

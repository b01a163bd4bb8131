import { readFileSync } from 'node:fs';
import { loadConfig } from '../../src/config/load-config.ts';
import type { DatafusionSqlStep, PipelineSpec, PostgresLoadStep } from '../../src/contracts/pipeline.ts';
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

/** Steps of DataFusion that share a container, beside the same steps with a container each: three in a row, and two that read a third. */
export const fusedBench = inBenchHome(measure);

type Shape = 'row' | 'fork';

/**
 * Lines of orders, and their revenue, both of many rows. In a row: that of one year, and its sums. In a fork: sums by the way of shipping, and by supplier.
 */
function pipelineOf(data: 'sf1' | 'tiny', shape: Shape, isolate: boolean): PipelineSpec {
  const step = (name: string, from: string, sql: string): DatafusionSqlStep => ({
    ...{ step: name, verb: 'datafusion.sql', from: { [from]: from }, sql },
    ...(isolate && { isolate }),
  });
  const load = (from: string, key: string): PostgresLoadStep => ({ step: `load-${from}`, verb: 'postgres.load', from, into: `${SCHEMA}.${from}`, key: [key] }); // prettier-ignore
  return {
    name: `bench-fused-${shape}-${isolate ? 'apart' : 'together'}`,
    steps: [
      {
        ...{ step: 'lines', verb: 'trino.query', sql: `select orderkey, suppkey, extendedprice, discount, shipdate, shipmode, comment from tpch.${data}.lineitem` }, // prettier-ignore
        checkpoint: { reuse: 'any-run', version: data },
      },
      step('revenue', 'lines', 'select suppkey, shipdate, shipmode, comment, extendedprice * (1 - discount) as revenue from lines'), // prettier-ignore
      ...(shape === 'row'
        ? [
            step(
              'recent',
              'revenue',
              "select suppkey, shipmode, revenue from revenue where shipdate >= date '1997-01-01'",
            ),
            step('sums', 'recent', 'select shipmode, count(distinct suppkey) as suppliers, sum(revenue) as revenue from recent group by shipmode'), // prettier-ignore
            load('sums', 'shipmode'),
          ]
        : [
            step('modes', 'revenue', 'select shipmode, count(distinct suppkey) as suppliers, sum(revenue) as revenue from revenue group by shipmode'), // prettier-ignore
            step('suppliers', 'revenue', 'select suppkey, max(shipdate) as last, sum(revenue) as revenue from revenue group by suppkey'), // prettier-ignore
            load('modes', 'shipmode'),
            load('suppliers', 'suppkey'),
          ]),
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
  const once = (shape: Shape, isolate: boolean): Promise<ProductRun> => {
    signal.throwIfAborted();
    return runPipelineOnce(client, pipelineOf(data, shape, isolate), `bench-fused-${process.pid}-${(serial += 1)}`);
  };
  say('reading the lines, and learning sizes');
  const none = (): Record<'together' | 'apart', ProductRun[]> => ({ together: [], apart: [] });
  const runs = { row: none(), fork: none() };
  const shapes = Object.keys(runs) as Shape[];
  for (const shape of shapes) for (const isolate of [false, true]) await once(shape, isolate);
  for (let round = 0; round < rounds; round += 1) {
    for (const shape of shapes) {
      runs[shape].apart.push(await once(shape, true));
      runs[shape].together.push(await once(shape, false));
      const walls = Object.entries(runs[shape]).map(([how, of]) => [how, of.at(-1)!.wallSeconds]);
      say(`round ${round + 1} of ${rounds}, ${shape}: ${JSON.stringify(Object.fromEntries(walls))}`);
    }
  }
  await dropSchema(postgres, SCHEMA);
  // Rows that the container of another step computed are told as well.
  const inContainers = ({ steps }: ProductRun): ProductRun['steps'] =>
    steps.filter(({ verb, rung }) => verb === 'datafusion.sql' && !rung.startsWith('with '));
  const seconds = (run: ProductRun): number => inContainers(run).reduce((sum, { seconds }) => sum + seconds, 0);
  const figures = (shape: Shape) => {
    const figure = (name: string, unit: string, of: (run: ProductRun) => number, goal?: number) =>
      figureOf({
        ...{ name: `${shape}: ${name}`, unit, ours: runs[shape].together.map(of) },
        ...{ against: 'each in a container of its own', theirs: runs[shape].apart.map(of) },
        ...(goal !== undefined && { goal: { of: 'ratio', atMost: goal } as const }),
      });
    return [
      // 1.5 times as fast: two thirds of the time.
      figure('wall of the run', 's', ({ wallSeconds }) => wallSeconds, 0.67),
      figure('in containers', 's', seconds, 0.67),
      figure('containers', 'containers', (run) => inContainers(run).length),
    ];
  };
  return {
    versions: { temporal: parts.temporal.version, trino: parts.trino.version, postgres: parts.postgres.version },
    figures: (Object.keys(runs) as Shape[]).flatMap(figures),
  };
}

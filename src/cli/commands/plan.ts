import { ApplicationFailure } from '@temporalio/common';
import { existsSync, readFileSync } from 'node:fs';
import { PoolClient } from '../../../activities/pool-client.ts';
import { planFacts, trinoQueryBytes } from '../../config/plan-facts.ts';
import type { ResolvedConfig } from '../../config/resolved.ts';
import { readPipeline } from '../../config/pipeline-schema.ts';
import { SpillwayError } from '../../contracts/errors.ts';
import type { FusedQuery, PlannedStep, RunPlan } from '../../contracts/plan.ts';
import { listTransforms } from '../../engines/transform/run-transform.ts';
import { transformModule } from '../../engines/transform/transform-module.ts';
import { tmpfsFreeBytes } from '../../host/tmpfs.ts';
import { bindParameters } from '../../engines/trino/parameters.ts';
import { type PlanFacts, planSteps } from '../../policy/plan.ts';
import { formatBytes } from '../../policy/sizes.ts';
import { recordWorkflow } from '../../testing/recorded-run.ts';
import { connect } from '../../worker/connect.ts';
import { Exit } from '../exit.ts';
import { loadWorkflow } from '../load-workflows.ts';
import { table, type Output } from '../output.ts';
import { readJson } from '../read-json.ts';

export interface PlanOptions {
  /** A job file, or the name of an exported workflow. */
  what: string;
  /** JSON text, for a workflow. */
  input?: string;
  json: boolean;
}

interface Planned {
  readonly name: string;
  readonly steps: readonly PlannedStep[];
  readonly fused?: RunPlan['fused'];
  readonly warnings: readonly string[];
  /** Steps are planned as far as they do not hang on the results of others. */
  readonly assumed?: string;
}

/** Shows what a run would be lent and why, with its statements; nothing runs. */
export async function planCommand(config: ResolvedConfig, options: PlanOptions, output: Output): Promise<Exit> {
  const { status, histories } = await poolOf(config);
  const module = transformModule(config);
  const transforms = module === undefined ? [] : await listTransforms(module);
  const known = {
    ...planFacts(config, status),
    shmFreeBytes: await tmpfsFreeBytes(),
    ...(histories && { histories }),
    searchAttributes: false,
    transforms,
  };
  const facts = withServersOfUp(known, config);
  const planned = await plan(config, options, facts);
  const statements = Object.fromEntries(planned.steps.map((step) => [step.step, statementOf(step)]));
  if (options.json) {
    output.out(JSON.stringify({ ...planned, lendableBytes: facts.lendableBytes, statements }, null, 2));
    return Exit.OK;
  }
  output.out(
    `${planned.name}: feasible in pool ${facts.pool}, which can lend ${formatBytes(facts.lendableBytes)}${status ? '' : ' once a worker is up'}\n`,
  );
  output.out(
    table(
      ['step', 'engine', 'queue', 'lease', 'climbs to', 'scratch', 'handoff', 'because'],
      [
        ...(planned.fused ?? []).map(({ step, into, because }) => [
          step,
          'DataFusion',
          '–',
          `${into}'s`,
          '–',
          '–',
          'fused',
          `part of ${into}; ${because}`,
        ]),
        ...planned.steps.map(cellsOf),
      ],
    ),
  );
  for (const [step, text] of Object.entries(statements)) output.out(`\n-- ${step}\n${text}`);
  if (planned.assumed !== undefined) output.err(planned.assumed);
  for (const warning of planned.warnings) output.err(`warning: ${warning}`);
  return Exit.OK;
}

function cellsOf(step: PlannedStep): string[] {
  const because = step.handoff ? `${step.because}; ${step.handoff.because}` : step.because;
  const handoff = step.handoff?.mode ?? '–';
  if (step.madeWith !== undefined)
    return [step.step, step.engine, '–', `${step.madeWith}'s`, '–', '–', handoff, `in the container of ${step.madeWith}, as both read the same steps; ${step.handoff!.because}`]; // prettier-ignore
  return [
    step.step,
    step.engine,
    step.taskQueue,
    `${step.rungs[0]!.name} ${formatBytes(step.rungs[0]!.bytes)}${step.shmBytes === undefined ? '' : ` + ${formatBytes(step.shmBytes)} rows`}`,
    step.rungs.slice(1).map(({ name, bytes }) => `${name} ${formatBytes(bytes)}`).join(', ') || '–', // prettier-ignore
    step.scratchBytes === 0 ? '–' : formatBytes(step.scratchBytes),
    handoff,
    because,
  ];
}

async function plan(config: ResolvedConfig, options: PlanOptions, facts: PlanFacts): Promise<Planned> {
  if (options.what.endsWith('.json')) {
    if (options.input !== undefined)
      throw new SpillwayError(
        'InvalidInput',
        `--input belongs to a workflow; ${options.what} is a pipeline and carries its own values.`,
      );
    const text = existsSync(options.what) ? readFileSync(options.what, 'utf8') : undefined;
    const pipeline = readPipeline({ kind: 'job', job: readJson(options.what, text) });
    return { name: pipeline.name, ...planSteps(pipeline, facts) };
  }
  if (config.workflows === undefined)
    throw new SpillwayError(
      'InvalidInput',
      `${options.what} is no job file, and no workflows are configured. Name their module with workflows in spillway.config.ts.`,
    );
  const workflow = await loadWorkflow(config.workflows, options.what);
  const args = options.input === undefined ? [] : [readJson('--input', options.input)];
  const { steps, plans, warnings } = await recordWorkflow(workflow, args, { facts, name: options.what }).catch(
    (error: unknown) => {
      throw error instanceof SpillwayError ? error : threw(options.what, args, error);
    },
  );
  const fused = plans.flatMap((one) => one.fused ?? []);
  return { name: options.what, steps, ...(fused.length > 0 && { fused }), warnings, assumed: 'sinks were taken to load no rows; steps that hang on their results may differ' }; // prettier-ignore
}

/** Before the first `spillway up` a plan is made for what it would start. */
function withServersOfUp(facts: PlanFacts, { hardware, trino, postgres }: ResolvedConfig): PlanFacts {
  const resident = { queryBytes: trinoQueryBytes(hardware), resident: true };
  return {
    ...facts,
    ...(Object.keys(trino).length === 0
      ? { trino: { default: resident }, lendableBytes: facts.lendableBytes - hardware.trino.floorBytes }
      : {}),
    ...(Object.keys(postgres).length === 0 ? { postgres: ['default'] } : {}),
  };
}

/** A workflow's own error, with what a plan cannot give it. */
function threw(name: string, args: readonly unknown[], error: unknown): SpillwayError {
  const { message } = error instanceof Error ? error : new Error(String(error));
  // What our verbs refuse says itself what to do.
  if (error instanceof ApplicationFailure && error.type === 'InvalidInput')
    return new SpillwayError('InvalidInput', `${name}: ${message}`, { cause: error });
  return new SpillwayError(
    'InvalidInput',
    args.length === 0
      ? `${name} was planned without input, and may need one (${message}). Give it with --input '{ … }'.`
      : `${name} threw: ${message}. A plan runs it outside of Temporal: without timers, signals and activities, and with sinks that load no rows.`,
    { cause: error },
  );
}

/** What the pool says of itself, and remembers of steps; nothing where none can be asked. */
async function poolOf({ temporal, pool: { name } }: ResolvedConfig) {
  try {
    const { client, connection } = await connect(temporal);
    try {
      const pool = new PoolClient(client);
      const [status, histories] = await Promise.all([pool.status(name), pool.histories(name)]);
      return { status, histories };
    } finally {
      await connection.close();
    }
  } catch (error) {
    if (error instanceof SpillwayError && error.code === 'EngineUnreachable') return {};
    throw error;
  }
}

/** The statement of a step as its engine gets it; what a server has to be asked first is said. */
function statementOf({ spec, fused }: PlannedStep): string {
  if (fused) return fusedStatement(fused);
  switch (spec.verb) {
    case 'trino.query':
      return `${bindParameters(spec.sql, spec.params).sql}\n-- unloaded by CREATE TABLE … AS, with the columns that Trino names for it`;
    case 'datafusion.sql':
      return `-- tables: ${Object.entries(spec.from).map(([name, step]) => `${name} = ${step}`).join(', ')}\n${spec.sql}`; // prettier-ignore
    case 'transform':
      return `-- transform ${spec.run} over ${spec.from}${spec.args ? `, with ${JSON.stringify(spec.args)}` : ''}`;
    case 'postgres.sql':
      return spec.sql;
    case 'files':
      return `-- files ${[spec.path].flat().join(', ')} of ${spec.directory ?? 'default'}`;
    case 'write.parquet':
    case 'write.arrow':
      return `-- ${spec.from} as files in ${spec.path} of ${spec.directory ?? 'default'}`;
    case 'postgres.load':
      return spec.write === undefined || spec.write === 'replace'
        ? `COPY into ${spec.into} from ${spec.from} (strategy ${spec.strategy ?? 'auto'}${spec.key ? `, primary key ${spec.key.join(', ')}` : ''})`
        : `COPY ${spec.from}, ${spec.write === 'append' ? 'added to' : `merged by ${spec.key?.join(', ')} into`} ${spec.into}`;
  }
}

/** Statements that run as one, innermost first. */
function fusedStatement({ step, sql, from }: FusedQuery): string {
  const inner = Object.values(from).flatMap((source) => (typeof source === 'string' ? [] : [fusedStatement(source)]));
  const tables = Object.entries(from).map(([table, source]) => `${table} = ${typeof source === 'string' ? source : source.step}`); // prettier-ignore
  return [...inner, `-- ${step}; tables: ${tables.join(', ')}\n${sql}`].join('\n');
}

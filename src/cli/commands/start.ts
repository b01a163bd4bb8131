import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { execa } from 'execa';
import { loadConfig } from '../../config/load-config.ts';
import type { ResolvedConfig } from '../../config/resolved.ts';
import { SpillwayError } from '../../contracts/errors.ts';
import { TaskQueue } from '../../contracts/pool.ts';
import { connectPostgres } from '../../engines/postgres/connection.ts';
import { packageRoot } from '../../provision/package-root.ts';
import { temporalCli } from '../../provision/temporal-cli.ts';
import type { SecretReader } from '../../worker/engines.ts';
import { startWorker } from '../../worker/start-worker.ts';
import { Exit } from '../exit.ts';
import { followRun, reportTable, uiAddress } from '../follow-run.ts';
import { type Output, table } from '../output.ts';
import { readJson } from '../read-json.ts';
import { bringUpAll } from './up.ts';
import { installRuntime } from './worker.ts';

const EXAMPLE = 'dailyRevenue';
const EXAMPLE_INPUT = JSON.stringify({ since: '1992-01-01' });
const EXAMPLE_SUMMARY = 'Revenue per ship date and ship mode';
const TABLE = 'mart.daily_revenue';
const FIRST_ROWS = `select shipdate::text, shipmode, revenue::text from ${TABLE} order by 1, 2 limit 5`;

export interface StartOptions {
  readonly systemPackages: boolean;
  /** A workflow of the project. @defaultValue the example of this package */
  readonly workflow?: { readonly name: string; readonly input?: string };
  /** The configuration once the parts are up. */
  reload(): Promise<ResolvedConfig>;
}

/** From nothing to a loaded table: all parts, a worker, a workflow started through the Temporal command line, and what came of it. */
export async function startCommand(
  before: ResolvedConfig,
  readSecret: SecretReader,
  options: StartOptions,
  output: Output,
): Promise<Exit> {
  const { workflow } = options;
  const input = workflow ? workflow.input && JSON.stringify(readJson('--input', workflow.input)) : EXAMPLE_INPUT;
  if (workflow && before.workflows === undefined)
    throw new SpillwayError(
      'InvalidInput',
      `${workflow.name} is in no module: no workflows are configured. Name their module with workflows in spillway.config.ts.`,
    );
  await bringUpAll(before, readSecret, options.systemPackages, output);
  const config = workflow ? await options.reload() : await exampleConfig(before.home);
  installRuntime();
  output.err('worker   starting');
  await using worker = await startWorker(config, {
    log: { info: output.err, warn: (line) => output.err(`warning: ${line}`) },
    readSecret,
  });
  const name = workflow?.name ?? EXAMPLE;
  const workflowId = `${workflow ? name : 'daily-revenue'}-${randomBytes(3).toString('hex')}`;
  await startThroughCli(config, name, workflowId, input, workflow ? name : EXAMPLE_SUMMARY, output);
  const handle = worker.client.workflow.getHandle(workflowId);
  const { runId } = await handle.describe();
  const url = config.temporal.ui && uiAddress(config.temporal.ui, config.temporal.namespace, workflowId, runId);
  if (url) output.err(`follow it in the Temporal UI: ${url}`);
  const end = await Promise.race([followRun(handle, output.err), worker.failed]);
  if (end.report) output.out(`\n${reportTable(end.report)}`);
  if (end.kind === 'failed') {
    output.err(`failed: ${end.message}`);
    return Exit.RUN_FAILED;
  }
  if (!workflow) output.out(`\nFirst rows of ${TABLE}:\n${await firstRows(config, readSecret)}`);
  if (url) output.out(`\nThe run in the Temporal UI: ${url}`);
  output.out('The servers stay up; `npx spillway down` stops them.');
  return Exit.OK;
}

const exampleConfig = (home: string): Promise<ResolvedConfig> =>
  loadConfig({ cwd: join(packageRoot(), 'examples', 'daily-revenue'), env: process.env, flags: { home } });

/** Starts a workflow as a person would, and shows how. */
async function startThroughCli(
  config: ResolvedConfig,
  name: string,
  workflowId: string,
  input: string | undefined,
  summary: string,
  output: Output,
): Promise<void> {
  const cli = await temporalCli(join(config.home, 'cache'), process.env, () => undefined);
  const args = [
    ...['workflow', 'start', '--type', name, '--task-queue', TaskQueue.WORKFLOWS, '--workflow-id', workflowId],
    ...(input === undefined ? [] : ['--input', input]),
    ...['--static-summary', summary],
    ...['--address', config.temporal.address, '--namespace', config.temporal.namespace],
    ...profileFlags(config),
  ];
  output.err(`$ temporal ${args.map((arg) => (/[\s{}"]/.test(arg) ? `'${arg}'` : arg)).join(' ')}`);
  await execa(cli.path, args);
}

/** Temporal's own command line reads certificates and keys where we do. */
const profileFlags = ({ temporal: { profile, configFile } }: ResolvedConfig): string[] => [
  ...(profile === undefined ? [] : ['--profile', profile]),
  ...(configFile === undefined ? [] : ['--config-file', configFile]),
];

async function firstRows(config: ResolvedConfig, readSecret: SecretReader): Promise<string> {
  const { url, password } = config.postgres['default']!;
  const client = await connectPostgres(url, password && readSecret(password));
  try {
    const { rows } = await client.query<{ shipdate: string; shipmode: string; revenue: string }>(FIRST_ROWS);
    return table(
      ['shipdate', 'shipmode', 'revenue'],
      rows.map(({ shipdate, shipmode, revenue }) => [shipdate, shipmode, revenue]),
    );
  } finally {
    await client.end();
  }
}

import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { execa } from 'execa';
import { loadConfig } from '../../config/load-config.ts';
import type { ResolvedConfig } from '../../config/resolved.ts';
import { TaskQueue } from '../../contracts/pool.ts';
import { connectPostgres } from '../../engines/postgres/connection.ts';
import { packageRoot } from '../../provision/package-root.ts';
import { temporalCli } from '../../provision/temporal-cli.ts';
import type { SecretReader } from '../../worker/engines.ts';
import { startWorker } from '../../worker/start-worker.ts';
import { Exit } from '../exit.ts';
import { followRun, reportTable, uiAddress } from '../follow-run.ts';
import { type Output, table } from '../output.ts';
import { bringUpAll } from './up.ts';
import { installRuntime } from './worker.ts';

const EXAMPLE = 'dailyRevenue';
const TABLE = 'mart.daily_revenue';
const FIRST_ROWS = `select shipdate::text, shipmode, revenue::text from ${TABLE} order by 1, 2 limit 5`;

/** From nothing to a loaded table: all parts, a worker, the example started through the Temporal command line, and what came of it. */
export async function startCommand(
  before: ResolvedConfig,
  readSecret: SecretReader,
  options: { systemPackages: boolean },
  output: Output,
): Promise<Exit> {
  await bringUpAll(before, readSecret, options.systemPackages, output);
  const cwd = join(packageRoot(), 'examples', 'daily-revenue');
  const config = await loadConfig({ cwd, env: process.env, flags: { home: before.home } });
  installRuntime();
  output.err('worker   starting');
  await using worker = await startWorker(config, {
    log: { info: output.err, warn: (line) => output.err(`warning: ${line}`) },
    readSecret,
  });
  const cli = await temporalCli(join(config.home, 'cache'), process.env, () => undefined);
  const workflowId = `daily-revenue-${randomBytes(3).toString('hex')}`;
  const args = [
    ...['workflow', 'start', '--type', EXAMPLE, '--task-queue', TaskQueue.WORKFLOWS, '--workflow-id', workflowId],
    ...['--input', JSON.stringify({ since: '1992-01-01' }), '--static-summary', 'Revenue per ship date and ship mode'],
    ...['--address', config.temporal.address, '--namespace', config.temporal.namespace],
  ];
  output.err(`$ temporal ${args.map((arg) => (/[\s{}"]/.test(arg) ? `'${arg}'` : arg)).join(' ')}`);
  await execa(cli.path, args);
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
  output.out(`\nFirst rows of ${TABLE}:\n${await firstRows(config, readSecret)}`);
  if (url) output.out(`\nThe run in the Temporal UI: ${url}`);
  output.out('The servers stay up; `npx spillway down` stops them.');
  return Exit.OK;
}

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

import { join } from 'node:path';
import type { ResolvedTemporal } from '../config/resolved.ts';
import type { Environment } from './command.ts';
import { PINS, SEARCH_ATTRIBUTES } from './pins.ts';
import type { Places } from './places.ts';
import type { ServerPlan } from './server-part.ts';
import { STOP_ORDERS } from './stop-orders.ts';
import type { TemporalCli } from './temporal-cli.ts';

/**
 * A Temporal development server of this home. Its database is kept per version of the command line, as its schema is
 * made once and never migrated; so open runs outlive a restart, and an upgrade starts afresh beside them.
 */
export function temporalPlan(places: Places, cli: TemporalCli, namespace: string, env: Environment): ServerPlan {
  const database = join(places.data, `temporal-${cli.version}.db`);
  return {
    part: 'temporal',
    title: `Temporal (CLI ${cli.version})`,
    found: cli.found,
    settings: { cli: cli.path, version: cli.version, namespace, attributes: SEARCH_ATTRIBUTES },
    ports: { grpc: 7233, ui: 8233 },
    stop: STOP_ORDERS.temporal,
    readyWithinMs: 60_000,
    async prepare(ports) {
      const args = [
        ...[
          'server',
          'start-dev',
          '--ip',
          '127.0.0.1',
          '--port',
          String(ports['grpc']),
          '--ui-port',
          String(ports['ui']),
        ],
        ...['--namespace', namespace, '--db-filename', database, '--log-format', 'pretty', '--log-level', 'warn'],
        ...SEARCH_ATTRIBUTES.flatMap((name) => ['--search-attribute', `${name}=Keyword`]),
        // Without these every workflow and activity task waits some 45 ms: 100 ms a step instead of 11.
        ...['--dynamic-config-value', 'history.transferProcessorMaxPollRPS=2000'],
        ...['--dynamic-config-value', 'history.timerProcessorMaxPollRPS=2000'],
      ];
      return {
        command: cli.path,
        args,
        cwd: places.run,
        // HOME: the program reads and writes its settings below it.
        env: { PATH: env['PATH'] ?? '', HOME: places.home, TMPDIR: places.tmp, LANG: 'C.UTF-8' },
      };
    },
    probe: (ports) => probeTemporal(`127.0.0.1:${ports['grpc']}`, namespace),
  };
}

/** Version of the server when it knows the namespace; rejects otherwise. */
export async function probeTemporal(
  address: string,
  namespace: string,
  access: ResolvedTemporal['access'] = {},
): Promise<string> {
  // Loaded when needed: gRPC takes a third of a second to load, and `spillway down` has no use for it.
  const { Connection } = await import('@temporalio/client');
  const connection = await Connection.connect({ address, connectTimeout: '3 seconds', ...access });
  try {
    return await connection.withDeadline(Date.now() + 3_000, async () => {
      const [info] = await Promise.all([
        connection.workflowService.getSystemInfo({}),
        connection.workflowService.describeNamespace({ namespace }),
      ]);
      return info.serverVersion ?? PINS.temporalCli;
    });
  } finally {
    await connection.close();
  }
}

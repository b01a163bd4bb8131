import { homedir } from 'node:os';
import { join } from 'node:path';
import { Client } from '@temporalio/client';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { SEARCH_ATTRIBUTES } from '../../src/provision/pins.ts';
import { temporalCli } from '../../src/provision/temporal-cli.ts';

export interface ServerOptions {
  /** Dynamic settings of the server, beside those of `spillway up`. */
  settings?: Record<string, unknown>;
}

/** A real Temporal server of this test file's own, in memory, with the settings that `spillway up` uses. */
export async function temporalServer({ settings = {} }: ServerOptions = {}): Promise<TestWorkflowEnvironment> {
  const home = process.env['SPILLWAY_HOME'] ?? join(homedir(), '.cache', 'spillway');
  const cli = await temporalCli(join(home, 'cache'), process.env, () => undefined);
  return TestWorkflowEnvironment.createLocal({
    server: {
      log: { format: 'pretty', level: 'never' }, // it complains of every update that a continue-as-new turns away
      executable: { type: 'existing-path', path: cli.path },
      extraArgs: [
        ...['--dynamic-config-value', 'history.transferProcessorMaxPollRPS=2000'],
        ...['--dynamic-config-value', 'history.timerProcessorMaxPollRPS=2000'],
        ...Object.entries(settings).flatMap(([key, value]) => [
          '--dynamic-config-value',
          `${key}=${JSON.stringify(value)}`,
        ]),
        ...SEARCH_ATTRIBUTES.flatMap((name) => ['--search-attribute', `${name}=Keyword`]),
      ],
    },
  });
}

/** A client of its own connection, as activities have one: calls of an aborted activity must still go out. */
export const clientOf = (env: TestWorkflowEnvironment): Client =>
  new Client({ connection: env.connection, namespace: env.namespace ?? 'default' });

import { execa } from 'execa';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection } from '@temporalio/client';
import { SpillwayError } from '../../src/contracts/errors.ts';
import { freePort } from '../../src/provision/ports.ts';
import { SEARCH_ATTRIBUTES } from '../../src/provision/pins.ts';

const READY_MS = 30_000;

/** A Temporal server of the bench's own, in memory. */
export interface DevServer {
  readonly address: string;
  readonly connection: Connection;
  stop(): Promise<void>;
}

/** Starts a development server as a process of its own, with the settings of `spillway up`, and waits until it answers. */
export async function startDevServer(cli: string): Promise<DevServer> {
  const port = await freePort([], new Set());
  const args = [
    ...['server', 'start-dev', '--headless', '--ip', '127.0.0.1', '--port', String(port), '--log-level', 'never'],
    ...['--dynamic-config-value', 'history.transferProcessorMaxPollRPS=2000'],
    ...['--dynamic-config-value', 'history.timerProcessorMaxPollRPS=2000'],
    ...SEARCH_ATTRIBUTES.flatMap((name) => ['--search-attribute', `${name}=Keyword`]),
  ];
  // Detached: Ctrl-C is for the bench, which then stops it.
  const child = execa(cli, args, { stdio: 'ignore', reject: false, detached: true });
  const end = async (): Promise<void> => {
    child.kill('SIGTERM');
    await child;
  };
  const address = `127.0.0.1:${port}`;
  for (const until = Date.now() + READY_MS; ; await sleep(100)) {
    try {
      const connection = await Connection.connect({ address, connectTimeout: 1_000 });
      await connection.workflowService.describeNamespace({ namespace: 'default' });
      return {
        address,
        connection,
        async stop() {
          await connection.close();
          await end();
        },
      };
    } catch (error) {
      if (Date.now() < until && child.exitCode === null) continue;
      await end();
      throw new SpillwayError(
        'EngineUnreachable',
        `The Temporal server of the bench (${cli}) did not answer within ${READY_MS / 1000} s.`,
        {
          cause: error,
        },
      );
    }
  }
}

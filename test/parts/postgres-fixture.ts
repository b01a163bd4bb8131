import { afterAll, beforeAll } from '@jest/globals';
import type { Client } from 'pg';
import { eventually } from '../integration/stack-waiting.ts';
import { type PostgresServer, startPostgres } from './postgres-server.ts';

/** A server of one test file, and a connection to it; both are there once its tests run. */
export interface FilePostgres {
  server: PostgresServer;
  client: Client;
}

/** Starts one PostgreSQL for a test file and removes it at its end. `settings` are command line settings, `programs` answers the folder of its programs. */
export function filePostgres(settings: Record<string, string> = {}, programs?: () => Promise<string>): FilePostgres {
  const postgres = {} as FilePostgres;
  beforeAll(async () => {
    postgres.server = await startPostgres(settings, await programs?.());
    postgres.client = await postgres.server.connect();
  }, 120_000);
  afterAll(async () => {
    await postgres.client?.end();
    await postgres.server?.remove();
  });
  return postgres;
}

/** Waits until a backend of ours waits for COPY data, and answers it. */
export const copying = ({ client }: FilePostgres): Promise<number> =>
  eventually(
    async () => {
      const { rows } = await client.query<{ pid: number }>(
        `select pid from pg_stat_activity where application_name like 'spillway/%' and query like 'copy %' and state = 'active' and wait_event = 'ClientRead'
         order by backend_start`,
      );
      return rows[0]?.pid;
    },
    { what: 'a COPY', everyMs: 20, withinMs: 10_000 },
  );

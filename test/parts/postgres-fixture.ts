import { afterAll, beforeAll } from '@jest/globals';
import type { Client } from 'pg';
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

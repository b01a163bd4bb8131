import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type PostgresBinaries, postgresBinaries, reachableBinaries } from '../../src/provision/postgres-binaries.ts';
import { serverUser } from '../../src/provision/server-user.ts';
import { cacheDir } from '../integration/provision-home.ts';

/** PostgreSQL 18 from npm, also where the host has one of its own: without those on PATH and in Debian's folder it is taken. */
export function postgresFromNpm(): Promise<PostgresBinaries> {
  const path = (process.env['PATH'] ?? '').split(':').filter((folder) => !existsSync(join(folder, 'postgres')));
  return postgresBinaries(cacheDir, { ...process.env, PATH: path.join(':') }, () => undefined, '/nowhere');
}

/** Folder of its programs, where the user that servers run as may run them. */
export const programsOfPostgresFromNpm = async (): Promise<string> =>
  reachableBinaries(await postgresFromNpm(), serverUser());

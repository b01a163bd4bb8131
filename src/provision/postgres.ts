import { randomBytes } from 'node:crypto';
import {
  appendFileSync,
  chownSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import type { ResolvedHardware } from '../config/resolved.ts';
import { renderPostgres } from '../render/postgres.ts';
import { writeFileAtomically } from './atomic-file.ts';
import type { Environment } from './command.ts';
import { run } from './command.ts';
import type { Places } from './places.ts';
import type { PostgresBinaries } from './postgres-binaries.ts';
import { reachableBinaries } from './postgres-binaries.ts';
import type { ServerPlan } from './server-part.ts';
import { STOP_ORDERS } from './stop-orders.ts';
import { PASSED_DIRECTORY } from './server-process.ts';
import type { ServerUser } from './server-user.ts';

/** Account and database that `spillway up` makes. */
export const POSTGRES_ACCOUNT = 'spillway';
export const POSTGRES_DATABASE = 'spillway';

/** `secrets/postgres-password` of a home. */
export const passwordFile = (places: Pick<Places, 'secrets'>): string => join(places.secrets, 'postgres-password');

/**
 * A PostgreSQL server of this home, set from the hardware profile.
 *
 * It never runs as root. Its directory belongs to the user it runs as, and is handed over as an open descriptor: so it
 * is reached although a home below `/root` may not be entered by that user.
 */
export function postgresPlan(
  places: Places,
  parts: { binaries: PostgresBinaries; hardware: ResolvedHardware; user: ServerUser | undefined; env: Environment },
): ServerPlan {
  const { binaries, hardware, user, env } = parts;
  const state = join(places.data, `postgres-${binaries.major}`);
  const data = join(state, 'data');
  const seen = user === undefined ? state : PASSED_DIRECTORY;
  const serverEnv = { PATH: env['PATH'] ?? '', LANG: 'C.UTF-8', TZ: 'UTC' };

  async function ensureData(programs: string, directory: number | undefined): Promise<void> {
    if (existsSync(data)) return;
    const aside = join(state, 'data.making');
    const secret = join(state, 'password');
    rmSync(aside, { recursive: true, force: true });
    writeFileSync(secret, `${password(places)}\n`, { mode: 0o600 });
    own(secret, user);
    const args = [
      '-D',
      `${seen}/data.making`,
      '-U',
      POSTGRES_ACCOUNT,
      `--pwfile=${seen}/password`,
      '--auth=scram-sha-256',
    ];
    await run(join(programs, 'initdb'), [...args, '--encoding=UTF8', '--locale=C'], {
      env: serverEnv,
      cwd: '/',
      timeoutMs: 120_000,
      ...(user === undefined ? {} : { user }),
      ...(directory === undefined ? {} : { passDirectory: directory }),
    });
    rmSync(secret);
    appendFileSync(
      join(aside, 'postgresql.conf'),
      "\n# What the hardware profile decides.\ninclude = 'spillway.conf'\n",
    );
    renameSync(aside, data);
  }

  return {
    part: 'postgres',
    title: `PostgreSQL ${binaries.version}`,
    found: binaries.found,
    settings: { directory: binaries.directory, version: binaries.version, conf: renderPostgres(hardware, { port: 0 }) },
    ports: { sql: 5432 },
    stop: STOP_ORDERS.postgres,
    readyWithinMs: 60_000,
    async prepare(ports) {
      const programs = reachableBinaries(binaries, user);
      mkdirSync(state, { recursive: true, mode: 0o700 });
      own(state, user);
      const directory = user === undefined ? undefined : openSync(state, constants.O_RDONLY | constants.O_DIRECTORY);
      try {
        await ensureData(programs, directory);
        const lz4 = ['-D', `${seen}/data`, '-C', 'wal_compression', '-c', 'wal_compression=lz4'];
        const conf = join(data, 'spillway.conf');
        const write = (walCompression: 'lz4' | 'on'): void => {
          const asked = hardware.postgres.walCompression;
          const text = renderPostgres(hardware, {
            port: ports['sql'] ?? 0,
            walCompression: asked === 'on' ? 'on' : walCompression,
          });
          writeFileSync(conf, text, { mode: 0o600 });
          own(conf, user);
        };
        write('on'); // the question below reads this file as well
        const knowsLz4 = await run(join(programs, 'postgres'), lz4, {
          env: serverEnv,
          cwd: '/',
          timeoutMs: 20_000,
          ...(user === undefined ? {} : { user }),
          ...(directory === undefined ? {} : { passDirectory: directory }),
        }).then(
          () => true,
          () => false,
        );
        if (knowsLz4) write('lz4');
      } catch (error) {
        if (directory !== undefined) closeSync(directory);
        throw error;
      }
      return {
        command: join(programs, 'postgres'),
        args: ['-D', `${seen}/data`],
        cwd: '/',
        env: serverEnv,
        ...(user === undefined ? {} : { user }),
        ...(directory === undefined ? {} : { passDirectory: directory }),
      };
    },
    probe: (ports) => probeOwnPostgres(ports['sql'] ?? 0, password(places)),
  };
}

/** The password of the account, made at first use; never printed, never an argument of a program. */
export function password(places: Pick<Places, 'secrets'>): string {
  const file = passwordFile(places);
  if (!existsSync(file)) writeFileAtomically(file, `${randomBytes(24).toString('base64url')}\n`);
  return readFileSync(file, 'utf8').trim();
}

function own(path: string, user: ServerUser | undefined): void {
  if (user !== undefined) chownSync(path, user.uid, user.gid);
}

/** Version of our server when a statement goes through; makes the database when it is not there yet. */
async function probeOwnPostgres(port: number, secret: string): Promise<string> {
  const url = (database: string): string => `postgres://${POSTGRES_ACCOUNT}@127.0.0.1:${port}/${database}`;
  try {
    return await probePostgres(url(POSTGRES_DATABASE), secret);
  } catch (error) {
    if ((error as { code?: string }).code !== '3D000') throw error; // invalid_catalog_name: no such database
    await query(url('postgres'), secret, `create database ${POSTGRES_DATABASE}`);
    return probePostgres(url(POSTGRES_DATABASE), secret);
  }
}

/** Version of a PostgreSQL when a statement goes through; rejects otherwise. */
export async function probePostgres(url: string, secret?: string): Promise<string> {
  const [row] = await query(url, secret, 'show server_version');
  const version = row?.['server_version'];
  return typeof version === 'string' ? (version.split(' ')[0] ?? version) : 'unknown';
}

async function query(url: string, secret: string | undefined, statement: string): Promise<Record<string, unknown>[]> {
  const address = new URL(url);
  // Into the address: what the address says of the password, even nothing, wins over the option `password`.
  if (secret !== undefined) address.password = encodeURIComponent(secret);
  const client = new pg.Client({
    connectionString: address.href,
    connectionTimeoutMillis: 3_000,
    query_timeout: 10_000,
  });
  client.on('error', () => undefined); // a server that goes away between statements; the statement itself rejects
  try {
    await client.connect();
    return (await client.query<Record<string, unknown>>(statement)).rows;
  } finally {
    await client.end();
  }
}

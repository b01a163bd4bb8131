import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import type { Client } from 'pg';
import { loadConfig } from '../../src/config/load-config.ts';
import { connectPostgres } from '../../src/engines/postgres/connection.ts';
import { MiB } from '../../src/policy/sizes.ts';
import { bringUp } from '../../src/provision/bring-up.ts';
import type { ReleaseStack } from '../../src/worker/release-stack.ts';
import type { BenchOrder, BenchOutcome } from '../bench.ts';
import { inBenchHome } from '../bench-home.ts';
import { benchFile, benchPython, pinnedVersions } from '../bench-python.ts';
import { figureOf, type Figure } from '../figures.ts';
import type { LoadOrder, LoadReport } from './load-once.ts';

const SCHEMA = 'bench_postgres';
const TABLE = `${SCHEMA}.loaded`;
/** Loaded by each process of ours before it is timed. */
const FIRST = `${SCHEMA}.first`;

/** Loads of one file into a fresh PostgreSQL table: ours, the server's own COPY from a file, psql, pgpq, ADBC and dlt, in turn. */
export const postgresBench = inBenchHome(measure);

/** One way to load; answers seconds without the start of its process, and its peak of memory. */
type Way = (data: Data) => Promise<LoadReport>;

interface Data {
  name: string;
  file: string;
  /** The same rows, where they are there as Parquet too. */
  parquet?: string;
  rows: number;
  bytes: number;
  /** What the table holds as binary COPY and as CSV, in files that the server may read. */
  binary: string;
  csv: string;
  /** `create table …` of the columns. */
  create: string;
}

async function measure(
  { config, rounds, quick, env, signal, say }: BenchOrder,
  home: string,
  stack: ReleaseStack,
): Promise<BenchOutcome> {
  const cacheDir = join(config.home, 'cache');
  const before = await loadConfig({ cwd: home, env, flags: { home } });
  const report = ({ part, what, text }: { part: string; what: string; text: string }): void =>
    say(`${part.padEnd(8)} ${what.padEnd(8)} ${text}`);
  const [python, parts] = await Promise.all([
    benchPython('postgres', cacheDir, env, say),
    bringUp({ home, cacheDir, hardware: before.hardware, systemPackages: true, env, only: ['postgres'], report }),
  ]);
  const { url, passwordFile, version } = parts.postgres!;
  const password = readFileSync(passwordFile!, 'utf8').trim();
  const client = await connectPostgres(url, password);
  stack.push('PostgreSQL', () => client.end());
  // The server runs as another user: it reads and writes here, and nowhere below a home.
  const shared = mkdtempSync(join(tmpdir(), 'spillway-bench-'));
  chmodSync(shared, 0o777);
  stack.push('files', () => rmSync(shared, { recursive: true, force: true }));
  const address = new URL(url);
  address.password = encodeURIComponent(password);

  const directory = await makeData(python, quick ? '0.02' : '1', cacheDir, say);
  const small = join(await makeData(python, '0.02', cacheDir, say), 'lineitem.arrow');
  const ways = waysOf({ small, client, url, password, address: address.href, python, shared, signal });
  const sets: Data[] = [];
  for (const name of ['lineitem', 'narrow'])
    sets.push(await prepare(client, ways['freeze']!, name, join(directory, `${name}.arrow`), shared));
  sets[0]!.parquet = join(directory, 'lineitem.parquet');

  const figures: Figure[] = [];
  const inTurn = async (data: Data, of: readonly string[], title: string): Promise<Record<string, LoadReport[]>> => {
    const seen = Object.fromEntries(of.map((way) => [way, [] as LoadReport[]]));
    for (let round = 0; round < rounds; round += 1) {
      for (const way of of) {
        signal.throwIfAborted();
        seen[way]!.push(await once(client, ways[way]!, data));
      }
      say(
        `${title}, round ${round + 1} of ${rounds}: ${Object.entries(seen)
          .map(([way, all]) => `${way} ${all.at(-1)!.seconds.toFixed(2)} s`)
          .join(', ')}`,
      );
    }
    return seen;
  };
  for (const data of sets) {
    if (!quick) {
      say(`${data.name}: warming up`);
      for (const way of ['ceiling', 'freeze'] as const) await once(client, ways[way]!, data);
    }
    const all = Object.keys(ways).filter((way) => way !== 'parquet' || data.parquet !== undefined);
    figures.push(...figuresOf(data, await inTurn(data, all, data.name)));
  }
  const [wide] = sets as [Data];
  const alterSystem = async (how: string): Promise<void> => {
    await client.query(`alter system ${how}`);
    await client.query('select pg_reload_conf()');
  };
  stack.push('max_wal_size', () => alterSystem('reset max_wal_size'));
  await alterSystem(`set max_wal_size = '256MB'`);
  const withSmallWal = await inTurn(wide, ['ceiling', 'freeze', 'parallel'], `${wide.name}, max_wal_size 256 MB`);
  await alterSystem('reset max_wal_size');
  const name = `${wide.name}, ${wide.rows} rows, max_wal_size 256 MB`;
  figures.push(besideCeiling(withSmallWal, 'freeze', name, 1.12), besideCeiling(withSmallWal, 'parallel', `${name}, two connections`, 0.85)); // prettier-ignore
  const flat: LoadReport[] = [];
  for (const scale of quick ? ['0.002', '0.02'] : ['0.167', '3.34']) {
    const file = join(await makeData(python, scale, cacheDir, say), 'narrow.arrow');
    flat.push(
      await once(client, ways['freeze']!, { ...wide, name: 'narrow', file, rows: 0, bytes: statSync(file).size }),
    );
    say(`narrow, ${flat.at(-1)!.rows} rows: ${(flat.at(-1)!.peakRssBytes / MiB).toFixed(0)} MiB`);
  }
  figures.push(
    figureOf({
      ...{ name: `peak RSS, narrow, ${flat[1]!.rows} rows`, unit: 'MiB', ours: [flat[1]!.peakRssBytes / MiB] },
      ...{ against: `${flat[0]!.rows} rows`, theirs: [flat[0]!.peakRssBytes / MiB] },
      goal: { of: 'ratio', atMost: 1.1 },
    }),
  );
  const encoded = await Promise.all(sets.slice(0, 1).map((data) => encodeAlone(data.file, rounds)));
  figures.push(
    figureOf({
      name: 'encoder alone, lineitem, per GB of COPY',
      unit: 's',
      ours: encoded[0]!,
      goal: { of: 'ours', atMost: 1.67 },
    }),
  );
  await client.query(`drop schema if exists ${SCHEMA} cascade`);
  return { versions: { postgres: version, ...pinnedVersions('postgres') }, figures };
}

/** Fresh schema and a checkpoint before, the count after. */
async function once(client: Client, load: Way, data: Data): Promise<LoadReport> {
  await client.query(`drop schema if exists ${SCHEMA} cascade`);
  await client.query(`create schema ${SCHEMA}`);
  await client.query('checkpoint');
  const report = await load(data);
  const { rows } = await client.query<{ n: string }>(`select count(*) as n from ${TABLE}`);
  if (data.rows > 0 && Number(rows[0]!.n) !== data.rows)
    throw new Error(`${rows[0]!.n} rows were loaded, not ${data.rows}`);
  return report;
}

/** Makes the data once, into the cache. */
async function makeData(python: string, scale: string, cache: string, say: (line: string) => void): Promise<string> {
  const directory = join(cache, `bench-lineitem-${scale}`);
  if (existsSync(join(directory, 'lineitem.parquet'))) return directory;
  say(`making TPC-H lineitem of scale ${scale}`);
  const making = `${directory}.making`;
  for (const left of [making, directory]) rmSync(left, { recursive: true, force: true });
  mkdirSync(making, { recursive: true });
  await execa(python, [benchFile('postgres', 'others.py'), 'data', scale, making]);
  renameSync(making, directory);
  return directory;
}

/** Loads a file once to learn its rows, its columns, and what the server writes of it itself. */
async function prepare(client: Client, load: Way, name: string, file: string, shared: string): Promise<Data> {
  const data: Data = {
    name,
    file,
    rows: 0,
    bytes: statSync(file).size,
    binary: join(shared, `${name}.copy`),
    csv: join(shared, `${name}.csv`),
    create: '',
  };
  const { rows } = await once(client, load, data);
  await client.query(`copy ${TABLE} to '${data.binary}' (format binary)`);
  await client.query(`copy ${TABLE} to '${data.csv}' (format csv)`);
  const columns = await client.query<{ text: string }>(
    `select string_agg(quote_ident(attname) || ' ' || format_type(atttypid, atttypmod), ', ' order by attnum) as text
     from pg_attribute where attrelid = '${TABLE}'::regclass and attnum > 0`,
  );
  return { ...data, rows, create: `create table ${TABLE} (${columns.rows[0]!.text})` };
}

function waysOf(of: {
  /** Some rows of the same columns. */
  small: string;
  client: Client;
  url: string;
  password: string;
  address: string;
  python: string;
  shared: string;
  signal: AbortSignal;
}): Record<string, Way> {
  const { small, client, url, password, address, python, shared, signal } = of;
  let serial = 0;
  const ours =
    (more: Pick<LoadOrder, 'strategy'> & Partial<LoadOrder>): Way =>
    async ({ file: arrow, parquet, rows, bytes }) => {
      const file = more.decodeWith === undefined ? arrow : parquet!;
      const order = join(shared, `order-${(serial += 1)}.json`);
      const said: LoadOrder = {
        url,
        password,
        file,
        rows,
        bytes,
        into: TABLE,
        first: { file: small, into: FIRST },
        run: `bench-${process.pid}-${serial}`,
        ...more,
      };
      writeFileSync(order, JSON.stringify(rows > 0 ? said : { ...said, rows: undefined }), { mode: 0o600 });
      const { stdout } = await execa(
        process.execPath,
        [fileURLToPath(new URL('./load-once.js', import.meta.url)), order],
        { cancelSignal: signal },
      );
      rmSync(order);
      return JSON.parse(stdout) as LoadReport;
    };
  const timed =
    (act: (data: Data) => Promise<unknown>): Way =>
    async (data) => {
      const began = performance.now();
      await act(data);
      return { rows: data.rows, seconds: (performance.now() - began) / 1000, peakRssBytes: 0 };
    };
  const other =
    (name: string): Way =>
    async ({ file }) => {
      const { stdout } = await execa(python, [benchFile('postgres', 'others.py'), name, file, TABLE, address], {
        cancelSignal: signal,
      });
      return JSON.parse(stdout) as LoadReport;
    };
  const psql = (format: string, from: (data: Data) => string): Way =>
    timed(async (data) => {
      await client.query(data.create);
      await execa(
        'psql',
        [address, '--no-psqlrc', '--quiet', '--command', `\\copy ${TABLE} from '${from(data)}' (format ${format})`],
        { cancelSignal: signal },
      );
    });
  return {
    ceiling: timed(async ({ create, binary }) => {
      await client.query('begin');
      await client.query(create);
      await client.query(`copy ${TABLE} from '${binary}' (format binary, freeze)`);
      await client.query('commit');
    }),
    freeze: ours({ strategy: 'freeze' }),
    parallel: ours({ strategy: 'parallel', connections: 2 }),
    unlogged: ours({ strategy: 'unlogged' }),
    'unlogged over two': ours({ strategy: 'unlogged', connections: 2 }),
    parquet: ours({ strategy: 'freeze', decodeWith: python }),
    'psql binary': psql('binary', ({ binary }) => binary),
    'psql csv': psql('csv', ({ csv }) => csv),
    pgpq: other('pgpq'),
    adbc: other('adbc'),
    dlt: other('dlt'),
  };
}

async function encodeAlone(file: string, rounds: number): Promise<number[]> {
  const seen: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const { stdout } = await execa(process.execPath, [
      fileURLToPath(new URL('./encode-once.js', import.meta.url)),
      file,
    ]);
    seen.push((JSON.parse(stdout) as { secondsPerGB: number }).secondsPerGB);
  }
  return seen;
}

const secondsOf = (seen: Record<string, LoadReport[]>, way: string): number[] => seen[way]!.map((one) => one.seconds);

const besideCeiling = (seen: Record<string, LoadReport[]>, way: string, called: string, atMost: number): Figure =>
  figureOf({
    ...{ name: called, unit: 's', ours: secondsOf(seen, way), goal: { of: 'ratio', atMost } },
    ...{ against: 'COPY of the server from a binary file, frozen', theirs: secondsOf(seen, 'ceiling') },
  });

function figuresOf({ name, rows, parquet }: Data, seen: Record<string, LoadReport[]>): Figure[] {
  const seconds = (way: string): number[] => secondsOf(seen, way);
  const rss = (way: string): number[] => seen[way]!.map((one) => one.peakRssBytes / MiB);
  const title = `${name}, ${rows} rows`;
  const beside = (way: string, against: string): Figure =>
    figureOf({ name: title, unit: 's', ours: seconds('freeze'), against, theirs: seconds(way) });
  return [
    besideCeiling(seen, 'freeze', title, 1.12),
    besideCeiling(seen, 'parallel', `${title}, two connections`, 0.85),
    ...(parquet === undefined
      ? []
      : [
          besideCeiling(seen, 'parquet', `${title}, from Parquet`, 1.2),
          figureOf({
            ...{ name: `${title}, from Parquet, memory of the decoder`, unit: 'MiB' },
            ours: seen['parquet']!.map((one) => one.decoderBytes! / MiB),
            goal: { of: 'ours', atMost: 286 },
          }),
        ]),
    beside('psql binary', 'psql \\copy, binary'),
    beside('psql csv', 'psql \\copy, CSV'),
    beside('pgpq', 'pgpq + psycopg'),
    beside('adbc', 'ADBC'),
    beside('dlt', 'dlt'),
    figureOf({
      name: `${title}, unlogged`,
      unit: 's',
      ours: seconds('unlogged'),
      against: 'ours, frozen',
      theirs: seconds('freeze'),
    }),
    figureOf({
      name: `${title}, unlogged over two connections`,
      unit: 's',
      ours: seconds('unlogged over two'),
      against: 'ours, unlogged',
      theirs: seconds('unlogged'),
    }),
    figureOf({
      name: `${title}, peak RSS`,
      unit: 'MiB',
      ours: rss('freeze'),
      against: 'pgpq',
      theirs: rss('pgpq'),
      goal: { of: 'ours', atMost: 190 },
    }),
  ];
}

import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import { chownSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from 'pg';
import { listLeftovers } from '../../src/engines/postgres/janitor.ts';
import { loadTable } from '../../src/engines/postgres/load.ts';
import type { LoadRequest } from '../../src/engines/postgres/load-request.ts';
import { LoadPhase } from '../../src/engines/postgres/load-plan.ts';
import { findOrphanFiles } from '../../src/engines/postgres/orphan-files.ts';
import { eventually } from '../integration/stack-waiting.ts';
import { idBatch, StagedSource, textBatch } from './postgres-arrow.ts';
import { filePostgres } from './postgres-fixture.ts';
import { startProxy } from './postgres-proxy.ts';
import { NOBODY } from './postgres-server.ts';

/** A load ends in exactly the old rows or exactly the new ones, whatever dies in whatever phase, and leaves nothing. */
jest.setTimeout(90_000);

// Crashes are survived by what was flushed: not with fsync off.
const postgres = filePostgres({ fsync: 'on' });

let runs = 0;
let run: string;
beforeEach(async () => {
  run = `0199ee-run-${(runs += 1)}`;
  await postgres.client.query(`drop schema if exists mart cascade; create schema mart;
    create table mart.t (id bigint, name text); insert into mart.t values (-1, 'old')`);
});
afterEach(async () => {
  expect(await listLeftovers({ connect: postgres.server.connect })).toEqual({ loads: [], strayTables: [] });
  const { rows } = await postgres.client.query(
    `select relname as what from pg_class where relname like 'stg\\_%' union all
     select application_name from pg_stat_activity where application_name like 'spillway/%'`,
  );
  expect(rows).toEqual([]);
});

const ROWS = 40_000;
const rowsOf = async (): Promise<unknown> =>
  (await postgres.client.query(`select count(*)::int as n, min(id)::int as least, max(id)::int as most from mart.t`))
    .rows[0];
const OLD = { n: 1, least: -1, most: -1 };
const NEW = { n: ROWS, least: 0, most: ROWS - 1 };

const load = (more: Partial<LoadRequest> = {}, connect = postgres.server.connect) =>
  loadTable(
    { connect },
    {
      ...{ run, step: 'publish', token: 1, into: 'mart.t', key: ['id'], indexes: [{ columns: ['name'] }] },
      source: new StagedSource(idBatch(0, ROWS / 2), idBatch(ROWS / 2, ROWS / 2)).open,
      signal: new AbortController().signal,
      ...more,
    },
  );

/** Does something once, when a load comes to a phase. */
function when(phase: LoadPhase, act: () => unknown): Pick<LoadRequest, 'onProgress'> {
  let done = false;
  return {
    onProgress: (progress) => {
      if (done || progress.phase !== phase) return;
      done = true;
      act();
    },
  };
}

const PHASES = [
  ...(['freeze', 'parallel', 'unlogged'] as const).flatMap((strategy) =>
    [LoadPhase.OPENING, LoadPhase.COPYING, LoadPhase.INDEXING, LoadPhase.ANALYZING, LoadPhase.PUBLISHING].map(
      (phase) => [strategy, phase] as const,
    ),
  ),
  ['unlogged', LoadPhase.LOGGING] as const,
];

describe.each(PHASES)('strategy %s, %s', (strategy, phase) => {
  test('a server that is killed fails the attempt; the next one loads', async () => {
    let crashed: Promise<void> | undefined;
    const failing = load({ strategy, limits: { cleanUpMs: 300 }, ...when(phase, () => (crashed = postgres.server.stop('kill'))) }); // prettier-ignore
    await expect(failing).rejects.toMatchObject({
      code: expect.stringMatching(/^(LoadInterrupted|TargetUnreachable)$/),
    });
    await crashed;
    await postgres.server.start();
    postgres.client = await postgres.server.connect();
    expect(await rowsOf()).toEqual(OLD);
    expect(await load({ strategy, token: 2 })).toMatchObject({ rows: ROWS, alreadyPublished: false });
    expect(await rowsOf()).toEqual(NEW);
  });

  test('a cancel leaves nothing', async () => {
    const stop = new AbortController();
    const failing = load({ strategy, signal: stop.signal, ...when(phase, () => stop.abort()) });
    await expect(failing).rejects.toMatchObject({ code: 'LoadInterrupted', message: expect.stringMatching(/nothing was published/) }); // prettier-ignore
    expect(await rowsOf()).toEqual(OLD);
  });
});

test.each(['freeze', 'parallel', 'unlogged'] as const)(
  '%s: a server that is killed between COMMIT and its reply has published, and the attempt learns it',
  async (strategy) => {
    const proxy = await startProxy(postgres.server);
    let restarted: Promise<void> | undefined;
    proxy.onCommit = () => (restarted ??= postgres.server.stop('kill').then(() => postgres.server.start()));
    try {
      // Later connections of the attempt, which read the ledger, go straight.
      let first = true;
      const connect = (): Promise<Client> => (first ? ((first = false), proxy.connect()) : postgres.server.connect());
      expect(await load({ strategy }, connect)).toMatchObject({ rows: ROWS, alreadyPublished: false });
    } finally {
      proxy.close();
      await restarted;
      postgres.client = await postgres.server.connect();
    }
    expect(await rowsOf()).toEqual(NEW);
    expect(await load({ strategy, token: 2 })).toMatchObject({ rows: ROWS, alreadyPublished: true });
  },
);

test.each(['freeze', 'parallel', 'unlogged'] as const)(
  '%s: a connection that goes dead without a word is given up, and its backend ended',
  async (strategy) => {
    const proxy = await startProxy(postgres.server);
    try {
      // More than the sockets' buffers hold.
      const wide = Array.from({ length: 64 }, (_, row) => textBatch(row, 'x'.repeat(1_000_000)));
      const failing = load(
        {
          ...{
            strategy,
            source: new StagedSource(idBatch(-1000, 10), ...wide).open,
            limits: { stallMs: 500, watchMs: 200 },
          },
          ...when(LoadPhase.COPYING, () => proxy.holdAll()),
        },
        (() => {
          let open = 0;
          return () => ((open += 1) <= 2 ? proxy.connect() : postgres.server.connect());
        })(),
      );
      await expect(failing).rejects.toMatchObject({ code: 'LoadInterrupted' });
    } finally {
      proxy.close();
    }
    expect(await rowsOf()).toEqual(OLD);
    expect(await load({ strategy, token: 2 })).toMatchObject({ rows: ROWS });
  },
);

test.each([LoadPhase.INDEXING, LoadPhase.PUBLISHING])(
  'an answer that never comes while %s is asked after',
  async (phase) => {
    const proxy = await startProxy(postgres.server);
    let open = 0;
    const connect = (): Promise<Client> => ((open += 1) === 1 ? proxy.connect() : postgres.server.connect());
    try {
      const failing = load({ limits: { watchMs: 200 }, ...when(phase, () => proxy.holdAll()) }, connect);
      await expect(failing).rejects.toMatchObject({ code: 'LoadInterrupted', message: expect.stringMatching(/has gone dead: its backend \d+ waits for us while we wait for it/) }); // prettier-ignore
    } finally {
      proxy.close();
    }
    expect(await rowsOf()).toEqual(OLD);
  },
);

test.each(['freeze', 'parallel', 'unlogged'] as const)(
  '%s: a disk that is full fails the attempt and keeps nothing; with room it loads',
  async (strategy) => {
    const small = mkdtempSync(join(tmpdir(), 'spillway-small-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m,mode=755', 'tmpfs', small]);
    try {
      mkdirSync(join(small, 'space'));
      chownSync(join(small, 'space'), NOBODY, NOBODY);
      await postgres.client.query(`create tablespace small location '${join(small, 'space')}'`);
      await postgres.client.query('alter database postgres set default_tablespace = small');
      await expect(load({ strategy })).rejects.toMatchObject({
        ...{ code: 'LoadInterrupted', retry: 'retry' },
        message: expect.stringMatching(/No space left on device.*nothing was published/i),
      });
      expect(await rowsOf()).toEqual(OLD);
      await postgres.client.query('alter database postgres reset default_tablespace');
      expect(await load({ strategy, token: 2 })).toMatchObject({ rows: ROWS });
      await postgres.client.query('drop tablespace small');
    } finally {
      execFileSync('umount', ['--lazy', small]);
      rmSync(small, { recursive: true, force: true });
    }
  },
);

/** Times of files are whole seconds. */
const MARGIN = '2 seconds';

test('files of a load that died with its server are found, and nothing else is taken for one', async () => {
  const before = (await findOrphanFiles(postgres.client, MARGIN))!;
  // Not by kill -9: a backend that sees its postmaster gone before it is killed itself removes them.
  let crashed: Promise<void> | undefined;
  const failing = load({ strategy: 'freeze', limits: { cleanUpMs: 300 }, ...when(LoadPhase.INDEXING, () => (crashed = postgres.server.stop('immediate'))) }); // prettier-ignore
  await expect(failing).rejects.toThrow();
  await crashed;
  await postgres.server.start();
  postgres.client = await postgres.server.connect();
  const found = await eventually(async () => {
    const now = (await findOrphanFiles(postgres.client, MARGIN))!;
    return now.files > before.files ? now : undefined;
  });
  expect(found.bytes - before.bytes).toBeGreaterThan(ROWS * 30);
  expect(found.largest[0]).toMatch(/^base\/\d+\/\d+$/);
  const open = await postgres.server.connect();
  await open.query('begin; create table mart.coming as select * from generate_series(1, 10000)');
  expect(await findOrphanFiles(postgres.client, MARGIN)).toEqual(found);
  await open.query('commit');
  await load({ token: 2 });
  await postgres.client.query('checkpoint'); // files of dropped tables go with it
  expect(await findOrphanFiles(postgres.client, MARGIN)).toEqual(found);
  await open.query(`create role plain login; set role plain`);
  expect(await findOrphanFiles(open, MARGIN)).toBeUndefined();
  await open.end();
});

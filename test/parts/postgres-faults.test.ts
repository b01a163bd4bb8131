import type { Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { Client } from 'pg';
import { CopyEncoder } from '../../src/engines/postgres/encoder.ts';
import { listLeftovers, removeAttempts, removeRun } from '../../src/engines/postgres/janitor.ts';
import type { LoadRequest } from '../../src/engines/postgres/load-request.ts';
import { loadTable } from '../../src/engines/postgres/load.ts';
import { gate, idBatch, StagedSource, textBatch } from './postgres-arrow.ts';
import { copying, filePostgres } from './postgres-fixture.ts';
import { startProxy } from './postgres-proxy.ts';

// Real servers on machines that do other things as well.
jest.setTimeout(60_000);

const postgres = filePostgres();

let runs = 0;
let run: string;
beforeEach(async () => {
  runs += 1;
  run = `0199bb-run-${runs}`;
  await postgres.client.query('drop schema if exists mart cascade; create schema mart');
  await postgres.client.query('create table mart.t (id bigint, name text)');
  await postgres.client.query(`insert into mart.t values (-1, 'old')`);
});
afterEach(expectNothingLeft);

/** No staging, no session, no unfinished load. */
async function expectNothingLeft(): Promise<void> {
  const leftovers = await listLeftovers({ connect: postgres.server.connect });
  expect(leftovers).toEqual({ loads: [], strayTables: [] });
  const { rows } = await postgres.client.query(
    `select relname from pg_class where relname like 'stg\\_%' union all
     select application_name from pg_stat_activity where application_name like 'spillway/%'`,
  );
  expect(rows).toEqual([]);
}

const rowsOf = async (table = 'mart.t'): Promise<number[]> =>
  (await postgres.client.query<{ id: number }>(`select id::int from ${table} order by id`)).rows.map(({ id }) => id);
const OLD = [-1];

const load = (source: StagedSource, more: Partial<LoadRequest> = {}, connect = postgres.server.connect) =>
  loadTable(
    { connect },
    {
      run,
      step: 'publish',
      token: 1,
      into: 'mart.t',
      source: source.open,
      signal: new AbortController().signal,
      ...more,
    },
  );

test.each(['append', 'merge'] as const)('%s whose reply is lost after COMMIT has happened, once', async (write) => {
  await postgres.client.query('create unique index on mart.t (id); alter table mart.t alter column id set not null');
  const proxy = await cuttingProxy();
  const key = write === 'merge' ? { key: ['id'] } : {};
  try {
    const outcome = await load(new StagedSource(idBatch(0, 7)), { write, ...key }, proxy.connect);
    expect(proxy.cut.size).toBe(1);
    expect(outcome).toMatchObject({ rows: 7, strategy: write, alreadyPublished: false });
    expect(await load(new StagedSource(idBatch(0, 7)), { write, ...key, token: 2 })).toMatchObject({ alreadyPublished: true }); // prettier-ignore
    expect(await rowsOf()).toHaveLength(7 + OLD.length);
  } finally {
    proxy.close();
  }
});

describe.each(['freeze', 'unlogged', 'parallel'] as const)('strategy %s', (strategy) => {
  test('a backend that is terminated while copying fails the attempt, and the next one loads', async () => {
    const held = gate();
    const source = new StagedSource(idBatch(0, 10), held.promise, idBatch(10, 10));
    const loading = load(source, { strategy });
    const failed = expect(loading).rejects.toMatchObject({
      code: 'LoadInterrupted',
      retry: 'retry',
      message: expect.stringMatching(/^PostgreSQL ended the session while copying for mart\.t .*nothing was published/),
    });
    await postgres.client.query('select pg_terminate_backend($1)', [await copying(postgres)]);
    // The source still waits: the failure is seen all the same.
    await failed;
    held.open();
    expect(source.closed).toBe(1);
    expect(await rowsOf()).toEqual(OLD);
    await expectNothingLeft();
    expect(await load(new StagedSource(idBatch(0, 3)), { strategy, token: 2 })).toMatchObject({ rows: 3 });
    expect(await rowsOf()).toEqual([0, 1, 2]);
  });

  test('a key that is violated by the last row refuses the load and names it', async () => {
    const source = new StagedSource(idBatch(0, 5000), idBatch(4999, 1));
    await expect(load(source, { strategy, key: ['id'] })).rejects.toMatchObject({
      code: 'LoadRefused',
      message: expect.stringMatching(/could not create unique index.*Key \(id\)=\(4999\) is duplicated/),
    });
    expect(await rowsOf()).toEqual(OLD);
  });

  test('a source that has fewer rows than were promised publishes nothing', async () => {
    await expect(load(new StagedSource(idBatch(0, 9)), { strategy, expectedRows: 10 })).rejects.toMatchObject({
      message: expect.stringMatching(/10 expected, 9 read, 9 copied/),
    });
    expect(await rowsOf()).toEqual(OLD);
  });

  test('a source that fails midway publishes nothing, and its error is told', async () => {
    const broken = Promise.reject(new Error('the writer died'));
    broken.catch(() => undefined);
    await expect(load(new StagedSource(idBatch(0, 9), broken), { strategy })).rejects.toMatchObject({
      code: 'Unexpected',
      message: expect.stringMatching(/^Rows could not be read: the writer died; nothing was published/),
    });
    expect(await rowsOf()).toEqual(OLD);
  });

  test('rows that the encoder fails on publish nothing, and nobody blames the connection', async () => {
    const failing = jest.spyOn(CopyEncoder.prototype, 'fill').mockImplementation(() => {
      throw new RangeError('offset is out of bounds');
    });
    try {
      await expect(load(new StagedSource(idBatch(0, 9)), { strategy })).rejects.toMatchObject({
        code: 'Unexpected',
        message: 'Rows could not be encoded for COPY: offset is out of bounds; nothing was published.',
      });
    } finally {
      failing.mockRestore();
    }
    expect(await rowsOf()).toEqual(OLD);
  });

  test.each(['copying', 'indexing', 'publishing'] as const)('a cancel while %s leaves nothing', async (phase) => {
    const abort = new AbortController();
    const held = gate();
    const reader = await postgres.server.connect();
    await reader.query('begin; select * from mart.t');
    const source = new StagedSource(idBatch(0, 60_000), ...(phase === 'copying' ? [held.promise] : []));
    const loading = load(source, {
      strategy,
      key: ['id'],
      indexes: [{ columns: ['name', 'id'] }],
      signal: abort.signal,
      onProgress: (progress) => {
        if (phase !== 'copying' && progress.phase === phase)
          setTimeout(() => abort.abort(), phase === 'publishing' ? 700 : 30);
      },
    });
    const failed = expect(loading).rejects.toMatchObject({
      code: 'LoadInterrupted',
      message: expect.stringMatching(/was cancelled while .*nothing was published/),
    });
    if (phase === 'copying') {
      await copying(postgres);
      abort.abort();
    }
    await failed;
    held.open();
    await reader.query('commit');
    await reader.end();
    expect(await rowsOf()).toEqual(OLD);
  });

  test('of two attempts at once the later wins, whatever the earlier was doing', async () => {
    const held = gate();
    const first = load(new StagedSource(idBatch(0, 10), held.promise), { strategy });
    const failed = expect(first).rejects.toMatchObject({ code: 'LoadInterrupted' });
    await copying(postgres);
    expect(await load(new StagedSource(idBatch(100, 3)), { strategy, token: 2 })).toMatchObject({ rows: 3 });
    await failed;
    held.open();
    expect(await rowsOf()).toEqual([100, 101, 102]);
  });

  test('an attempt with a lower token is refused while the later one works', async () => {
    const held = gate();
    const later = load(new StagedSource(idBatch(0, 10), held.promise), { strategy, token: 5 });
    await copying(postgres);
    await expect(load(new StagedSource(idBatch(100, 3)), { strategy, token: 4 })).rejects.toMatchObject({
      code: 'LeaseLost',
      message: expect.stringMatching(/attempt 5 has taken its place/),
    });
    held.open();
    expect(await later).toMatchObject({ rows: 10 });
    expect(await rowsOf()).toHaveLength(10);
  });

  test('a reply that is lost after COMMIT is found in the ledger: the load has succeeded', async () => {
    const proxy = await cuttingProxy();
    try {
      const outcome = await load(new StagedSource(idBatch(0, 7)), { strategy }, proxy.connect);
      expect(proxy.cut.size).toBe(1);
      expect(outcome).toMatchObject({ rows: 7, strategy, alreadyPublished: false });
      expect(await rowsOf()).toHaveLength(7);
    } finally {
      proxy.close();
    }
  });

  test('a reader of the old table is waited for, and sees it whole', async () => {
    const reader = await postgres.server.connect();
    await reader.query('begin; select * from mart.t');
    const publishing = gate();
    const loading = load(new StagedSource(idBatch(0, 4)), {
      strategy,
      onProgress: ({ phase }) => phase === 'publishing' && publishing.open(),
    });
    await publishing.promise;
    await new Promise((resolve) => setTimeout(resolve, 800));
    expect((await reader.query('select id::int from mart.t')).rows).toEqual([{ id: -1 }]);
    await reader.query('commit');
    await reader.end();
    expect(await loading).toMatchObject({ rows: 4 });
  });

  test('a target that stays locked fails the attempt after its limit', async () => {
    const reader = await postgres.server.connect();
    await reader.query('begin; select * from mart.t');
    await expect(
      load(new StagedSource(idBatch(0, 4)), { strategy, limits: { swapWaitMs: 600 } }),
    ).rejects.toMatchObject({
      code: 'LoadInterrupted',
      message: expect.stringMatching(/other sessions kept it locked/),
    });
    await reader.end();
    expect(await rowsOf()).toEqual(OLD);
  });

  test('another load into the same table is waited for', async () => {
    const held = gate();
    const first = load(new StagedSource(idBatch(0, 10), held.promise), { strategy });
    await copying(postgres);
    await expect(
      load(new StagedSource(idBatch(0, 4)), { strategy, step: 'other', limits: { targetWaitMs: 300 } }),
    ).rejects.toMatchObject({
      message: expect.stringMatching(/mart\.t is being loaded by spillway\/0199bb-run-\d+\/publish\/1/),
    });
    const second = load(new StagedSource(idBatch(50, 4)), { strategy, step: 'other', token: 2 });
    held.open();
    await Promise.all([first, second]);
    expect(await rowsOf()).toEqual([50, 51, 52, 53]);
  });

  test.each(['immediate', 'fast'] as const)(
    'a server that stops (%s) while copying fails the attempt; the next one, once it is back, loads',
    async (mode) => {
      const held = gate();
      const loading = load(new StagedSource(idBatch(0, 1000), held.promise), { strategy, limits: { cleanUpMs: 500 } });
      const failed = expect(loading).rejects.toMatchObject({
        code: 'LoadInterrupted',
        message: expect.stringMatching(/nothing was published/),
      });
      await copying(postgres);
      await postgres.server.stop(mode);
      await failed;
      held.open();
      await expect(load(new StagedSource(idBatch(0, 3)), { strategy, token: 2 })).rejects.toMatchObject({
        code: 'TargetUnreachable',
        retry: 'retry',
        message: expect.stringMatching(/^PostgreSQL cannot be reached: .*ECONNREFUSED.*Nothing was published/),
      });
      await postgres.server.start();
      postgres.client = await postgres.server.connect();
      expect(await rowsOf()).toEqual(OLD);
      expect(await load(new StagedSource(idBatch(0, 3)), { strategy, token: 3 })).toMatchObject({ rows: 3 });
      expect(await rowsOf()).toEqual([0, 1, 2]);
    },
    30_000,
  );

  test('a server that is back at once is cleaned up by the attempt that failed', async () => {
    const held = gate();
    const failed = expect(load(new StagedSource(idBatch(0, 1000), held.promise), { strategy })).rejects.toMatchObject({
      code: 'LoadInterrupted',
    });
    await copying(postgres);
    await postgres.server.stop('immediate');
    await postgres.server.start();
    postgres.client = await postgres.server.connect();
    await failed;
    held.open();
  });

  test('a backend that is stopped, not dead, is given up, and a later attempt takes its place', async () => {
    // More than the sockets' buffers hold.
    const name = 'x'.repeat(1_000_000);
    const wide = Array.from({ length: 64 }, (_, index) => textBatch(index, name));
    const held = gate();
    const steps = new StagedSource(idBatch(-1000, 10), held.promise, ...wide);
    const failed = expect(load(steps, { strategy, limits: { stallMs: 500, cleanUpMs: 200 } })).rejects.toMatchObject({
      code: 'LoadInterrupted',
      message: expect.stringMatching(/took no data for 0\.5 s; nothing was published/),
    });
    const pid = await copying(postgres);
    process.kill(pid, 'SIGSTOP');
    held.open();
    await failed;
    process.kill(pid, 'SIGCONT');
    expect(await load(new StagedSource(idBatch(0, 3)), { strategy, token: 2 })).toMatchObject({ rows: 3 });
  });

  test('the janitor removes what a dead attempt left, and leaves later ones alone', async () => {
    const held = gate();
    const loading = load(new StagedSource(idBatch(0, 10), held.promise), { strategy, token: 3 });
    const failed = expect(loading).rejects.toMatchObject({ code: 'LoadInterrupted' });
    const pid = await copying(postgres);
    const deps = { connect: postgres.server.connect };
    expect(await removeAttempts(deps, { run, step: 'publish', belowToken: 3 })).toEqual([]);
    expect((await listLeftovers(deps)).loads).toMatchObject([{ run, step: 'publish', token: 3, backend_pid: pid }]);
    const removed = await removeRun(deps, { run });
    expect(removed).toMatchObject([{ run, step: 'publish', token: 3, backend: pid, state: 'ended' }]);
    await failed;
    held.open();
    expect(await removeRun(deps, { run })).toEqual([]);
  });
});

test('two attempts that start in the same moment load once', async () => {
  for (let round = 0; round < 5; round += 1) {
    const name = `${run}-${round}`;
    const attempts = [1, 2, 3].map((token) =>
      load(new StagedSource(idBatch(0, 10)), { run: name, token, into: `mart.r${round}` }),
    );
    const settled = await Promise.allSettled(attempts);
    const won = settled.filter(({ status }) => status === 'fulfilled');
    expect(won.length).toBeGreaterThan(0);
    expect(await rowsOf(`mart.r${round}`)).toHaveLength(10);
  }
});

test('the first loads into an empty database make one ledger between them', async () => {
  await postgres.client.query('drop schema spillway cascade');
  const loads = Array.from({ length: 6 }, (_, index) =>
    load(new StagedSource(idBatch(0, 10)), { run: `${run}-${index}`, into: `fresh.r${index}` }),
  );
  expect((await Promise.all(loads)).map(({ rows }) => rows)).toEqual([10, 10, 10, 10, 10, 10]);
  await postgres.client.query('drop schema fresh cascade');
});

/** Cuts each connection whose COMMIT the server has answered. */
async function cuttingProxy(): Promise<{ connect: () => Promise<Client>; close(): void; cut: Set<Socket> }> {
  const proxy = await startProxy(postgres.server);
  const cut = new Set<Socket>();
  proxy.onCommit = (near) => cut.add(near) && near.destroy();
  return { connect: () => proxy.connect(), close: () => proxy.close(), cut };
}

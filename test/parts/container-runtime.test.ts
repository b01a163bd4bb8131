import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { execa } from 'execa';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { containerName } from '../../src/engines/container/container-name.ts';
import {
  commandPid,
  inspectContainer,
  openContainerHost,
  POOL_LIMIT_BYTES,
  pythonSpec,
  whenSaid,
  type ContainerHost,
} from './container-host.ts';

jest.setTimeout(120_000);

let host: ContainerHost;
beforeAll(async () => {
  host = await openContainerHost('container');
}, 300_000);
afterAll(() => host.close());
afterEach(async () => expect(await host.leftovers()).toEqual([]));

const SLEEP_SECONDS = 60;
const SLEEP = `say("up")\ntime.sleep(${SLEEP_SECONDS})`;
const grow = (mb: number): string => `say("up")\nx=[]\nfor i in range(${mb}): x.append(b"x"*1000000)`;

describe('a container of a step', () => {
  test('has the limits it was given, no network, no capabilities, and is not root', async () => {
    const { onEvent, said } = whenSaid('up');
    const abort = new AbortController();
    const spec = pythonSpec(host, SLEEP, { onEvent, signal: abort.signal, cpuset: '0,1' });
    const running = host.python().run(spec);
    await said;
    const { HostConfig, Config, EffectiveCaps } = await inspectContainer(host, spec);
    abort.abort();
    await running;
    expect(HostConfig).toMatchObject({
      ...{ Memory: 100_000_000, MemorySwap: 100_000_000, CpusetCpus: '0,1', NetworkMode: 'none' },
      ...{ ReadonlyRootfs: true, PidsLimit: 512, OomScoreAdj: 500, Privileged: false },
    });
    expect(Config).toMatchObject({ User: '65534:65534', Labels: { 'spillway.run': 'run-1', 'spillway.token': '1' } });
    expect(EffectiveCaps ?? []).toEqual([]);
  });

  test('sees from the inside what it was given', async () => {
    const code = `
status = dict(l.split(":", 1) for l in open("/proc/self/status").read().splitlines())
def attempt(path):
    try: open(path, "w").close(); return True
    except OSError: return False
say("done", uid=os.getuid(), caps=status["CapEff"].strip(), locked=status["NoNewPrivs"].strip(), cpus=status["Cpus_allowed_list"].strip(),
    root=attempt("/x"), tmp=attempt("/tmp/x"), network=sorted(os.listdir("/sys/class/net")), oom=open("/proc/self/oom_score_adj").read().strip())`;
    const outcome = await host.python().run(pythonSpec(host, code));
    expect(outcome).toMatchObject({ verdict: 'ok', exitCode: 0, proof: { kind: 'cgroup-empty', bytesLeft: 0 } });
    expect(outcome.result).toEqual({
      ...{ ev: 'done', uid: 65534, caps: '0000000000000000', locked: '1', cpus: '0', root: false, tmp: true },
      ...{ network: ['lo'], oom: '500' },
    });
  });

  test('finds every module compiled, since it may not write what it compiled', async () => {
    const code = `
import datafusion, pyarrow.parquet
cached = [m.__spec__.cached for m in list(sys.modules.values()) if getattr(m, "__spec__", None) and m.__spec__.cached and m.__spec__.origin.endswith(".py")]
say("done", modules=len(cached), missing=[path for path in cached if not os.path.exists(path)])`;
    const { result } = await host.python().run(pythonSpec(host, code, { memoryBytes: 400_000_000 }));
    expect(result).toMatchObject({ missing: [] });
    expect(result!['modules']).toBeGreaterThan(100);
  });

  test('never loses its last line, however short it lives', async () => {
    for (let round = 0; round < 8; round++) {
      const outcome = await host.python().run(pythonSpec(host, `say("done", round=${round})`, { token: round }));
      expect(outcome).toMatchObject({ verdict: 'ok', result: { round } });
    }
  });

  test('has its peak reported, and what its files in shared memory still hold', async () => {
    const shm = mkdtempSync('/dev/shm/spillway-test-');
    chmodSync(shm, 0o777);
    const code =
      'x=b"x"*40000000\nf=open("/shm/f","wb")\nfor i in range(30): f.write(b"y"*1000000)\nf.flush()\ntime.sleep(0.3)\nsay("done")';
    const outcome = await host
      .python()
      .run(pythonSpec(host, code, { mounts: [{ source: shm, target: '/shm', writable: true }] }));
    rmSync(shm, { recursive: true });
    expect(outcome.verdict).toBe('ok');
    expect(outcome.peakBytes).toBeGreaterThan(70_000_000);
    expect(outcome.peakBytes).toBeLessThan(100_000_000);
    expect(outcome.proof.bytesLeft).toBeGreaterThanOrEqual(30_000_000);
    expect(outcome.proof.bytesLeft).toBeLessThan(35_000_000);
  });
});

test('the peak is seen each time, however late the kernel’s statistics are', async () => {
  const code = 'x=[]\nfor i in range(80):\n  x.append(b"x"*1000000)\n  time.sleep(0.005)\nsay("done")';
  const peaks: number[] = [];
  for (let round = 0; round < 8; round++) peaks.push((await host.python().run(pythonSpec(host, code))).peakBytes);
  expect(peaks.filter((bytes) => bytes < 60_000_000 || bytes > 100_000_000)).toEqual([]);
});

describe('how it ended is judged on evidence', () => {
  test('killed at its own limit', async () => {
    const outcome = await host.python().run(pythonSpec(host, grow(200)));
    expect(outcome).toMatchObject({ verdict: 'oom-own', exitCode: 137 });
    expect(outcome.peakBytes).toBeGreaterThan(98_000_000);
    expect(existsSync('oom')).toBe(false); // podman's monitor would leave one
  });

  test('a child killed at the limit is found although its parent ends in an orderly way', async () => {
    const code =
      'pid=os.fork()\nif pid==0: x=[b"x"*1000000 for i in range(200)]\nos.waitpid(pid,0)\ntime.sleep(0.2)\nsys.exit(3)';
    expect(await host.python().run(pythonSpec(host, code))).toMatchObject({ verdict: 'oom-own', exitCode: 3 });
  });

  test('killed at its own limit after podman’s monitor had died, so that nobody recorded the end', async () => {
    expect(host.found.kind).toBe('podman');
    const { onEvent, said } = whenSaid('up');
    const spec = pythonSpec(host, grow(200).replace('\n', '\ntime.sleep(2)\n'), { onEvent });
    const running = host.python().run(spec);
    await said;
    const { State } = await inspectContainer(host, spec);
    expect(readFileSync(`/proc/${State.ConmonPid}/cgroup`, 'utf8')).not.toContain(containerName(spec));
    process.kill(State.ConmonPid, 'SIGKILL');
    const outcome = await running;
    expect(outcome).toMatchObject({ verdict: 'oom-own', evidence: { state: { status: 'lost' } } });
    expect(outcome.proof).toMatchObject({ kind: 'cgroup-empty', bytesLeft: 0 });
  });

  test('killed because the pool was full, below its own limit', async () => {
    const runtime = host.python(200_000_000);
    const code = `${grow(130)}\ntime.sleep(3)\nsay("done")`;
    const specs = ['left', 'right'].map((step) => pythonSpec(host, code, { step, memoryBytes: 150_000_000 }));
    const outcomes = await Promise.all(specs.map((spec) => runtime.run(spec)));
    expect(outcomes.map(({ verdict }) => verdict)).toContain('oom-ceiling');
    expect(outcomes.map(({ verdict }) => verdict)).not.toContain('oom-own');
  });

  test('page cache up to the limit is no fault', async () => {
    const dir = mkdtempSync(join(host.scratch, 'cache-'));
    chmodSync(dir, 0o777);
    const code =
      'f=open("/d/f","wb")\nfor i in range(300): f.write(b"x"*1000000)\nf.close()\nos.unlink("/d/f")\nsay("done")';
    const outcome = await host
      .python()
      .run(pythonSpec(host, code, { mounts: [{ source: dir, target: '/d', writable: true }] }));
    expect(outcome).toMatchObject({ verdict: 'ok' });
    expect(outcome.evidence.stepPeakBytes).toBeGreaterThan(90_000_000);
    expect(outcome.peakBytes).toBeLessThan(50_000_000);
  });

  test.each([
    ['a crash', 'os.abort()', 'crash'],
    ['exit 0 without a result', 'say("progress")', 'no-result'],
    ['a result and exit 0', 'say("done")', 'ok'],
    ['an error of the engine', 'say("error", cls="sql")\nsys.exit(70)', 'sql-error'],
  ])('%s', async (_title, code, verdict) => {
    expect(await host.python().run(pythonSpec(host, code))).toMatchObject({ verdict });
  });

  test.each([
    ['an image that is not there', { image: 'localhost/spillway-not-there:1' }],
    ['a mount that is not there', { mounts: [{ source: '/not/there', target: '/x', writable: false }] }],
  ])('%s is the runtime’s error, told in the tail', async (_title, more) => {
    const outcome = await host.python().run(pythonSpec(host, 'say("done")', more));
    expect(outcome.verdict).toBe('runtime-error');
    expect(outcome.stderrTail).toMatch(/Error/);
  });

  test('a stranger’s kill', async () => {
    const { onEvent, said } = whenSaid('up');
    const spec = pythonSpec(host, SLEEP, { onEvent });
    const running = host.python().run(spec);
    await said;
    await execa(host.found.kind, ['kill', containerName(spec)]);
    expect(await running).toMatchObject({ verdict: 'killed-by-other', exitCode: 137 });
  });

  test('past its time', async () => {
    const outcome = await host.python().run(pythonSpec(host, SLEEP, { timeoutMs: 1500 }));
    expect(outcome).toMatchObject({ verdict: 'timeout', proof: { kind: 'cgroup-empty' } });
    expect(outcome.seconds).toBeLessThan(SLEEP_SECONDS); // it did not sleep to its end
  });
});

describe('it is gone when its run ends', () => {
  test('after its command was killed with -9: the container ran on, and was removed', async () => {
    const { onEvent, said } = whenSaid('up');
    const spec = pythonSpec(host, SLEEP, { onEvent });
    const running = host.python().run(spec);
    await said;
    process.kill(await commandPid(spec), 'SIGKILL');
    expect(await running).toMatchObject({ verdict: 'cli-lost', proof: { kind: 'cgroup-empty', bytesLeft: 0 } });
    expect(await host.runtime.exists(containerName(spec))).toBe(false);
  });

  test('after a cancel in the middle of its work', async () => {
    const { onEvent, said } = whenSaid('up');
    const abort = new AbortController();
    const spec = pythonSpec(host, SLEEP, { onEvent, signal: abort.signal });
    const running = host.python().run(spec);
    await said;
    abort.abort();
    expect(await running).toMatchObject({ verdict: 'cancelled', proof: { kind: 'cgroup-empty', bytesLeft: 0 } });
    expect(await host.runtime.exists(containerName(spec))).toBe(false);
  });

  test.each([0, 40, 120, 200, 280, 360])('after a cancel %i ms into its start', async (ms) => {
    const abort = new AbortController();
    const spec = pythonSpec(host, SLEEP, { signal: abort.signal });
    const running = host.python().run(spec);
    await sleep(ms);
    abort.abort();
    expect((await running).verdict).toBe('cancelled');
    expect(await host.runtime.exists(containerName(spec))).toBe(false);
  });

  test('a cancel before it began starts nothing', async () => {
    const outcome = await host.python().run(pythonSpec(host, SLEEP, { signal: AbortSignal.abort() }));
    expect(outcome).toMatchObject({ verdict: 'cancelled', proof: { kind: 'never-started' } });
  });
});

describe('the higher token wins', () => {
  test('an earlier attempt is removed before the next one starts', async () => {
    const { onEvent, said } = whenSaid('up');
    const first = host.python().run(pythonSpec(host, SLEEP, { onEvent, token: 9 }));
    await said;
    const second = await host.python().run(pythonSpec(host, 'say("done")', { token: 10 }));
    expect(second.verdict).toBe('ok');
    expect((await first).verdict).not.toBe('ok');
  });

  test('an attempt that finds a later one stands back', async () => {
    const { onEvent, said } = whenSaid('up');
    const abort = new AbortController();
    const later = host.python().run(pythonSpec(host, SLEEP, { onEvent, token: 10, signal: abort.signal }));
    await said;
    await expect(host.python().run(pythonSpec(host, 'say("done")', { token: 9 }))).rejects.toMatchObject({
      code: 'LeaseLost',
    });
    abort.abort();
    await later;
  });

  test('other steps and other runs are left alone', async () => {
    const { onEvent, said } = whenSaid('up');
    const abort = new AbortController();
    const other = host.python().run(pythonSpec(host, SLEEP, { onEvent, step: 'other', signal: abort.signal }));
    await said;
    await host.python().run(pythonSpec(host, 'say("done")', { token: 2 }));
    await host.python().run(pythonSpec(host, 'say("done")', { token: 2, step: 'other', run: 'run-2' }));
    expect(await host.runtime.listByLabels({ 'spillway.pool': host.pool, 'spillway.step': 'other' })).toMatchObject([
      { running: true },
    ]);
    abort.abort();
    expect((await other).verdict).toBe('cancelled');
  });
});

describe('what a dead worker left', () => {
  test('is found by its lease, removed with its group, and only it', async () => {
    const leaseId = 'run-9/step#0';
    const starts = [leaseId, 'run-9/step#1'].map((id, index) => {
      const { onEvent, said } = whenSaid('up');
      const spec = pythonSpec(host, SLEEP, { onEvent, leaseId: id, step: `s${index}` });
      return { ending: host.python().run(spec), said };
    });
    await Promise.all(starts.map(({ said }) => said));
    expect(await host.runtime.removeByLabels({ 'spillway.lease': leaseId })).toHaveLength(1);
    expect(await host.runtime.listByLabels({ 'spillway.pool': host.pool })).toHaveLength(1);
    expect(await host.runtime.removeByLabels({ 'spillway.run': 'run-1' })).toHaveLength(1);
    for (const { ending } of starts) expect((await ending).verdict).not.toBe('ok');
  });

  test.each(['the next attempt', 'whoever looks after it'])(
    'a process that the runtime knows nothing of is ended by %s',
    async (who) => {
      const pool = await host.cgroups.makePool(host.pool, 1_000_000_000);
      const attempt = { run: 'run-1', step: 'step', token: 1 };
      const group = await host.cgroups.makeStep(pool, containerName(attempt), 100_000_000);
      const orphan = execa('sleep', ['60'], { reject: false });
      await host.cgroups.addProcess(group, orphan.pid!);
      if (who === 'the next attempt') {
        const { run, step, token } = attempt;
        expect(await host.python().run(pythonSpec(host, 'say("done")', { run, step, token: token + 1 }))).toMatchObject({ verdict: 'ok' }); // prettier-ignore
      } else await host.runtime.removeGroups(host.pool, attempt);
      expect((await orphan).signal).toBe('SIGKILL');
    },
  );

  test('a process that outlives the container in its group is ended before its bytes are said to be free', async () => {
    const { onEvent, said } = whenSaid('up');
    const spec = pythonSpec(host, 'say("up")\ntime.sleep(2)\nsay("done")', { onEvent });
    const running = host.python().run(spec);
    await said;
    const pool = await host.cgroups.makePool(host.pool, POOL_LIMIT_BYTES);
    const orphan = execa('sleep', ['60'], { reject: false });
    await host.cgroups.addProcess(`${pool}/${containerName(spec)}`, orphan.pid!);
    expect(await running).toMatchObject({ verdict: 'ok', proof: { kind: 'cgroup-empty', bytesLeft: 0 } });
    expect((await orphan).signal).toBe('SIGKILL');
  });

  test('an empty group goes once it is old enough', async () => {
    const pool = await host.cgroups.makePool(host.pool, 1_000_000_000);
    const name = containerName({ run: 'gone', step: 's', token: 1 });
    await host.cgroups.makeStep(pool, name, 100_000_000);
    expect(await host.runtime.removeEmptyGroups(host.pool, 60_000)).toEqual([]);
    expect(await host.runtime.removeEmptyGroups(host.pool, 0)).toEqual([name]);
  });
});

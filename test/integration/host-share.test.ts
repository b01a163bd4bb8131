import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Connection } from '@temporalio/client';
import { Exit } from '../../src/cli/exit.ts';
import { describeOverlap, heavyIntervals } from './stack-heavy.ts';
import { smallJob } from './stack-jobs.ts';
import { root, Stack } from './stack.ts';
import { eventually } from './stack-waiting.ts';
import type { WorkerOptions } from './stack-worker.ts';
import { freePort } from '../../src/provision/ports.ts';

const NOBODY = 65_534;
/** `setpriv` is part of util-linux. */
const AS_NOBODY = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'];
const asNobody = process.getuid?.() === 0 && readByOthers(root);

/** Whether every folder down to this one lets everybody in. */
function readByOthers(folder: string): boolean {
  return (statSync(folder).mode & 0o005) === 0o005 && (folder === dirname(folder) || readByOthers(dirname(folder)));
}

let stack: Stack;
let away: string;
let foreign: { address: string; server: ChildProcess };
beforeAll(async () => {
  away = mkdtempSync(join(tmpdir(), 'spillway-host-share-'));
  chmodSync(away, 0o755);
  stack = await Stack.open('host-share');
  [foreign] = await Promise.all([foreignTemporal(), stack.worker()]);
}, 600_000);
afterEach(() => stack?.clean(), 90_000);
afterAll(async () => {
  await stack?.close();
  rmSync(away, { recursive: true, force: true });
  if (!foreign) return;
  const ended = new Promise((resolve) => foreign.server.once('close', resolve));
  foreign.server.kill('SIGTERM');
  await ended;
}, 90_000);

/** A second Temporal server, in memory. */
async function foreignTemporal(): Promise<typeof foreign> {
  const address = `127.0.0.1:${await freePort([], new Set())}`;
  const port = address.split(':')[1]!;
  const args = ['server', 'start-dev', '--headless', '--ip', '127.0.0.1', '--port', port, '--log-level', 'error'];
  const server = spawn(stack.parts.temporal.cli!, args, { stdio: 'ignore', env: stack.env });
  await eventually(async () => {
    await (await Connection.connect({ address, connectTimeout: '1s' })).close();
    return true;
  });
  return { address, server };
}

describe('a second pool over the same memory', () => {
  /** A directory of nobody's, with a configuration. */
  const elsewhere = (): string => {
    const directory = join(away, 'elsewhere');
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, 'spillway.config.json'), '{}');
    chownSync(directory, asNobody ? NOBODY : process.getuid!(), -1);
    return directory;
  };
  const another = (): WorkerOptions => ({
    cwd: elsewhere(),
    flags: [
      '--pool-name',
      'another',
      '--home',
      join(elsewhere(), 'home'),
      '--temporal-address',
      stack.parts.temporal.address,
    ],
  });
  test.each<[string, () => WorkerOptions]>([
    ['on another Temporal server', () => ({ flags: ['--temporal-address', foreign.address] })],
    ['of another name, from another directory', another],
    // The other user has to be able to read this checkout; where that is not so, this is the case above once more.
    ['of another name, from another user', () => ({ ...another(), ...(asNobody ? { prefix: AS_NOBODY } : {}) })],
  ])(
    '%s is refused, with who lends it and the ways out',
    async (_title, options) => {
      const [first] = stack.workers;
      const refused = stack.spawnWorker(options());
      expect(await refused.ended).toEqual({ exit: Exit.BAD_INPUT, signal: null });
      expect(refused.log.trim().split('\n')).toHaveLength(1);
      expect(refused.log).toMatch(/^spillway: This host's memory is already lent: /);
      for (const part of [
        `pool ${stack.pool} on Temporal ${stack.parts.temporal.address}`,
        `process ${first!.pid} of uid ${process.getuid?.()} in ${stack.directory}`,
        'Join that pool',
        'stop its workers first',
        'pool.hostLock',
      ]) {
        expect(refused.log).toContain(part);
      }
    },
    60_000,
  );
});

describe('a second process of the same pool', () => {
  test('joins and leaves the heavy steps to the first; when that dies it takes them over', async () => {
    const [first] = stack.workers;
    const second = await stack.worker();
    expect(second.log).toContain(`joined pool ${stack.pool}: process ${first!.pid} runs the heavy steps`);

    const sinceMs = Date.now();
    const both = await Promise.all(['left', 'right'].map((table) => stack.startJob(smallJob(stack, table))));
    await Promise.all(both.map((id) => stack.result(id)));
    for (const id of both) expect(await heavyRunners(id)).toEqual([first!.pid, first!.pid]);
    const intervals = await eventually(async () => {
      const found = await heavyIntervals(stack, sinceMs);
      return found.length >= 4 ? found : undefined;
    });
    expect(describeOverlap(intervals)).toEqual([]);

    await first!.kill();
    await second.says('this one takes its place');
    const after = await stack.startJob(smallJob(stack, 'after'));
    await stack.result(after);
    expect(await heavyRunners(after)).toEqual([second.pid, second.pid]);
  }, 180_000);
});

test('a worker takes the place of one that was killed in a pool that has no room for both', async () => {
  const tight = await Stack.open('host-share-tight', { pool: { limit: '5 GiB' }, worker: { baseline: '1.5 GiB' } });
  try {
    const first = await tight.worker();
    const { leases, lendableBytes } = await tight.status();
    const { bytes } = leases.find(({ leaseId }) => leaseId.includes(`/worker-${first.pid}-`))!;
    expect(lendableBytes).toBeLessThan(bytes);
    await first.kill();
    const second = await tight.worker(); // waits until it polls
    expect(second.log).toContain('waits for its standing charge');
    await tight.clean();
  } finally {
    await tight.close();
  }
}, 180_000);

/** Processes that ran the heavy steps of a run. */
async function heavyRunners(workflowId: string): Promise<number[]> {
  const { events } = await stack.client.workflow.getHandle(workflowId).fetchHistory();
  const heavy = new Set(
    (events ?? [])
      .filter(({ activityTaskScheduledEventAttributes: of }) => of?.taskQueue?.name === `${stack.pool}.heavy`)
      .map(({ eventId }) => String(eventId)),
  );
  return (events ?? []).flatMap(({ activityTaskStartedEventAttributes: started }) =>
    started && heavy.has(String(started.scheduledEventId)) ? [Number(started.identity?.split('@')[0])] : [],
  );
}

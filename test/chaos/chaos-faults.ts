import { execa } from 'execa';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { poolWorkflowId } from '../../src/contracts/pool.ts';
import { isAlive, readProcessId } from '../../src/host/process-id.ts';
import { bringUp } from '../../src/provision/bring-up.ts';
import { cacheDir, hostHardware, sharedHome } from '../integration/provision-home.ts';
import type { Stack } from '../integration/stack.ts';
import { eventually } from '../integration/stack-waiting.ts';
import type { Fault } from './chaos-plan.ts';

/** What a fault needs is waited for this long: no container may run just now. Then the fault is none. */
const TARGET_WITHIN_MS = 20_000;

/** What came of a fault: what it was done to, or that nothing was there to do it to. */
export type Struck = { done: string } | { missed: string };

/** Does one fault. `runs` are the workflow ids of the seed's runs, undefined before they start. */
export async function strike(stack: Stack, fault: Fault, runs: readonly (string | undefined)[]): Promise<Struck> {
  switch (fault.kind) {
    case 'kill worker': {
      const [worker] = stack.workers;
      if (!worker) return { missed: 'no worker' };
      await worker.kill();
      await stack.worker();
      return { done: `worker ${worker.pid}` };
    }
    case 'stop worker': {
      const [worker] = stack.workers;
      if (!worker) return { missed: 'no worker' };
      worker.signal('SIGTERM');
      await stack.worker();
      return { done: `worker ${worker.pid}` };
    }
    case 'second worker':
      return { done: `worker ${(await stack.worker()).pid}` };
    case 'worker of another hour': {
      const [worker] = stack.workers;
      const hour = (worker?.pid ?? 0) % 2 === 0 ? '+1h' : '-1h';
      await worker?.kill();
      return { done: `worker ${(await stack.worker({ env: { ...stack.env, ...anotherHour(hour) } })).pid} of ${hour}` };
    }
    case 'kill container':
      return strikeFound('container', () => running(stack), (name) => execa(stack.parts.image.runtime, ['kill', name], { reject: false })); // prettier-ignore
    case 'kill command line':
      return strikeFound('command line', async () => commandLines(stack), async (pid) => void process.kill(Number(pid), 'SIGKILL')); // prettier-ignore
    case 'end backend':
      return strikeFound(
        'session',
        async () =>
          (await stack.sql<{ pid: number }>(`select pid from pg_stat_activity where application_name like 'spillway/%'`)).map(({ pid }) => String(pid)), // prettier-ignore
        (pid) => stack.sql('select pg_terminate_backend($1)', [Number(pid)]),
      );
    case 'terminate pool':
      return strikeRun(stack, 'terminate', poolWorkflowId(stack.pool));
    case 'restart Temporal': {
      const { pid } = stack.parts.temporal;
      const server = readProcessId(currentTemporal ?? pid!);
      if (!server) return { missed: 'no server' };
      process.kill(server.pid, 'SIGKILL');
      await eventually(async () => !isAlive(server) || undefined, { what: 'the end of Temporal' });
      const parts = await bringUp({
        ...{ home: sharedHome, cacheDir, hardware: hostHardware(), systemPackages: false, env: process.env },
        ...{ only: ['temporal'], report: () => undefined },
      });
      currentTemporal = parts.temporal?.pid;
      if (parts.temporal?.address !== stack.parts.temporal.address)
        throw new Error(
          `Temporal came back at ${parts.temporal?.address ?? 'no address'}, not at ${stack.parts.temporal.address}`,
        );
      return { done: `server ${server.pid}` };
    }
    case 'cancel':
    case 'terminate':
    case 'reset':
      return strikeRun(stack, fault.kind, runs[fault.run]);
    case 'reset activity':
      return strikeFound('activity', () => pendingActivities(stack, runs[fault.run]), resetActivity(stack));
  }
}

/** A restarted server has another process than the one that the stack found. */
let currentTemporal: number | undefined;

const FAKETIME = ['x86_64', 'aarch64'].map((arch) => `/usr/lib/${arch}-linux-gnu/faketime/libfaketime.so.1`);

/** Finds libfaketime, or installs it where that can be done. */
export async function provideFaketime(): Promise<void> {
  if (FAKETIME.some((path) => existsSync(path))) return;
  for (const args of [['update'], ['install', '--yes', '--no-install-recommends', 'libfaketime']])
    await execa('apt-get', args, { env: { DEBIAN_FRONTEND: 'noninteractive' }, timeout: 300_000 });
}

/** Environment of a process whose clock is wrong; its monotonic clock, and the host's, are right. */
function anotherHour(by: '+1h' | '-1h'): Record<string, string> {
  const library = FAKETIME.find((path) => existsSync(path));
  if (library === undefined) throw new Error('libfaketime is missing: sudo apt-get install libfaketime');
  return { LD_PRELOAD: library, FAKETIME: by, FAKETIME_DONT_FAKE_MONOTONIC: '1', DONT_FAKE_MONOTONIC: '1' };
}

async function strikeFound(
  what: string,
  find: () => Promise<string[]>,
  act: (found: string) => Promise<unknown>,
): Promise<Struck> {
  // prettier-ignore
  const found = await eventually(async () => (await find())[0], { withinMs: TARGET_WITHIN_MS, what }).catch(() => undefined); // prettier-ignore
  if (found === undefined) return { missed: `no ${what}` };
  await act(found);
  return { done: `${what} ${found}` };
}

async function running(stack: Stack): Promise<string[]> {
  const filter = ['--filter', `label=spillway.pool=${stack.pool}`, '--filter', 'status=running'];
  const { stdout } = await execa(stack.parts.image.runtime, ['ps', ...filter, '--format', '{{.Names}}']);
  return stdout.split('\n').filter(Boolean);
}

/** Processes of the container runtime's command line that a worker of this stack waits for. */
function commandLines(stack: Stack): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      return words[0]!.endsWith(stack.parts.image.runtime) && words.includes(`spillway.pool=${stack.pool}`);
    } catch {
      return false; // ended while we looked
    }
  });
}

const MORE = { cancel: [], terminate: ['--reason', 'chaos'], reset: ['--type', 'FirstWorkflowTask', '--reason', 'chaos'] } as const; // prettier-ignore

async function strikeRun(stack: Stack, command: keyof typeof MORE, workflowId: string | undefined): Promise<Struck> {
  if (workflowId === undefined) return { missed: 'it has not started' };
  const ran = await stack.temporal(command, ['--workflow-id', workflowId, ...MORE[command]]);
  return ran.exit === 0 ? { done: workflowId } : { missed: ran.stderr.trim().split('\n').at(-1)!.slice(0, 200) };
}

/** Of a run that may not have started yet: `<workflow id> <activity id>`. */
async function pendingActivities(stack: Stack, workflowId: string | undefined): Promise<string[]> {
  if (workflowId === undefined) return [];
  const { pending } = await stack.describe(workflowId).catch(() => ({ pending: [] }));
  return pending.map(({ activityId }) => `${workflowId} ${activityId}`);
}

/** One that has ended meanwhile is told as missed. */
const resetActivity =
  (stack: Stack) =>
  async (found: string): Promise<void> => {
    const { cli, address, namespace } = stack.parts.temporal;
    const [workflowId, activityId] = found.split(' ') as [string, string];
    const args = ['activity', 'reset', '--workflow-id', workflowId, '--activity-id', activityId];
    await execa(cli!, [...args, '--address', address, '--namespace', namespace]);
  };

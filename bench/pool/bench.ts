import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import protocol from '@temporalio/proto';
import type { Ask } from '../../src/contracts/pool.ts';
import { poolWorkflowId, TaskQueue } from '../../src/contracts/pool.ts';
import { ownProcessId } from '../../src/host/process-id.ts';
import { PINS } from '../../src/provision/pins.ts';
import { noUsage } from '../../activities/leased.ts';
import type { Bench } from '../bench.ts';
import { figureOf } from '../figures.ts';
import { percentile } from '../statistics.ts';
import { openStage, PLAIN_QUEUE, type Stage } from './stage.ts';
import { LEASE_BYTES, POOL, type StepJob } from './step-plan.ts';

/** A step's body where many runs compete, in milliseconds. */
const WORK_MS = 10;

interface Chain {
  p50: number;
  p95: number;
  /** Events of the run's history, for each step. */
  events: number;
}

interface Crowd {
  seconds: number;
  done: number;
}

/** What a lease costs a step, message by message; and many runs at once where only ten fit. */
export const poolBench: Bench = async (order) => {
  const { rounds, quick, signal, say } = order;
  const steps = quick ? 10 : 100;
  const crowdSize = quick ? 20 : 500;
  const stage = await openStage(order);
  try {
    const job = { steps, weight: 'heavy', workMs: 0 } as const;
    const variants = {
      plain: () => chain(stage, steps, 'plainSteps', { steps, taskQueue: PLAIN_QUEUE, workMs: 0 }),
      unleased: () => chain(stage, steps, 'runnerSteps', { ...job, charge: 'allowance' } satisfies StepJob),
      leased: () => chain(stage, steps, 'runnerSteps', { ...job, charge: 'lease' } satisfies StepJob),
    };
    for (const run of Object.values(variants)) await run(); // warms isolates and connections up
    const chains: Record<keyof typeof variants, Chain[]> = { plain: [], unleased: [], leased: [] };
    const messages = { acquire: [] as number[], begin: [] as number[], endAlone: [] as number[] };
    const poolEvents: number[] = [];
    const crowds: { ours: Crowd[]; theirs: Crowd[] } = { ours: [], theirs: [] };
    const left: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      for (const name of ['plain', 'unleased', 'leased'] as const) {
        signal.throwIfAborted();
        stage.pool.taken();
        const before = await poolMark(stage);
        chains[name].push(await variants[name]());
        if (name !== 'leased') continue;
        const { acquire, begin } = stage.pool.taken();
        messages.acquire.push(percentile(acquire, 0.5));
        messages.begin.push(percentile(begin, 0.5));
        poolEvents.push((await eventsSince(stage, before)) / steps);
      }
      messages.endAlone.push(await endsAlone(stage, quick ? 5 : 50, round));
      const job = { steps: 1, weight: 'light', workMs: WORK_MS } as const;
      crowds.theirs.push(
        await crowd(stage, crowdSize, 'runnerSteps', { ...job, charge: 'allowance' } satisfies StepJob),
      );
      crowds.ours.push(await crowd(stage, crowdSize, 'runnerSteps', { ...job, charge: 'lease' } satisfies StepJob));
      left.push(await leftOver(stage));
      say(
        `round ${round + 1} of ${rounds}: ${JSON.stringify({ plain: chains.plain.at(-1), unleased: chains.unleased.at(-1), leased: chains.leased.at(-1), crowds: { ours: crowds.ours.at(-1), theirs: crowds.theirs.at(-1) } })}`,
      );
    }
    const runs = await poolRuns(stage);
    for (const [what, times] of runs.failures) say(`${times} workflow tasks of the pool failed: ${what}`);
    for (const [name, times] of runs.signals) say(`${times} messages to the pool came as signals: ${name}`);
    const of = (name: keyof typeof variants, key: keyof Chain): number[] => chains[name].map((one) => one[key]);
    const minus = (a: number[], b: number[]): number[] => a.map((value, round) => value - b[round]!);
    const same = 'the same steps by the same runner, without leases';
    const plain = 'the same steps as plain Temporal code';
    return {
      versions: { temporalServer: stage.serverVersion, temporalCli: PINS.temporalCli },
      figures: [
        figureOf({ name: 'step p50', unit: 'ms', ours: of('leased', 'p50'), against: plain, theirs: of('plain', 'p50') }),
        figureOf({ name: 'step p95', unit: 'ms', ours: of('leased', 'p95'), against: plain, theirs: of('plain', 'p95') }),
        figureOf({ name: 'lease overhead per step p50', unit: 'ms', ours: minus(of('leased', 'p50'), of('unleased', 'p50')), goal: { of: 'ours', atMost: 25 } }),
        figureOf({ name: 'lease overhead per step p95', unit: 'ms', ours: minus(of('leased', 'p95'), of('unleased', 'p95')), goal: { of: 'ours', atMost: 40 } }),
        figureOf({ name: 'overhead over plain Temporal p50', unit: 'ms', ours: minus(of('leased', 'p50'), of('plain', 'p50')), goal: { of: 'ours', atMost: 25 } }),
        figureOf({ name: 'acquire with the riding end p50', unit: 'ms', ours: messages.acquire }),
        figureOf({ name: 'begin p50', unit: 'ms', ours: messages.begin }),
        figureOf({ name: 'end sent alone p50', unit: 'ms', ours: messages.endAlone }),
        figureOf({ name: 'events per step in the run', unit: 'events', ours: of('leased', 'events'), against: same, theirs: of('unleased', 'events') }),
        figureOf({ name: 'events per step in the pool', unit: 'events', ours: poolEvents, goal: { of: 'ours', atMost: 12 } }),
        figureOf({ name: `${crowdSize} runs at once, 10 fit`, unit: 's', ours: crowds.ours.map((one) => one.seconds), against: 'the same runs without leases, all at once', theirs: crowds.theirs.map((one) => one.seconds) }),
        figureOf({ name: 'leases per second', unit: '1/s', ours: crowds.ours.map((one) => one.done / one.seconds) }),
        figureOf({ name: 'runs lost', unit: 'runs', ours: crowds.ours.map((one) => crowdSize - one.done), goal: { of: 'ours', atMost: 0 } }),
        figureOf({ name: 'events of the longest run of the pool', unit: 'events', ours: [runs.mostEvents], goal: { of: 'ours', atMost: 10_000 } }),
        figureOf({ name: 'workflow tasks of the pool that failed', unit: 'tasks', ours: [[...runs.failures.values()].reduce((sum, times) => sum + times, 0)], goal: { of: 'ours', atMost: 0 } }),
        figureOf({ name: 'leases and asks left', unit: 'leases', ours: left, goal: { of: 'ours', atMost: 0 } }),
      ],
    }; // prettier-ignore
  } finally {
    await stage.close();
  }
};

let serial = 0;
const nextId = (type: string): string => `${type}-${(serial += 1)}`;

/** Runs steps one after the other. A step's time is the distance of its activity's start to the next one's. */
async function chain({ client, starts }: Stage, steps: number, type: string, input: unknown): Promise<Chain> {
  const workflowId = nextId(type);
  const handle = await client.workflow.start(type, { workflowId, taskQueue: TaskQueue.WORKFLOWS, args: [input] });
  await handle.result();
  const at = starts.get(workflowId) ?? [];
  if (at.length !== steps) throw new Error(`${workflowId}: ${at.length} steps ran instead of ${steps}`);
  const gaps = at.slice(1).map((value, index) => value - at[index]!);
  const { historyLength } = await handle.describe();
  return { p50: percentile(gaps, 0.5), p95: percentile(gaps, 0.95), events: historyLength / steps };
}

/** Starts many runs at once and waits for all. */
async function crowd({ client }: Stage, size: number, type: string, input: unknown): Promise<Crowd> {
  const began = performance.now();
  const ends = await Promise.allSettled(
    Array.from({ length: size }, () =>
      client.workflow.execute(type, { workflowId: nextId(type), taskQueue: TaskQueue.WORKFLOWS, args: [input] }),
    ),
  );
  for (const end of ends) if (end.status === 'rejected') console.error('a run was lost:', end.reason);
  return {
    seconds: (performance.now() - began) / 1000,
    done: ends.filter(({ status }) => status === 'fulfilled').length,
  };
}

/** Median time of an end that rides on nothing: acquired and begun by this very process. */
async function endsAlone({ pool }: Stage, count: number, round: number): Promise<number> {
  const process = ownProcessId();
  pool.taken();
  for (let index = 0; index < count; index += 1) {
    const leaseId = `alone-${round}/${index}#0`;
    const holder: Ask['holder'] = { host: 'bench', process };
    const ask: Ask = {
      leaseId,
      kind: 'work',
      weight: 'light',
      bytes: LEASE_BYTES,
      scratchBytes: 0,
      priority: 3,
      holder,
      step: 'alone',
    };
    // A pool that is about to continue as a new run grants once it has.
    while ((await pool.acquire(POOL, ask)).kind === 'queued') await sleep(100);
    const begun = await pool.begin(POOL, { leaseId, runId: 'none', host: 'bench', process });
    if (begun === 'stale') throw new Error(`${leaseId} was stale right after it was granted`);
    const proof = { kind: 'exited', atMs: Date.now(), bytesLeft: 0 } as const;
    await pool.end(POOL, [{ leaseId, token: begun.token, proof, keep: [], used: noUsage(0, 'ok') }]);
  }
  return percentile(pool.taken().end, 0.5);
}

/** Where the pool's history stands. */
interface Mark {
  runId: string;
  events: number;
}

async function poolMark({ client }: Stage): Promise<Mark> {
  const found = await client.workflow.getHandle(poolWorkflowId(POOL)).describe();
  return { runId: found.runId, events: found.historyLength };
}

/** Events of the pool since a mark, through all runs that it continued as meanwhile. */
async function eventsSince({ client }: Stage, mark: Mark): Promise<number> {
  let count = -mark.events;
  for (let runId: string | null | undefined = mark.runId; runId;) {
    const { events } = await client.workflow.getHandle(poolWorkflowId(POOL), runId).fetchHistory();
    count += events!.length;
    runId = events!.at(-1)?.workflowExecutionContinuedAsNewEventAttributes?.newExecutionRunId;
  }
  return count;
}

/** All runs of the pool's workflow: the longest history, and workflow tasks that failed. */
async function poolRuns({
  client,
}: Stage): Promise<{ mostEvents: number; failures: Map<string, number>; signals: Map<string, number> }> {
  let mostEvents = 0;
  const signals = new Map<string, number>();
  const failures = new Map<string, number>();
  for await (const { runId } of client.workflow.list({ query: `WorkflowId = '${poolWorkflowId(POOL)}'` })) {
    const { events } = await client.workflow.getHandle(poolWorkflowId(POOL), runId).fetchHistory();
    mostEvents = Math.max(mostEvents, events!.length);
    for (const {
      workflowTaskFailedEventAttributes: failed,
      workflowExecutionSignaledEventAttributes: came,
    } of events!) {
      const signal = came?.signalName;
      if (signal) signals.set(signal, (signals.get(signal) ?? 0) + 1);
      if (!failed) continue;
      const what = `${protocol.temporal.api.enums.v1.WorkflowTaskFailedCause[failed.cause ?? 0]}: ${failed.failure?.message ?? ''}`;
      failures.set(what, (failures.get(what) ?? 0) + 1);
    }
  }
  return { mostEvents, failures, signals };
}

/** Leases and asks that the pool still knows when everybody has gone. */
async function leftOver({ pool }: Stage): Promise<number> {
  const status = await pool.status(POOL);
  if (!status) throw new Error('the pool does not answer');
  return status.leases.length + status.queue.length;
}

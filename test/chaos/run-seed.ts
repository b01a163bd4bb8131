import { setTimeout as sleep } from 'node:timers/promises';
import { WorkflowFailedError } from '@temporalio/client';
import { memoryRootOf } from '../../src/host/tmpfs.ts';
import { formatBytes, MiB } from '../../src/policy/sizes.ts';
import type { Stack } from '../integration/stack.ts';
import { eventually } from '../integration/stack-waiting.ts';
import { strike, type Struck } from './chaos-faults.ts';
import { brokenFolders, digest, jobOf, prepare, wantedDigest } from './chaos-jobs.ts';
import type { ChaosPlan, Fault, JobKind } from './chaos-plan.ts';
import { brokenReplays } from './replays.ts';
import { watchGroups, type Watched } from './group-watch.ts';

/** What one seed came to; appended to the results of a long run. */
export interface SeedResult {
  seed: number;
  runs: { kind: JobKind; ended: string }[];
  faults: { fault: Fault['kind']; struck: Struck }[];
  /** From the end of the last run until nothing was left. */
  settledSeconds: number;
  watched?: Watched;
  /** Rules that were broken; empty when all held. */
  broken: string[];
}

/** Longest that runs may take with all that is done to them: heartbeats, retries and a restart of the server. */
const RUNS_WITHIN_MS = 240_000;
/** Held by a pool's group beyond what its steps were lent: conmon and what the kernel counts there. */
const BEYOND_BYTES = 64 * MiB;

/** Plays a plan against real parts and names every rule that was broken. A worker is up before and after. */
export async function runSeed(stack: Stack, plan: ChaosPlan): Promise<SeedResult> {
  if (stack.workers.length === 0) await stack.worker();
  await Promise.all(stack.workers.slice(1).map((worker) => worker.end())); // each takes its charge: what can be lent would shrink from seed to seed
  await eventually(
    async () =>
      (await stack.status()).leases.filter(({ leaseId }) => leaseId.includes('/worker-')).length === 1 || undefined,
    { what: 'the end of other workers' },
  );
  // A pool that was terminated at the end of the seed before knows no limits until the worker has announced them.
  const { limitBytes, lendableBytes } = await eventually(async () => {
    const status = await stack.status();
    return status.limitBytes > 0 ? status : undefined;
  });
  const tables = plan.jobs.map((_, at) => `seed_${plan.seed}_${at}`);
  const kinds = plan.jobs.map(({ kind }) => kind);
  await Promise.all(kinds.map((kind, at) => prepare(stack, kind, tables[at]!)));
  const wanted = await Promise.all(kinds.map((kind) => wantedDigest(stack, kind)));

  const watch = await watchGroups(stack.pool, await memoryRootOf(stack.parts.scratch), (group) =>
    /-(counted|paired|counts)-/.test(group),
  );
  const ids: (string | undefined)[] = plan.jobs.map(() => undefined);
  const starting = plan.jobs.map(async ({ kind, afterMs }, at) => {
    await sleep(afterMs);
    ids[at] = await eventually(() => stack.startJob(jobOf(stack, kind, tables[at]!), `${stack.pool}-${tables[at]!}`), { what: 'a start' }); // prettier-ignore
  });
  const began = Date.now();
  const faults: SeedResult['faults'] = [];
  for (const { fault, afterMs } of plan.faults) {
    await sleep(Math.max(0, began + afterMs - Date.now()));
    faults.push({ fault: fault.kind, struck: await strike(stack, fault, ids) });
  }
  await Promise.all(starting);
  if (stack.workers.length === 0) await stack.worker();

  const broken: string[] = [];
  const ended = await Promise.all(ids.map((id) => endOf(stack, id!)));
  const mayEnd = (at: number): boolean => plan.faults.some(({ fault }) => 'run' in fault && fault.run === at && (fault.kind === 'cancel' || fault.kind === 'terminate')); // prettier-ignore
  for (const [at, end] of ended.entries())
    if (end !== 'completed' && !(mayEnd(at) && /cancelled|terminated/.test(end))) broken.push(`${tables[at]!} (${kinds[at]!}) ${end}`); // prettier-ignore

  const settling = Date.now();
  await stack.clean().catch((error: Error) => broken.push(error.message));
  const settledSeconds = (Date.now() - settling) / 1000;
  for (const [at, kind] of kinds.entries()) {
    const found = await digest(stack, kind, tables[at]!);
    const whole = found === wanted[at];
    if (ended[at] === 'completed' ? !whole : found !== undefined && !whole)
      broken.push(`${tables[at]!} (${kind}, ${ended[at]!}) holds ${found ?? 'nothing'}, not ${wanted[at]!}`);
    broken.push(...(await brokenFolders(stack, kind, tables[at]!, ended[at] === 'completed')));
    await stack.sql(`drop table if exists ${stack.schema}.${tables[at]!}`);
  }
  const watched = await watch?.stop();
  if (watched) broken.push(...brokenBy(watched, { limitBytes, lendableBytes }));
  // A workflow task may fail where a worker had an old state in its cache, and is made good by the next; what counts is that all replays.
  broken.push(...(await brokenReplays(stack, ids as string[])));
  return {
    ...{ seed: plan.seed, runs: kinds.map((kind, at) => ({ kind, ended: ended[at]! })), faults, settledSeconds },
    ...(watched && { watched }),
    broken,
  };
}

/** Connections break while the server restarts: asked again. */
async function endOf(stack: Stack, workflowId: string): Promise<string> {
  const until = Date.now() + RUNS_WITHIN_MS;
  return eventually(
    async () => {
      try {
        await stack.client.withDeadline(until, () => stack.result(workflowId));
        return 'completed';
      } catch (error) {
        if (error instanceof WorkflowFailedError) return reasonOf(error);
        throw error;
      }
    },
    { withinMs: RUNS_WITHIN_MS, everyMs: 1_000, what: `the end of ${workflowId}` },
  ).catch((error: Error) => `has not ended: ${error.message}`);
}

function reasonOf({ cause }: WorkflowFailedError): string {
  const name = cause?.name ?? '';
  if (name === 'CancelledFailure') return 'was cancelled';
  if (name === 'TerminatedFailure') return 'was terminated';
  return `failed: ${cause?.message ?? 'unknown'}`;
}

function brokenBy(
  watched: Watched,
  { limitBytes, lendableBytes }: { limitBytes: number; lendableBytes: number },
): string[] {
  // prettier-ignore
  const broken: string[] = [];
  if (watched.lentBytes > lendableBytes) broken.push(`steps were lent ${formatBytes(watched.lentBytes)} of ${formatBytes(lendableBytes)}`); // prettier-ignore
  if (watched.beyondBytes > BEYOND_BYTES) broken.push(`the pool's group held ${formatBytes(watched.beyondBytes)} more than its steps were lent`); // prettier-ignore
  if (watched.engines > 1) broken.push(`${watched.engines} heavy engines lived at one time`);
  if (watched.workerLooks === 0) broken.push('no worker was seen in the group of the pool');
  for (const limit of watched.poolLimits)
    if (limit !== limitBytes) broken.push(`the pool's group had a limit of ${limit} B, not ${limitBytes} B`);
  return broken;
}

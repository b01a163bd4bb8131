import { historyKey, type Holder, type LeaseStatus, type PoolStatus, type StepHistory } from '../../contracts/pool.ts';
import { formatBytes } from '../sizes.ts';
import { expectedSeconds } from '../step-history.ts';
import type { DataLease, Lease, PoolState } from './state.ts';
import { sums } from './sums.ts';
import { waitReason } from './admission.ts';

const workflowIdOf = (holder: Holder): { workflowId?: string } =>
  'workflowId' in holder ? { workflowId: holder.workflowId } : {};

/** The pool as people read it, with all who wait or the first of them. */
export function poolStatus(state: PoolState, waiters?: number): PoolStatus {
  const now = sums(state);
  const leases: LeaseStatus[] = Object.values(state.leases).map((lease) => ({
    leaseId: lease.leaseId,
    kind: lease.kind,
    step: lease.step,
    ...workflowIdOf(lease.holder),
    bytes: lease.bytes,
    scratchBytes: lease.scratchBytes,
    weight: lease.weight,
    state: lease.phase,
    ...(lease.token > 0 ? { token: lease.token } : {}),
    sinceMs: lease.sinceMs,
    ...expectedEnd(state, lease),
    because: lease.because,
  }));
  for (const data of Object.values(state.data)) {
    leases.push({
      leaseId: data.dataId,
      kind: 'data',
      step: data.step,
      ...workflowIdOf(data.holder),
      bytes: data.bytes,
      scratchBytes: data.scratchBytes,
      weight: 'light',
      state: 'kept',
      sinceMs: data.sinceMs,
      because: `kept by ${data.step}${movingOf(data)}${data.keptFrom === undefined && data.hopelessFrom === undefined ? '' : '; its engine was asked for them, and kept them'}`,
    });
  }
  return {
    pool: state.pool,
    limitBytes: state.limitBytes,
    standingBytes: now.standingBytes,
    lendableBytes: now.lendableBytes,
    lentBytes: now.lentBytes,
    freeBytes: now.freeBytes,
    scratchLimitBytes: state.scratchLimitBytes,
    scratchLentBytes: now.scratchLentBytes,
    heavyTaken: now.heavyTaken,
    hosts: state.host === undefined ? [] : [state.host],
    ...(state.paused && { paused: state.paused.because }),
    ...(state.targetBytes !== undefined && state.targetBytes < state.limitBytes && { targetBytes: state.targetBytes }),
    leases,
    queue: state.queue.slice(0, waiters).map((waiting, ahead) => ({
      leaseId: waiting.leaseId,
      kind: waiting.kind,
      step: waiting.step,
      ...workflowIdOf(waiting.holder),
      bytes: waiting.bytes,
      scratchBytes: waiting.scratchBytes,
      weight: waiting.weight,
      state: 'queued',
      sinceMs: waiting.askedAtMs,
      because: waitReason(state, waiting, now) ?? `${ahead} before it in the queue`,
    })),
    stats: { ...state.stats },
  };
}

function movingOf({ demotion, bytes }: DataLease): string {
  if (demotion === undefined || bytes === 0) return '';
  const how = demotion.phase === 'busy' ? 'stays in memory while it is read' : 'goes from memory to disk';
  return `; ${how}, as ${demotion.because}`;
}

function expectedEnd(state: PoolState, { history, phase, sinceMs }: Lease): { expectedEndMs?: number } {
  const known = history === undefined ? undefined : state.histories?.[history];
  const seconds = phase === 'begun' && known ? expectedSeconds(known) : undefined;
  return seconds === undefined ? {} : { expectedEndMs: Math.round(sinceMs + seconds * 1000) };
}

/** What is remembered of the steps of a pipeline, or of all. */
export const historiesOf = ({ histories = {} }: PoolState, pipeline?: string): Record<string, StepHistory> =>
  Object.fromEntries(
    Object.entries(histories).filter(([key]) => pipeline === undefined || key.startsWith(historyKey(pipeline, ''))),
  );

/** Lines of holders, and as many of waiters, that the details show. */
const LINES = 40;

/** The pool as a Markdown table, for the details tab of the Temporal UI. */
export function poolDetails(state: PoolState): string {
  const status = poolStatus(state, LINES);
  const row = (l: LeaseStatus): string =>
    `| ${cell(l.workflowId ?? '–')} | ${cell(l.step)} | ${l.kind} | ${l.weight} | ${formatBytes(l.bytes)} | ${l.state} | ${cell(l.because)} |`;
  const more = (count: number, which: string): string[] =>
    count > LINES ? ['', `… and ${count - LINES} more that ${which}`] : [];
  return [
    ...(status.paused === undefined ? [] : [`**Paused: ${cell(status.paused)}.**`, '']),
    `**${formatBytes(status.lentBytes)} lent** of ${formatBytes(status.lendableBytes)} that can be lent (limit ${formatBytes(status.limitBytes)}, standing ${formatBytes(status.standingBytes)}); scratch ${formatBytes(status.scratchLentBytes)} of ${formatBytes(status.scratchLimitBytes)}.`,
    '',
    '| workflow | step | kind | weight | bytes | state | because |',
    '|---|---|---|---|---|---|---|',
    ...status.leases.slice(0, LINES).map(row),
    ...status.queue.map(row),
    ...more(status.leases.length, 'hold'),
    ...more(state.queue.length, 'wait'),
  ].join('\n');
}

/** People choose workflow ids freely. */
const cell = (text: string): string => text.replace(/\s+/g, ' ').replaceAll('|', '\\|');

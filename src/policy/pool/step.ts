import { engineDataId, LeaseKind } from '../../contracts/pool.ts';
import type {
  Announce, AnnounceAnswer, Answer, Ask, Begin, BeginAnswer, Drop, End, Grow, GrowAnswer, Holder, Reconciled, Suspect, Withdraw,
} from '../../contracts/pool.ts'; // prettier-ignore
import { formatBytes } from '../sizes.ts';
import { enginesInTheWay, nextToServe, refusal, waitReason } from './admission.ts';
import type { Effect, Lease, PoolState, Waiting } from './state.ts';
import { sums } from './sums.ts';

/** Everything that can happen to a pool. */
export type PoolEvent =
  | { kind: 'acquire'; ask: Ask }
  | { kind: 'begin'; begin: Begin }
  | { kind: 'end'; end: End }
  | { kind: 'withdraw'; withdraw: Withdraw }
  | { kind: 'grow'; grow: Grow }
  | { kind: 'drop'; drop: Drop }
  | { kind: 'announce'; announce: Announce }
  | { kind: 'suspect'; suspect: Suspect }
  | { kind: 'reconciled'; reconciled: Reconciled }
  /** A grant could not be delivered: the holder is closed. */
  | { kind: 'undeliverable'; leaseId: string }
  /** The pool was opened again from an old ledger: grants whose signal may be lost are told again. */
  | { kind: 'revived' }
  /** The pool lives on in a new run: what was held back is served. */
  | { kind: 'continued' };

export interface Stepped<A = unknown> {
  state: PoolState;
  effects: Effect[];
  answer: A;
}

/** Answer type of each event that has one. */
export interface PoolAnswers {
  acquire: Answer;
  begin: BeginAnswer;
  grow: GrowAnswer;
  announce: AnnounceAnswer;
}

/** A holder that was looked after is left alone for this long, so that reports of several workers do not pile up. */
const LOOK_AGAIN_MS = 5_000;

/**
 * The pool's whole behaviour: one event, the next state, what to do and what to answer. Pure and total; time is an argument.
 * The state is not changed in place. With `hold` nothing is granted: the pool is about to continue as new, and a grant's signal would be lost.
 */
export function step(before: PoolState, event: PoolEvent, nowMs: number, options: { hold?: boolean } = {}): Stepped {
  const draft = structuredCopy(before);
  const effects: Effect[] = [];
  const answer = apply(draft, event, nowMs, effects);
  if (options.hold !== true) pump(draft, nowMs, effects, event.kind === 'acquire' ? event.ask.leaseId : undefined);
  const final = event.kind === 'acquire' ? answerFor(draft, event.ask, answer as Answer | undefined) : answer;
  return { state: draft, effects, answer: final };
}

/** JSON state: a round trip is a copy. */
const structuredCopy = (state: PoolState): PoolState => JSON.parse(JSON.stringify(state)) as PoolState;

function apply(draft: PoolState, event: PoolEvent, nowMs: number, effects: Effect[]): unknown {
  switch (event.kind) {
    case 'acquire':
      return acquire(draft, event.ask, nowMs);
    case 'begin':
      return begin(draft, event.begin, nowMs);
    case 'end':
      return end(draft, event.end, nowMs);
    case 'withdraw':
      return withdraw(draft, event.withdraw, nowMs, effects);
    case 'grow':
      return grow(draft, event.grow);
    case 'drop':
      return drop(draft, event.drop);
    case 'announce':
      return announce(draft, event.announce, nowMs, effects);
    case 'suspect':
      return suspect(draft, event.suspect, nowMs, effects);
    case 'reconciled':
      return reconciled(draft, event.reconciled);
    case 'revived':
      for (const lease of Object.values(draft.leases)) {
        if (lease.phase === 'granted') tellGrant(lease, lease.holder, effects);
      }
      return undefined;
    case 'continued':
      return undefined;
    case 'undeliverable': {
      const lease = draft.leases[event.leaseId];
      if (lease?.phase === 'granted') delete draft.leases[event.leaseId];
      return undefined;
    }
  }
}

function acquire(draft: PoolState, ask: Ask, nowMs: number): Answer | undefined {
  for (const returned of ask.returns ?? []) end(draft, returned, nowMs);
  const held = draft.leases[ask.leaseId];
  if (held) {
    held.holder = ask.holder; // a reset run takes over what its predecessor asked for
    if (held.phase === 'ending') held.phase = held.token > 0 ? 'begun' : 'granted';
    return { kind: 'granted', bytes: held.bytes, because: held.because };
  }
  const waiting = draft.queue.find((w) => w.leaseId === ask.leaseId);
  if (waiting) {
    waiting.holder = ask.holder;
    return undefined;
  }
  const because = refusal(draft, ask);
  if (because !== undefined) {
    draft.stats.refused += 1;
    return { kind: 'refused', because };
  }
  const entry: Waiting = {
    leaseId: ask.leaseId,
    kind: ask.kind,
    weight: ask.weight,
    bytes: ask.bytes,
    scratchBytes: ask.scratchBytes,
    priority: ask.priority,
    holder: ask.holder,
    step: ask.step,
    ...(ask.engine === undefined ? {} : { engine: ask.engine }),
    askedAtMs: nowMs,
    arrival: draft.arrivals++,
  };
  draft.queue.push(entry);
  draft.queue.sort((a, b) => a.priority - b.priority || a.arrival - b.arrival);
  return undefined;
}

/** Serves the queue while somebody can go. The asker of this very event learns it by the answer, the others by signal. */
function pump(draft: PoolState, nowMs: number, effects: Effect[], askerId: string | undefined): void {
  refuseTheImpossible(draft, effects, askerId);
  for (;;) {
    const { index, because } = nextToServe(draft);
    if (index < 0) break;
    const [served] = draft.queue.splice(index, 1) as [Waiting];
    const { priority: _priority, askedAtMs: _asked, arrival: _arrival, ...rest } = served;
    const lease: Lease = { ...rest, phase: 'granted', token: 0, sinceMs: nowMs, because };
    if (served.engine !== undefined) delete draft.data[engineDataId(served.engine)];
    draft.leases[served.leaseId] = lease;
    draft.stats.granted += 1;
    if (served.leaseId !== askerId) tellGrant(lease, served.holder, effects);
  }
  draft.stats.maxQueue = Math.max(draft.stats.maxQueue, draft.queue.length);
  for (const engine of enginesInTheWay(draft)) effects.push({ kind: 'evict', engine });
}

/** Processes ask again by themselves; workflows are told. */
function tellGrant(lease: Lease, holder: Holder, effects: Effect[]): void {
  if (!('workflowId' in holder)) return;
  const message = { leaseId: lease.leaseId, bytes: lease.bytes, because: lease.because };
  effects.push({ kind: 'grant', workflowId: holder.workflowId, runId: holder.runId, message });
}

/** Asks taken before the limits were known, or before they shrank, may turn out impossible. */
function refuseTheImpossible(draft: PoolState, effects: Effect[], askerId: string | undefined): void {
  draft.queue = draft.queue.filter((waiting) => {
    if (waiting.leaseId === askerId) return true;
    const because = refusal(draft, waiting);
    if (because === undefined) return true;
    draft.stats.refused += 1;
    if ('workflowId' in waiting.holder) {
      const { workflowId, runId } = waiting.holder;
      effects.push({ kind: 'refuse', workflowId, runId, message: { leaseId: waiting.leaseId, because } });
    }
    return false;
  });
}

function answerFor(state: PoolState, ask: Ask, early: Answer | undefined): Answer {
  if (early) return early;
  const lease = state.leases[ask.leaseId];
  if (lease) return { kind: 'granted', bytes: lease.bytes, because: lease.because };
  const ahead = state.queue.findIndex((w) => w.leaseId === ask.leaseId);
  const because = waitReason(state, ask) ?? `${ahead} before it in the queue`;
  return { kind: 'queued', ahead, because };
}

function begin(draft: PoolState, request: Begin, nowMs: number): BeginAnswer {
  const lease = draft.leases[request.leaseId];
  const otherRun = lease && 'runId' in lease.holder && lease.holder.runId !== request.runId;
  if (!lease || lease.phase === 'ending' || otherRun) {
    draft.stats.stale += 1;
    return 'stale';
  }
  // Tokens follow the clock, so that they rise even over a pool whose ledger was lost, and compare with those of steps without a lease.
  lease.token = Math.max(draft.nextToken, nowMs);
  draft.nextToken = lease.token + 1;
  lease.phase = 'begun';
  lease.begun = { host: request.host, process: request.process };
  return { token: lease.token };
}

function end(draft: PoolState, request: End, nowMs: number): void {
  const lease = draft.leases[request.leaseId];
  if (!lease || request.token !== lease.token) return; // ended before, or a later attempt has it
  release(draft, lease, request.proof.bytesLeft, request.keep, nowMs);
  draft.stats.ended += 1;
}

function release(draft: PoolState, lease: Lease, bytesLeft: number, keep: End['keep'], nowMs: number): void {
  delete draft.leases[lease.leaseId];
  let bytes = lease.bytes;
  let scratchBytes = lease.scratchBytes;
  for (const kept of keep) {
    // Never more than was lent: a writer that kept more is charged for all it had, and the rest stays its own fault.
    const data = { bytes: Math.min(kept.bytes, bytes), scratchBytes: Math.min(kept.scratchBytes, scratchBytes) };
    bytes -= data.bytes;
    scratchBytes -= data.scratchBytes;
    draft.data[kept.dataId] = { dataId: kept.dataId, ...data, step: lease.step, holder: lease.holder, sinceMs: nowMs };
  }
  const stuck = Math.min(bytesLeft, bytes);
  if (stuck > 0) {
    const dataId = lease.engine === undefined ? `left:${lease.leaseId}` : engineDataId(lease.engine);
    draft.data[dataId] = { dataId, bytes: stuck, scratchBytes: 0, step: lease.step, holder: lease.holder, sinceMs: nowMs };
  }
}

function withdraw(draft: PoolState, request: Withdraw, nowMs: number, effects: Effect[]): void {
  draft.queue = draft.queue.filter((w) => w.leaseId !== request.leaseId);
  const lease = draft.leases[request.leaseId];
  if (!lease) return;
  if (lease.token === 0) {
    delete draft.leases[request.leaseId];
    return;
  }
  lease.phase = 'ending';
  lookAfter(lease, nowMs, effects, draft.pool);
}

function grow(draft: PoolState, request: Grow): GrowAnswer {
  const lease = draft.leases[request.leaseId];
  if (!lease || lease.token !== request.token || lease.phase !== 'begun') {
    return { kind: 'refused', because: 'this attempt does not hold the lease any more' };
  }
  const { freeBytes, scratchFreeBytes } = sums(draft);
  const more = request.bytes - lease.bytes;
  const moreScratch = request.scratchBytes - lease.scratchBytes;
  if (more > freeBytes || moreScratch > scratchFreeBytes) {
    return {
      kind: 'refused',
      because: `${formatBytes(more)} more asked, ${formatBytes(freeBytes)} free; scratch ${formatBytes(moreScratch)} more, ${formatBytes(scratchFreeBytes)} free`,
    };
  }
  lease.bytes = request.bytes;
  lease.scratchBytes = request.scratchBytes;
  return { kind: 'granted', bytes: lease.bytes, because: 'it was free' };
}

function drop(draft: PoolState, request: Drop): void {
  const data = draft.data[request.dataId];
  if (!data) return;
  if (request.proof.bytesLeft === 0) delete draft.data[request.dataId];
  else data.bytes = Math.min(data.bytes, request.proof.bytesLeft);
}

function announce(draft: PoolState, said: Announce, nowMs: number, effects: Effect[]): AnnounceAnswer {
  if (draft.host !== undefined && draft.host !== said.host && Object.keys(draft.leases).length > 0) {
    return {
      kind: 'refused',
      because: `pool ${draft.pool} lends the memory of host ${draft.host}, which still holds leases; name another pool for host ${said.host}, or stop the workers there first`,
    };
  }
  draft.host = said.host;
  draft.limitBytes = said.limitBytes;
  draft.scratchLimitBytes = said.scratchLimitBytes;
  for (const found of said.evidence.alive) {
    if (draft.leases[found.leaseId]) continue;
    // Evidence wins: what is alive on the host is held, whatever the ledger says, until a look proves otherwise.
    const lease: Lease = {
      leaseId: found.leaseId,
      kind: LeaseKind.WORK,
      weight: 'heavy',
      bytes: found.bytes,
      scratchBytes: 0,
      holder: { host: said.host, process: { pid: 0, startedAt: 0 } },
      step: found.leaseId,
      phase: 'ending',
      token: found.token,
      sinceMs: nowMs,
      because: 'found alive on the host',
    };
    draft.leases[found.leaseId] = lease;
    draft.nextToken = Math.max(draft.nextToken, found.token + 1);
    lookAfter(lease, nowMs, effects, draft.pool);
  }
  return { kind: 'accepted' };
}

function suspect(draft: PoolState, said: Suspect, nowMs: number, effects: Effect[]): void {
  const lease = draft.leases[said.leaseId] ?? leaseOfQueued(draft, said.leaseId);
  if (lease) lookAfter(lease, nowMs, effects, draft.pool);
}

/** A queued ask of a closed holder is looked after like a lease that was never begun. */
function leaseOfQueued(draft: PoolState, leaseId: string): Lease | undefined {
  const waiting = draft.queue.find((w) => w.leaseId === leaseId);
  return waiting && { ...waiting, phase: 'granted', token: 0, sinceMs: waiting.askedAtMs, because: 'queued' };
}

function lookAfter(lease: Lease, nowMs: number, effects: Effect[], pool: string): void {
  if (lease.lookedAtMs !== undefined && nowMs - lease.lookedAtMs < LOOK_AGAIN_MS) return;
  lease.lookedAtMs = nowMs;
  effects.push({
    kind: 'reconcile',
    request: {
      pool,
      leaseId: lease.leaseId,
      token: lease.token,
      step: lease.step,
      withdrawn: lease.phase === 'ending',
      holder: lease.holder,
      ...(lease.begun ? { begun: lease.begun } : {}),
    },
  });
}

function reconciled(draft: PoolState, report: Reconciled): void {
  draft.queue = draft.queue.filter((w) => w.leaseId !== report.leaseId || report.token !== 0);
  const lease = draft.leases[report.leaseId];
  if (!lease || lease.token !== report.token) return; // begun again meanwhile: the report is void
  if (report.proof.bytesLeft > 0) {
    lease.bytes = Math.min(lease.bytes, report.proof.bytesLeft);
    return;
  }
  delete draft.leases[report.leaseId];
  draft.stats.reconciled += 1;
}

import type { Operate, OperateAnswer } from '../../contracts/pool.ts';
import { formatBoth, formatBytes } from '../sizes.ts';
import { MOST_HISTORIES, withHistory } from '../step-history.ts';
import { lookAfter, tellRefusal } from './effects.ts';
import { giveBack } from './release.ts';
import type { Effect, PoolState } from './state.ts';
import { sums } from './sums.ts';

/** Does what an operator says, or says why not. */
export function operate(draft: PoolState, said: Operate, nowMs: number, effects: Effect[]): OperateAnswer {
  switch (said.act) {
    case 'pause':
      draft.paused ??= { because: said.because, sinceMs: nowMs };
      return done(`nothing is granted until it is resumed; ${formatBytes(sums(draft).lentBytes)} are lent`);
    case 'resume':
      if (!draft.paused) return done('it was not paused');
      delete draft.paused;
      return done('grants go on');
    case 'resize':
      return resize(draft, said.limitBytes);
    case 'kick':
      return kick(draft, said, nowMs, effects);
    case 'pin':
      return pin(draft, said, nowMs);
    case 'forget':
      return forget(draft, said.history);
  }
}

const done = (because: string): OperateAnswer => ({ kind: 'done', because });
const refused = (because: string): OperateAnswer => ({ kind: 'refused', because });

function resize(draft: PoolState, limitBytes: number): OperateAnswer {
  const { announcedBytes, host } = draft;
  const { standingBytes } = sums(draft);
  if (announcedBytes === undefined || draft.limitBytes === 0) return refused('no host has announced its limits yet. Start a worker.'); // prettier-ignore
  if (!Number.isSafeInteger(limitBytes) || limitBytes <= standingBytes) {
    const got = Number.isSafeInteger(limitBytes) ? formatBytes(limitBytes) : `${limitBytes} B`;
    return refused(`the limit must be more than the standing charges of ${formatBytes(standingBytes)}, got ${got}. Stop workers first, or ask for more.`); // prettier-ignore
  }
  if (limitBytes > announcedBytes) {
    const [asked, most] = formatBoth(limitBytes, announcedBytes);
    return refused(`the limit must be at most ${most}, which host ${host} announced, got ${asked}. Raise pool.limit there, and start its workers anew.`); // prettier-ignore
  }
  if (limitBytes === announcedBytes) delete draft.targetBytes;
  else draft.targetBytes = limitBytes;
  draft.limitBytes = Math.max(draft.limitBytes, limitBytes);
  fitLimit(draft);
  const [now, target] = formatBoth(draft.limitBytes, limitBytes);
  return done(draft.limitBytes === limitBytes ? `the limit is ${now}` : `the limit is ${now}, and falls to ${target} as leases end`); // prettier-ignore
}

/** Lets the limit fall towards its target, never below what is taken: that was lent within it. */
export function fitLimit(draft: PoolState): void {
  if (draft.targetBytes === undefined || draft.limitBytes <= draft.targetBytes) return;
  const { standingBytes, lentBytes } = sums(draft);
  draft.limitBytes = Math.max(draft.targetBytes, Math.min(draft.limitBytes, standingBytes + lentBytes));
}

/** Steps that may be pinned: pins outlive other histories, and the state stays small. */
const MOST_PINS = 100;

function pin(draft: PoolState, { history, bytes }: Extract<Operate, { act: 'pin' }>, nowMs: number): OperateAnswer {
  const histories = draft.histories ?? {};
  const { lendableBytes } = sums(draft);
  if (!Number.isSafeInteger(bytes) || bytes <= 0) return refused(`bytes must be a whole number above 0, got ${bytes}. Give a size such as 6GB.`); // prettier-ignore
  if (draft.limitBytes > 0 && bytes > lendableBytes) {
    const [asked, most] = formatBoth(bytes, lendableBytes);
    return refused(`a step can be pinned to at most ${most}, which pool ${draft.pool} can lend, got ${asked}. Pin it to less.`); // prettier-ignore
  }
  const pins = Object.entries(histories).filter(([name, { pinnedBytes }]) => name !== history && pinnedBytes !== undefined); // prettier-ignore
  if (pins.length >= MOST_PINS) return refused(`${MOST_PINS} steps are pinned already, such as ${pins[0]![0]}. Forget one first.`); // prettier-ignore
  const pinned = { ...(histories[history] ?? { runs: [] }), pinnedBytes: bytes, lastMs: nowMs };
  draft.histories = withHistory(histories, history, pinned, MOST_HISTORIES);
  return done(`the next run of ${history} starts with ${formatBytes(bytes)}`);
}

function forget(draft: PoolState, history: string): OperateAnswer {
  const { [history]: known, ...others } = draft.histories ?? {};
  if (!known) return refused(`pool ${draft.pool} remembers nothing of ${history}. Look with \`spillway pool --estimates\`.`); // prettier-ignore
  draft.histories = others;
  return done(`the next run of ${history} starts as if it were the first`);
}

function kick(
  draft: PoolState,
  { leaseId, because }: Extract<Operate, { act: 'kick' }>,
  nowMs: number,
  effects: Effect[],
): OperateAnswer {
  const index = draft.queue.findIndex((waiting) => waiting.leaseId === leaseId);
  if (index >= 0) {
    const [waiting] = draft.queue.splice(index, 1);
    draft.stats.refused += 1;
    tellRefusal(waiting!, `taken out of the queue by an operator: ${because}`, effects);
    return done('taken out of the queue; its step fails');
  }
  const lease = draft.leases[leaseId];
  if (!lease) {
    return draft.data[leaseId]
      ? refused('it is data, which goes with its run. Terminate that run.')
      : refused(`pool ${draft.pool} knows no lease of that name. Look with \`spillway pool\`.`);
  }
  if (lease.kind === 'standing') {
    delete lease.lookedAtMs;
    lookAfter(lease, nowMs, effects, draft.pool);
    return done('it is a standing charge: it is freed if its process is gone');
  }
  if (lease.token === 0 && lease.phase === 'granted') {
    giveBack(draft, lease);
    return done('nobody had begun on it; it is free, and its holder asks anew');
  }
  delete lease.lookedAtMs; // an earlier look was about a holder that still wanted it
  lease.phase = 'ending';
  lease.because = `taken back by an operator: ${because}`;
  lookAfter(lease, nowMs, effects, draft.pool);
  return done('what carries it is ended; its bytes come back once that is seen gone');
}

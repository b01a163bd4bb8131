import {
  allHandlersFinished,
  ApplicationFailure,
  condition,
  continueAsNew,
  defineQuery,
  defineSignal,
  defineUpdate,
  getExternalWorkflowHandle,
  log,
  patched,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import { engineDataId, INVALID_MESSAGE, PoolMessage, TaskQueue } from '../src/contracts/pool.ts';
import type {
  Announce,
  AnnounceAnswer,
  Answer,
  Ask,
  Begin,
  BeginAnswer,
  Demoted,
  Drop,
  End,
  Granted,
  Grow,
  GrowAnswer,
  Operate,
  OperateAnswer,
  PoolStatus,
  Refused,
  Said,
  SaidAnswer,
  StepHistory,
  Suspect,
  Withdraw,
} from '../src/contracts/pool.ts';
import type { ControlActivities } from '../src/contracts/steps.ts';
import { type MessageName, messageProblem } from '../src/policy/pool/message-shapes.ts';
import type { Effect, PoolState } from '../src/policy/pool/state.ts';
import { emptyPool } from '../src/policy/pool/state.ts';
import { historiesOf, poolDetails, poolStatus } from '../src/policy/pool/status.ts';
import type { PoolAnswers, PoolEvent } from '../src/policy/pool/step.ts';
import { NEWEST_POLICY, policyOf } from '../src/policy/pool/versions.ts';

export interface MemoryPoolInput {
  pool: string;
  /** Carried over continue-as-new; absent when the pool opens. */
  state?: PoolState;
  /** Continue as new after this many history events instead of when the server suggests it; for tests of that moment. */
  continueAfterEvents?: number;
  /** In the place of {@link CONTINUE_IDLE_AFTER_EVENTS}; for tests of that moment. Nothing is held back for it, unlike at the server's suggestion. */
  continueIdleAfterEvents?: number;
}

/**
 * History of a pool that is left behind at the first idle moment: some fifty steps. Whoever takes a pool over replays it, at 0.4 to 0.8 ms an event (measured
 * on two cores), and nothing is lent until then.
 */
const CONTINUE_IDLE_AFTER_EVENTS = 1_000;

/** A run that lived less than five seconds is continued by the server only when they are over. */
const SHORTEST_RUN_MS = 6_000;

const messages = {
  acquire: defineUpdate<Answer, [Ask]>(PoolMessage.ACQUIRE),
  acquireSignal: defineSignal<[Ask]>(PoolMessage.ACQUIRE),
  begin: defineUpdate<BeginAnswer, [Begin]>(PoolMessage.BEGIN),
  end: defineUpdate<void, [End[]]>(PoolMessage.END),
  endSignal: defineSignal<[End[]]>(PoolMessage.END),
  withdraw: defineUpdate<void, [Withdraw[]]>(PoolMessage.WITHDRAW),
  withdrawSignal: defineSignal<[Withdraw[]]>(PoolMessage.WITHDRAW),
  grow: defineUpdate<GrowAnswer, [Grow]>(PoolMessage.GROW),
  drop: defineUpdate<void, [Drop[]]>(PoolMessage.DROP),
  dropSignal: defineSignal<[Drop | Drop[]]>(PoolMessage.DROP),
  several: defineUpdate<SaidAnswer[], [Said[]]>(PoolMessage.SEVERAL),
  announce: defineUpdate<AnnounceAnswer, [Announce]>(PoolMessage.ANNOUNCE),
  suspect: defineSignal<[Suspect]>(PoolMessage.SUSPECT),
  operate: defineUpdate<OperateAnswer, [Operate]>(PoolMessage.OPERATE),
  status: defineQuery<PoolStatus>(PoolMessage.STATUS),
  histories: defineQuery<Record<string, StepHistory>, [string?]>(PoolMessage.HISTORIES),
  ledger: defineQuery<PoolState>(PoolMessage.LEDGER),
};

const shortControlAct = {
  startToCloseTimeout: '60 seconds',
  scheduleToCloseTimeout: '90 seconds',
  retry: { maximumAttempts: 2 },
} as const;
/** Rows are copied to disk: as long as that goes on, it is said every few seconds. Nothing is granted that needs their bytes meanwhile. */
const demotionAct = {
  startToCloseTimeout: '1 hour',
  heartbeatTimeout: '30 seconds',
  scheduleToCloseTimeout: '1 hour',
  retry: { maximumAttempts: 3 },
} as const;
/** A worker has to be up before the ledger can be read: waits for one as long as it takes. */
const recoveryAct = { startToCloseTimeout: '60 seconds' } as const;

/** Keeps an update that is not well formed out of the pool and of its history; whoever sent it is told. */
const wellFormed = (name: MessageName) => (message: unknown) => {
  const problem = messageProblem(name, message);
  if (problem !== undefined) throw ApplicationFailure.nonRetryable(problem, INVALID_MESSAGE);
};

/** The durable ledger of one host's memory. All decisions are `src/policy/pool`; this file feeds it events and does what it says. */
export async function memoryPool(input: MemoryPoolInput): Promise<void> {
  // Pools that an earlier release opened go on by its policy until they continue as new, also when their history is replayed.
  const policyVersion = input.state !== undefined || patched('policy 3') ? NEWEST_POLICY : patched('policy 2') ? 2 : 1;
  let state: PoolState = input.state ?? emptyPool(input.pool, policyVersion);
  let opened = input.state !== undefined;
  let changed = false;
  let outbound = 0;

  const wanted = (): boolean =>
    input.continueAfterEvents === undefined
      ? workflowInfo().continueAsNewSuggested
      : workflowInfo().historyLength >= input.continueAfterEvents;

  /** Long enough to be continued, with nothing under way. */
  const ripe = (): boolean =>
    workflowInfo().historyLength >= (input.continueIdleAfterEvents ?? CONTINUE_IDLE_AFTER_EVENTS) &&
    Date.now() - workflowInfo().runStartTime.getTime() >= SHORTEST_RUN_MS &&
    outbound === 0;

  const control = proxyActivities<ControlActivities>({ ...shortControlAct, taskQueue: TaskQueue.control(input.pool) });
  const demotion = proxyActivities<ControlActivities>({ ...demotionAct, taskQueue: TaskQueue.control(input.pool) });
  const recovery = proxyActivities<ControlActivities>({ ...recoveryAct, taskQueue: TaskQueue.control(input.pool) });

  function feed<K extends PoolEvent['kind']>(
    event: PoolEvent & { kind: K },
  ): K extends keyof PoolAnswers ? PoolAnswers[K] : undefined {
    const stepped = policyOf(state)(state, event, Date.now(), { hold: wanted() });
    state = stepped.state;
    changed = true;
    for (const effect of stepped.effects) perform(effect);
    return stepped.answer as K extends keyof PoolAnswers ? PoolAnswers[K] : undefined;
  }

  function perform(effect: Effect): void {
    outbound += 1;
    void carryOut(effect)
      .catch((error: unknown) => log.warn('pool: an effect failed', { effect: effect.kind, error: String(error) }))
      .finally(() => {
        outbound -= 1;
        changed = true;
      });
  }

  async function carryOut(effect: Effect): Promise<void> {
    switch (effect.kind) {
      case 'grant':
        try {
          await getExternalWorkflowHandle(effect.workflowId, effect.runId).signal<[Granted]>(
            PoolMessage.GRANTED,
            effect.message,
          );
        } catch {
          feed({ kind: 'undeliverable', leaseId: effect.message.leaseId, runId: effect.runId });
        }
        return;
      case 'refuse':
        await getExternalWorkflowHandle(effect.workflowId, effect.runId)
          .signal<[Refused]>(PoolMessage.REFUSED, effect.message)
          .catch(() => undefined); // a closed holder needs no answer
        return;
      case 'reconcile': {
        const answer = await control.reconcile(effect.request);
        if (answer.kind === 'holder-alive') return;
        const { leaseId, token, holder } = effect.request;
        feed({
          kind: 'reconciled',
          reconciled: { leaseId, token, holder, proof: answer.proof, because: answer.because },
        });
        return;
      }
      case 'evict': {
        const proof = await control.evictEngine({ pool: input.pool, engine: effect.engine });
        feed({ kind: 'drop', drop: { dataId: engineDataId(effect.engine), proof } });
        return;
      }
      case 'demote': {
        const { dataId, token } = effect.request;
        const demoted = await demotion.demoteRows(effect.request).catch((error: unknown): Demoted => {
          return { dataId, token, outcome: 'failed', scratchBytes: 0, because: String(error) };
        });
        feed({ kind: 'demoted', demoted });
        return;
      }
    }
  }

  /** While a revived pool reads its last ledger, messages wait: an answer without it could lend bytes that are held. */
  const whenOpen = async <T>(act: () => T): Promise<T> => {
    if (!opened) await condition(() => opened);
    return act();
  };

  /** A signal has nobody who could be told what is wrong with it: it is passed over, and the log says why. */
  async function whenWellFormed<T>(name: MessageName, message: T, act: (message: T) => void): Promise<void> {
    const problem = messageProblem(name, message);
    if (problem === undefined) return whenOpen(() => act(message));
    log.warn(`pool: a signal was passed over: ${problem}`);
  }

  setHandler(messages.acquire, (ask) => whenOpen(() => feed({ kind: 'acquire', ask })), {
    description: 'Ask for bytes.',
    validator: wellFormed('acquire'),
  });
  setHandler(messages.acquireSignal, (ask) => whenWellFormed('acquire', ask, grantBySignal));
  setHandler(messages.begin, (begin) => whenOpen(() => feed({ kind: 'begin', begin })), {
    description: 'An attempt starts.',
    validator: wellFormed('begin'),
  });
  setHandler(messages.end, (ends) => whenOpen(() => endAll(ends)), {
    description: 'Leases end, with proof.',
    validator: wellFormed('end'),
  });
  setHandler(messages.endSignal, (ends) => whenWellFormed('end', ends, endAll));
  setHandler(messages.withdraw, (withdraws) => whenOpen(() => withdrawAll(withdraws)), {
    description: 'Asks are taken back.',
    validator: wellFormed('withdraw'),
  });
  setHandler(messages.withdrawSignal, (withdraws) => whenWellFormed('withdraw', withdraws, withdrawAll));
  setHandler(messages.grow, (grow) => whenOpen(() => feed({ kind: 'grow', grow })), {
    description: 'A step wants more than it holds.',
    validator: wellFormed('grow'),
  });
  setHandler(messages.drop, (drops) => whenOpen(() => dropAll(drops)), {
    description: 'Data is gone, with proof.',
    validator: wellFormed('drop'),
  });
  setHandler(messages.dropSignal, (drops) => whenWellFormed('drop', [drops].flat(), dropAll));
  setHandler(messages.several, (all) => whenOpen(() => all.map(hear)), {
    description: 'Asks, begins, ends and more of many at once.',
    validator: wellFormed('several'),
  });
  setHandler(messages.announce, (said) => whenOpen(() => feed({ kind: 'announce', announce: said })), {
    description: 'A host states its limits.',
    validator: wellFormed('announce'),
  });
  setHandler(messages.suspect, (said) =>
    whenWellFormed('suspect', said, (suspect) => void feed({ kind: 'suspect', suspect })),
  );
  setHandler(messages.operate, (said) => whenOpen(() => feed({ kind: 'operate', operate: said })), {
    description: 'An operator says pause, resume, resize, kick, pin or forget.',
    validator: wellFormed('operate'),
  });
  setHandler(messages.status, () => poolStatus(state), { description: 'Who holds and who waits, in bytes.' });
  setHandler(messages.histories, (pipeline) => historiesOf(state, pipeline), {
    description: 'What steps used before, of all pipelines or of one.',
  });
  setHandler(messages.ledger, () => state, { description: 'The whole state, as it is carried over continue-as-new.' });

  function hear(said: Said): SaidAnswer {
    switch (said.kind) {
      case 'acquire':
        return feed(said);
      case 'begin':
        return feed(said);
      case 'end':
        endAll(said.ends);
        return null;
      case 'withdraw':
        withdrawAll(said.withdraws);
        return null;
      case 'drop':
        dropAll(said.drops);
        return null;
    }
  }
  function endAll(ends: End[]): void {
    for (const end of ends) feed({ kind: 'end', end });
  }
  function dropAll(drops: Drop[]): void {
    for (const drop of drops) feed({ kind: 'drop', drop });
  }
  function withdrawAll(withdraws: Withdraw[]): void {
    for (const withdraw of withdraws) feed({ kind: 'withdraw', withdraw });
  }
  /** An ask that came by signal has no reply: what the reply would have said goes as a signal too. */
  function grantBySignal(ask: Ask): void {
    const answer: Answer = feed({ kind: 'acquire', ask });
    if (!('workflowId' in ask.holder) || answer.kind === 'queued') return;
    const { workflowId, runId } = ask.holder;
    const { leaseId } = ask;
    if (answer.kind === 'granted') {
      perform({ kind: 'grant', workflowId, runId, message: { leaseId, bytes: answer.bytes, because: answer.because } });
    } else {
      perform({ kind: 'refuse', workflowId, runId, message: { leaseId, because: answer.because } });
    }
  }

  if (!opened) {
    const found = (await recovery.recoverLedger({ pool: input.pool, runId: workflowInfo().runId })) as PoolState | null;
    // Limits are announced anew: what a host can lend now is not known from what it could lend then.
    if (found) state = { ...found, limitBytes: 0, policyVersion };
    opened = true;
    feed({ kind: 'revived' });
  }
  feed({ kind: 'continued' });

  const renewed = (): Promise<never> =>
    continueAsNew<typeof memoryPool>({ ...input, state: { ...state, policyVersion: NEWEST_POLICY } });
  for (;;) {
    await condition(() => changed || (wanted() && outbound === 0));
    changed = false;
    setCurrentDetails(poolDetails(state));
    if (wanted()) {
      await condition(() => outbound === 0 && allHandlersFinished());
      await renewed();
    }
    // Asked at that moment alone: what an earlier release let grow past it stays as it was when it is replayed.
    if (!ripe()) continue;
    await condition(allHandlersFinished); // of the message that woke us
    if (ripe() && patched('continues when idle')) await renewed();
  }
}

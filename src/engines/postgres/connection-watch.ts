import { type PostgresDeps, Session } from './session.ts';
import { PROBE_BACKEND } from './sql.ts';

export interface ConnectionWatch {
  /** Aborts when the caller's signal does, and when a session will never be answered. */
  readonly signal: AbortSignal;
  /** Why it will not; undefined while nothing is known of that. */
  readonly lost: Error | undefined;
  /** Ends the watch. */
  stop(): void;
}

export interface WatchOptions {
  /** Sessions that are open now. */
  sessions(): readonly Session[];
  /** Name of the attempt's sessions; the connection that looks has one made of it. */
  application: string;
  signal: AbortSignal;
  /** Time between looks. @defaultValue 10 s */
  everyMs?: number | undefined;
}

const EVERY_MS = 10_000;
/** So often a backend is seen to wait for us, while we wait for it, before that is no accident of timing. */
const LOOKS = 3;

interface Suspect {
  owed: unknown;
  copied: number;
  looks: number;
}

/**
 * Looks after connections that may have gone dead without a word (a machine or a network between that vanished): a statement that the server owes an answer to
 * is asked after over another connection. Where its backend is gone, or waits for the client all the while, the answer was lost. Costs nothing while answers
 * come within `everyMs`. A server that cannot be asked is left to the operating system's own limits.
 */
export function watchConnections(deps: PostgresDeps, options: WatchOptions): ConnectionWatch {
  const dead = new AbortController();
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  let suspects = new Map<Session, Suspect>();

  const look = async (): Promise<void> => {
    const before = suspects;
    suspects = new Map();
    for (const session of options.sessions()) {
      const { owed } = session;
      const known = before.get(session);
      if (owed !== undefined) suspects.set(session, known?.owed === owed ? known : { owed, copied: -1, looks: 0 });
    }
    const asked = [...suspects].filter(([session, suspect]) => before.get(session) === suspect);
    if (asked.length === 0) return;
    const asking = await Session.open(deps, `${options.application.slice(0, 52)}/watch`);
    try {
      for (const [session, suspect] of asked) await ask(asking, session, suspect);
    } finally {
      await asking.close();
    }
  };
  const ask = async (asking: Session, session: Session, suspect: Suspect): Promise<void> => {
    const [seen] = await asking.query<{ waits: boolean | null; copied: number }>(PROBE_BACKEND, [session.pid, session.backendStart]); // prettier-ignore
    if (session.owed !== suspect.owed) return; // answered meanwhile
    const stands = seen === undefined || (seen.waits === true && seen.copied === suspect.copied);
    suspect.copied = seen?.copied ?? suspect.copied;
    suspect.looks = stands ? suspect.looks + 1 : 0;
    if (suspect.looks < LOOKS || stopped) return;
    const what = seen ? 'waits for us while we wait for it' : 'is gone';
    dead.abort(new Error(`it has gone dead: its backend ${session.pid} ${what}`));
  };
  const next = (): void => {
    timer = setTimeout(() => void look().catch(() => undefined).finally(() => stopped || next()), options.everyMs ?? EVERY_MS); // prettier-ignore
    timer.unref();
  };
  next();
  return {
    signal: AbortSignal.any([options.signal, dead.signal]),
    get lost() {
      return dead.signal.reason as Error | undefined;
    },
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}

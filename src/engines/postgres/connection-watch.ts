import { SpillwayError } from '../../contracts/errors.ts';
import { type PostgresDeps, Session } from './session.ts';
import { PROBE_BACKEND } from './sql.ts';

export interface ConnectionWatch {
  /** Ends the watch. */
  stop(): void;
}

export interface WatchOptions {
  /** Sessions that are open now. */
  sessions(): readonly Session[];
  /** Of the connection that looks. */
  application: string;
  /** Time between looks. */
  everyMs: number;
  /** Called once, when a session will never be answered. */
  onLost(error: SpillwayError): void;
}

/** So often a backend is seen to wait for us, while we wait for it, before that is no accident of timing. */
const LOOKS = 3;

/**
 * Looks after connections that may have gone dead without a word (a machine or a network between that vanished): a statement that the server owes an answer to
 * is asked after over another connection. Where its backend is gone, or waits for the client all the while, the answer was lost. Costs nothing while answers
 * come within `everyMs`. A server that cannot be asked is left to the operating system's own limits.
 */
export function watchConnections(deps: PostgresDeps, options: WatchOptions): ConnectionWatch {
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  let suspects = new Map<Session, { owed: unknown; copied: number; looks: number }>();
  const look = async (): Promise<void> => {
    const owing = options.sessions().filter((session) => session.owed !== undefined);
    const known = owing.filter((session) => suspects.get(session)?.owed === session.owed);
    const before = suspects;
    suspects = new Map(owing.map((session) => [session, before.get(session)?.owed === session.owed ? before.get(session)! : { owed: session.owed, copied: -1, looks: 0 }])); // prettier-ignore
    if (known.length === 0) return;
    const asking = await Session.open(deps, options.application);
    try {
      for (const session of known) {
        const suspect = suspects.get(session)!;
        const [seen] = await asking.query<{ waits: boolean | null; copied: number }>(PROBE_BACKEND, [session.pid, session.backendStart]); // prettier-ignore
        if (session.owed !== suspect.owed) continue; // answered meanwhile
        const stands = seen === undefined || (seen.waits === true && seen.copied === suspect.copied);
        suspect.copied = seen?.copied ?? suspect.copied;
        suspect.looks = stands ? suspect.looks + 1 : 0;
        if (suspect.looks < LOOKS || stopped) continue;
        const what = seen ? 'waits for us while we wait for it' : 'is gone';
        options.onLost(new SpillwayError('LoadInterrupted', `The connection to PostgreSQL has gone dead: its backend ${session.pid} ${what}. Nothing was published.`)); // prettier-ignore
        return;
      }
    } finally {
      await asking.close();
    }
  };
  const next = (): void => {
    timer = setTimeout(() => void look().catch(() => undefined).finally(() => stopped || next()), options.everyMs); // prettier-ignore
    timer.unref();
  };
  next();
  return {
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}

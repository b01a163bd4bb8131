import type { ArrowSource } from './arrow-source.ts';
import type { CopyEncoder } from './encoder.ts';
import type { LoadPhase, LoadPlan } from './load-plan.ts';
import type { Session } from './session.ts';

/** What a strategy works with. */
export interface LoadJob {
  session: Session;
  plan: LoadPlan;
  source: ArrowSource;
  /** Makes an encoder, for rows before which the dataset has so many. */
  encoder(rowsBefore: number): CopyEncoder;
  signal: AbortSignal;
  stallMs: number | undefined;
  /** Tells the phase, and rows and bytes while copying. */
  report(phase: LoadPhase, rows: number, bytes: number): void;
  /** Opens a connection of this attempt beside `session`, which closes with it; undefined where the server has none left. */
  assist(): Promise<Session | undefined>;
  /** Ends this job's backends from another connection. */
  terminate(): Promise<unknown>;
  /** Called when COMMIT of the publishing transaction is about to be sent. */
  committing(): void;
}

export interface LoadCounts {
  rows: number;
  bytes: number;
}

import type { SimulatedStep } from './scenario.ts';

/** A step of a run, asking. */
export interface SimulatedAsk {
  run: string;
  step: SimulatedStep;
}

/** What a lender says to somebody who asked: now, or whenever something comes free. */
export interface Told {
  ask: SimulatedAsk;
  kind: 'granted' | 'refused';
  because: string;
}

/** Rows in memory that go to disk, for somebody who cannot start otherwise. */
export interface Moving {
  run: string;
  bytes: number;
  /** They are on disk. */
  moved(nowMs: number): Told[];
}

/** Whoever decides when a step may start. Each call answers all who hear of it. */
export interface Lender {
  ask(ask: SimulatedAsk, nowMs: number): Told[];
  /** A step has ended; what it keeps stays lent. */
  end(ask: SimulatedAsk, nowMs: number): Told[];
  /** A run is over: what its steps kept goes, and nobody waits for it any more. */
  over(run: string, nowMs: number): Told[];
  /** What has to go to disk since it was asked last. @defaultValue nothing ever does */
  moving?(): Moving[];
}

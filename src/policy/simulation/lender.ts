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

/** Whoever decides when a step may start. Each call answers all who hear of it. */
export interface Lender {
  ask(ask: SimulatedAsk, nowMs: number): Told[];
  /** A step has ended; what it keeps stays lent. */
  end(ask: SimulatedAsk, nowMs: number): Told[];
  /** A run is over: what its steps kept goes, and nobody waits for it any more. */
  over(run: string, nowMs: number): Told[];
}

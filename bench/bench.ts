import type { ResolvedConfig } from '../src/config/resolved.ts';
import type { Figure } from './figures.ts';

/** What a bench is given. */
export interface BenchOrder {
  /** Configuration of the caller; benches use its home for downloads and below it a home of their own. */
  readonly config: ResolvedConfig;
  /** Rounds in which ours and the others take turns. */
  readonly rounds: number;
  /** Only prove that it runs: little data, no warm-up. Its figures say nothing. */
  readonly quick: boolean;
  /** Environment of the caller. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborted when the caller is told to end; benches then stop what they started. */
  readonly signal: AbortSignal;
  /** Tells what is going on, one line each. */
  readonly say: (line: string) => void;
}

/** What a bench answers. */
export interface BenchOutcome {
  readonly figures: Figure[];
  /** Part → version. */
  readonly versions: Record<string, string>;
}

/** Measures ours beside the alternatives, in turn, and leaves nothing running. */
export type Bench = (order: BenchOrder) => Promise<BenchOutcome>;

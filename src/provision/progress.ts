import type { PartName } from '../contracts/parts.ts';

/** One line of what `bringUp` is doing, for a terminal or a log. */
export interface Progress {
  readonly part: PartName | 'system';
  /**
   * `waiting`: another process brings up the same home; `fetching`, `starting`: takes a while; `kept`: ran already;
   * `ready`: answers; `failed`: see the text.
   */
  readonly what: 'waiting' | 'found' | 'fetching' | 'starting' | 'kept' | 'ready' | 'stopped' | 'failed';
  /** For people, one line. */
  readonly text: string;
}

/** Takes progress as it happens; must not throw. */
export type Report = (progress: Progress) => void;

import type { FailureCode } from '../contracts/errors.ts';

/** How often a step was tried again, by reason. */
export interface LadderState {
  rung: number;
  ceilingRetries: number;
  lostLeases: number;
}

export type LadderMove = { kind: 'again'; state: LadderState; because: string } | { kind: 'give-up' };

/** Somebody else passed what was lent to them: worth the same size again, but not for ever. */
const CEILING_BUDGET = 2;
/** A lease is lost to a dead worker or a reset; more often than this, something is wrong with the pool. */
const LOST_BUDGET = 5;

/** What a failed step does next: a larger rung, the same size again, or nothing more. */
export function afterFailure(state: LadderState, code: FailureCode, rungs: number): LadderMove {
  if (code === 'EngineExhausted' || code === 'OutOfMemoryOwn') {
    if (state.rung + 1 >= rungs) return { kind: 'give-up' };
    return { kind: 'again', state: { ...state, rung: state.rung + 1 }, because: 'ran out of memory' };
  }
  if (code === 'OutOfMemoryCeiling' && state.ceilingRetries < CEILING_BUDGET) {
    return {
      kind: 'again',
      state: { ...state, ceilingRetries: state.ceilingRetries + 1 },
      because: 'another step passed its lease',
    };
  }
  if (code === 'LeaseLost' && state.lostLeases < LOST_BUDGET) {
    return { kind: 'again', state: { ...state, lostLeases: state.lostLeases + 1 }, because: 'its lease was lost' };
  }
  return { kind: 'give-up' };
}

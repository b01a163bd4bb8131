import { describe, expect, test } from '@jest/globals';
import { FAILURE_RETRY, type FailureCode } from '../../../src/contracts/errors.ts';
import { afterFailure, type LadderMove, type LadderState } from '../../../src/policy/ladder.ts';

const start: LadderState = { rung: 0, ceilingRetries: 0, lostLeases: 0 };
const RUNGS = 4;

/** The moves after one failure of the same kind after the other, until none is left. */
function untilGivenUp(code: FailureCode): LadderState[] {
  const states: LadderState[] = [];
  for (let state = start; ;) {
    const move: LadderMove = afterFailure(state, code, RUNGS);
    if (move.kind === 'give-up') return states;
    expect(move.because).not.toBe('');
    states.push((state = move.state));
    expect(states.length).toBeLessThan(100);
  }
}

describe('what a failed step does next', () => {
  test.each<[string, FailureCode, LadderState[]]>([
    ['the engine ran out: every rung once', 'EngineExhausted', [1, 2, 3].map((rung) => ({ ...start, rung }))],
    ['its container ran out: every rung once', 'OutOfMemoryOwn', [1, 2, 3].map((rung) => ({ ...start, rung }))],
    [
      'somebody else passed its lease: the same size twice',
      'OutOfMemoryCeiling',
      [1, 2].map((ceilingRetries) => ({ ...start, ceilingRetries })),
    ],
    [
      'its lease was lost: the same size five times',
      'LeaseLost',
      [1, 2, 3, 4, 5].map((lostLeases) => ({ ...start, lostLeases })),
    ],
  ])('%s', (_title, code, states) => expect(untilGivenUp(code)).toEqual(states));

  const again: FailureCode[] = ['EngineExhausted', 'OutOfMemoryOwn', 'OutOfMemoryCeiling', 'LeaseLost'];
  const final = (Object.keys(FAILURE_RETRY) as FailureCode[]).filter((code) => !again.includes(code));
  test.each(final)('%s is no matter of size: nothing more', (code) => {
    expect(afterFailure(start, code, RUNGS)).toEqual({ kind: 'give-up' });
  });

  test('each budget is its own', () => {
    const tried: LadderState = { rung: 2, ceilingRetries: 2, lostLeases: 5 };
    expect(afterFailure(tried, 'OutOfMemoryOwn', RUNGS)).toEqual({
      kind: 'again',
      state: { ...tried, rung: 3 },
      because: 'ran out of memory',
    });
    expect(afterFailure({ ...tried, ceilingRetries: 0 }, 'OutOfMemoryCeiling', RUNGS)).toMatchObject({
      state: { rung: 2, ceilingRetries: 1 },
    });
    expect(afterFailure(tried, 'OutOfMemoryCeiling', RUNGS)).toEqual({ kind: 'give-up' });
  });
});

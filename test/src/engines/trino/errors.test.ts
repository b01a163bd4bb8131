import { describe, expect, test } from '@jest/globals';
import type { FailureCode, Verdict } from '../../../../src/contracts/errors.ts';
import { RULES_BY_NAME, SUPERSEDED, ruleFor } from '../../../../src/engines/trino/error-table.ts';
import { httpFailure, relocate, trinoDetails, trinoFailure } from '../../../../src/engines/trino/errors.ts';
import { nearestNames } from '../../../../src/engines/trino/explain-unknown-name.ts';

describe('verdicts', () => {
  test.each<[string, string, string, FailureCode, Verdict]>([
    ['SYNTAX_ERROR', 'USER_ERROR', 'x', 'SqlError', 'sql-error'],
    ['SOME_NEW_USER_ERROR', 'USER_ERROR', 'x', 'SqlError', 'sql-error'],
    ['EXCEEDED_LOCAL_MEMORY_LIMIT', 'INSUFFICIENT_RESOURCES', 'x', 'EngineExhausted', 'engine-exhausted'],
    ['EXCEEDED_GLOBAL_MEMORY_LIMIT', 'INSUFFICIENT_RESOURCES', 'x', 'EngineExhausted', 'engine-exhausted'],
    ['CLUSTER_OUT_OF_MEMORY', 'INSUFFICIENT_RESOURCES', 'x', 'EngineFailed', 'engine-error'],
    ['QUERY_QUEUE_FULL', 'INSUFFICIENT_RESOURCES', 'x', 'EngineFailed', 'engine-error'],
    ['EXCEEDED_TIME_LIMIT', 'INSUFFICIENT_RESOURCES', 'x', 'EngineRefused', 'timeout'],
    ['EXCEEDED_SPILL_LIMIT', 'INSUFFICIENT_RESOURCES', 'x', 'ScratchFull', 'scratch-full'],
    ['OUT_OF_SPILL_SPACE', 'INTERNAL_ERROR', 'x', 'ScratchFull', 'scratch-full'],
    ['HIVE_WRITER_DATA_ERROR', 'EXTERNAL', 'Error: No space left on device', 'ScratchFull', 'scratch-full'],
    ['HIVE_WRITER_DATA_ERROR', 'EXTERNAL', 'Error: broken', 'EngineFailed', 'engine-error'],
    ['REMOTE_TASK_ERROR', 'INTERNAL_ERROR', 'x', 'EngineFailed', 'engine-error'],
    ['COMPILER_ERROR', 'INTERNAL_ERROR', 'x', 'EngineRefused', 'engine-error'],
    ['ABANDONED_QUERY', 'USER_ERROR', 'x', 'EngineFailed', 'engine-error'],
    ['ADMINISTRATIVELY_KILLED', 'USER_ERROR', 'by an operator', 'EngineRefused', 'cancelled'],
    ['ADMINISTRATIVELY_KILLED', 'USER_ERROR', `${SUPERSEDED} (token 3)`, 'LeaseLost', 'cancelled'],
    ['NEVER_HEARD_OF', 'NOR_OF_THIS', 'x', 'EngineFailed', 'engine-error'],
  ])('%s (%s, "%s") is %s', (errorName, errorType, message, code, verdict) => {
    expect(ruleFor({ errorName, errorType, message })).toMatchObject({ code, verdict });
  });

  test('every row says what to do, without a full stop in front of what happened', () => {
    for (const rule of Object.values(RULES_BY_NAME)) expect(rule.advice).toMatch(/^[A-Z].*[^.]$/);
  });
});

describe('messages', () => {
  const syntax = {
    errorName: 'SYNTAX_ERROR',
    errorType: 'USER_ERROR',
    message: "line 3:7: mismatched\n input 'x'",
    errorLocation: { lineNumber: 3, columnNumber: 7 },
  };

  test('begin with what to do and say name, place and cause in one line', () => {
    expect(trinoFailure(syntax).message).toBe("Correct the statement: SYNTAX_ERROR at line 3:7: mismatched input 'x'");
  });

  test('take a position of the statement as written, and a hint', () => {
    const moved = relocate(trinoFailure(syntax), { line: 1, column: 2 }, ' (nearest: y)');
    expect(moved.message).toBe("Correct the statement: SYNTAX_ERROR at line 1:2: mismatched input 'x' (nearest: y)");
    expect(trinoDetails(moved)).toMatchObject({ position: { line: 1, column: 2 }, verdict: 'sql-error' });
  });

  test('name no place where the place is none of the user’s', () => {
    expect(relocate(trinoFailure(syntax), undefined).message).toBe(
      "Correct the statement: SYNTAX_ERROR: mismatched input 'x'",
    );
  });

  test('stay short', () =>
    expect(trinoFailure({ ...syntax, message: 'x'.repeat(5000) }).message.length).toBeLessThan(700));
});

describe('answers that are no replies', () => {
  const endpoint = { url: 'http://trino:8080', user: 'ann' };
  test.each<[string, number, string, string | undefined, FailureCode, string]>([
    [
      'a prepared statement that does not parse',
      400,
      'Error 400 Bad Request: Invalid X-Trino-Prepared-Statement header: line 2:3: mismatched',
      undefined,
      'SqlError',
      'at line 2:3',
    ],
    ['a wrong password', 401, '', undefined, 'EngineRefused', 'answered 401 to user ann'],
    ['a query the server forgot', 410, '', 'q1', 'EngineFailed', 'no longer knows query q1'],
    [
      'something else at that port',
      200,
      '<html>',
      undefined,
      'EngineFailed',
      'Check that http://trino:8080 is a Trino',
    ],
  ])('%s', (_title, status, text, queryId, code, says) => {
    const error = httpFailure(endpoint, { status, text }, queryId);
    expect(error.code).toBe(code);
    expect(error.message).toContain(says);
  });
});

test('the nearest few names come best first, and far ones not at all', () => {
  expect(nearestNames('lineitm', ['orders', 'lineitem', 'lineitem2', 'line', 'region'])).toEqual([
    'lineitem',
    'lineitem2',
  ]);
});

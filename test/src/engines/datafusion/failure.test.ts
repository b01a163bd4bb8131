import { expect, test } from '@jest/globals';
import { FAILURE_RETRY, Verdict, type FailureCode } from '../../../../src/contracts/errors.ts';
import type { ContainerEvent, ContainerOutcome } from '../../../../src/engines/container/container-port.ts';
import { failureOf } from '../../../../src/engines/datafusion/failure.ts';
import { GiB, MiB } from '../../../../src/policy/sizes.ts';

const used = {
  peakBytes: 900 * MiB,
  scratchPeakBytes: 0,
  inputBytes: 0,
  outputBytes: 0,
  rows: 0,
  seconds: 1,
  verdict: '',
};
const context = { step: 'daily', leaseBytes: GiB, scratchBytes: 2 * GiB, timeoutMs: 60_000, used };

function outcome(verdict: Verdict, result?: ContainerEvent, stderrTail = ''): ContainerOutcome {
  const bytes = { stepPeakBytes: 0, stepLimitBytes: 0, poolPeakBytes: 0, poolLimitBytes: 0, heldPeakBytes: 0 };
  return {
    ...{ verdict, exitCode: 70, peakBytes: 0, seconds: 1, stderrTail },
    evidence: { oomKills: 0, kernelLog: 'unreadable', ...bytes },
    proof: { kind: 'cgroup-empty', atMs: 1, bytesLeft: 0 },
    ...(result && { result }),
  };
}
const error = (message: string, more: object = {}): ContainerEvent => ({ ev: 'error', cls: 'pool', message, ...more });

test.each<[Verdict, FailureCode, string]>([
  [
    'engine-exhausted',
    'EngineExhausted',
    'step daily needs more memory: granted 1 GiB, peak 900 MiB; DataFusion: Failed to allocate',
  ],
  ['oom-own', 'OutOfMemoryOwn', 'step daily needs more memory: granted 1 GiB, killed by the kernel at 900 MiB'],
  ['oom-ceiling', 'OutOfMemoryCeiling', 'the pool'],
  ['sql-error', 'SqlError', 'the statement of step daily fails: Failed to allocate'],
  ['scratch-full', 'ScratchFull', 'more scratch than the 2 GiB granted'],
  ['engine-error', 'EngineFailed', 'DataFusion failed in step daily: Failed to allocate'],
  ['timeout', 'ContainerFailed', 'stopped after 60 s'],
  ['killed-by-other', 'ContainerFailed', 'killed from outside'],
  ['cli-lost', 'ContainerFailed', 'its container was removed'],
  ['runtime-error', 'ContainerFailed', 'did not start'],
  ['crash', 'ContainerFailed', 'crashed with exit code 70'],
  ['no-result', 'ContainerFailed', 'ended without a result'],
])('%s becomes %s', (verdict, code, text) => {
  const failure = failureOf(outcome(verdict, error('Failed to allocate')), context);
  expect(failure).toMatchObject({ code, details: { verdict, proof: { kind: 'cgroup-empty' }, used } });
  expect(failure.message).toContain(text);
  expect(failure.message).not.toContain('\n');
});

test('every verdict of a container but ok and cancelled has an error', () => {
  for (const verdict of Object.values(Verdict).filter((name) => name !== 'ok' && name !== 'cancelled')) {
    expect(Object.keys(FAILURE_RETRY)).toContain(failureOf(outcome(verdict), context).code);
  }
});

test('the top consumers and the tail of stderr travel with it', () => {
  const failure = failureOf(
    outcome('engine-exhausted', error('x', { consumers: ['a#1 consumed 3 GB'] }), 'panic\n'),
    context,
  );
  expect(failure.details).toMatchObject({ consumers: ['a#1 consumed 3 GB'], stderrTail: 'panic\n' });
});

import { describe, expect, test } from '@jest/globals';
import type { Verdict } from '../../../../src/contracts/errors.ts';
import type { ExitEvidence } from '../../../../src/engines/container/container-port.ts';
import { judgeExit } from '../../../../src/engines/container/judge-exit.ts';

const MB = 1_000_000;
const exited = (exitCode: number): ExitEvidence['state'] => ({ status: 'exited', exitCode, oomKilled: false });

/** A container with 100 MB under a pool of 300 MB that ended with `code`, nothing else seen. */
function seen(code: number, more: Partial<ExitEvidence> = {}): ExitEvidence {
  return {
    ...{ cliExit: code, state: exited(code)!, oomKills: 0, kernelLog: 'unreadable' },
    ...{
      stepPeakBytes: 40 * MB,
      stepLimitBytes: 100 * MB,
      poolPeakBytes: 40 * MB,
      poolLimitBytes: 300 * MB,
      heldPeakBytes: 30 * MB,
    },
    ...more,
  };
}
const full = { stepPeakBytes: 100 * MB };
const ceiling = { stepPeakBytes: 63 * MB, poolPeakBytes: 300 * MB };
const done = { lastEvent: { ev: 'done' } };
const failed = (cls: string): Partial<ExitEvidence> => ({ lastEvent: { ev: 'error', cls } });
const running: Partial<ExitEvidence> = { state: { status: 'running', exitCode: 0, oomKilled: false } };

describe('recorded ends of containers (podman 4, cgroup v1)', () => {
  test.each<[string, ExitEvidence, Verdict]>([
    ['the main process passed its limit', seen(137, { ...full, oomKills: 1 }), 'oom-own'],
    ['the same, the kill fell between two samples', seen(137, full), 'oom-own'],
    ['a child passed the limit, the main process lived on', seen(3, { ...full, oomKills: 1 }), 'oom-own'],
    ['the pool was full, its own limit far', seen(137, ceiling), 'oom-ceiling'],
    ['the same, with the kill counted', seen(137, { ...ceiling, oomKills: 1 }), 'oom-ceiling'],
    ['the engine said that its pool is too small', seen(70, failed('pool')), 'engine-exhausted'],
    ['the command was killed, the container runs on', seen(137, running), 'cli-lost'],
    ['the command was told to end and the job went well', seen(0, done), 'ok'],
    ['the runtime killed it at its own deadline', seen(255, { state: exited(-1)! }), 'timeout'],
    ['we cancelled it', seen(137, { intent: 'cancelled' }), 'cancelled'],
    ['our deadline passed', seen(137, { intent: 'timeout' }), 'timeout'],
    ['a stranger killed it', seen(137), 'killed-by-other'],
    ['it crashed', seen(139), 'crash'],
    ['its child was killed', seen(4), 'crash'],
    [
      'its command is missing',
      seen(127, { state: { status: 'created', exitCode: 0, oomKilled: false } }),
      'runtime-error',
    ],
    ['page cache filled the group and all went well', seen(0, { ...full, ...done }), 'ok'],
  ])('%s', (_title, evidence, verdict) => expect(judgeExit(evidence)).toBe(verdict));

  test('a wrong flag is the runtime’s error', () => {
    const gone = seen(125);
    delete gone.state;
    expect(judgeExit(gone)).toBe('runtime-error');
  });
});

describe('nobody recorded the end: podman’s monitor died first', () => {
  const lost: Partial<ExitEvidence> = { state: { status: 'lost', exitCode: 0, oomKilled: false } };
  test.each<[string, ExitEvidence, Verdict]>([
    ['a kill was counted', seen(127, { ...lost, ...full, oomKills: 1 }), 'oom-own'],
    ['the log tells of one, no sample caught it', seen(127, { ...lost, kernelLog: 'own' }), 'oom-own'],
    ['the pool was full', seen(127, { ...lost, ...ceiling, kernelLog: 'ceiling' }), 'oom-ceiling'],
    ['the engine had said what failed', seen(127, { ...lost, ...failed('pool') }), 'engine-exhausted'],
    ['nothing tells', seen(127, { ...lost, kernelLog: 'none' }), 'cli-lost'],
    ['the result was said, how it ended is not known', seen(127, { ...lost, ...done }), 'cli-lost'],
    ['the monitor died, the container runs on', seen(127, running), 'cli-lost'],
  ])('%s', (_title, evidence, verdict) => expect(judgeExit(evidence)).toBe(verdict));
});

describe('the order of evidence', () => {
  test.each<[string, ExitEvidence, Verdict]>([
    [
      'our intent stands above everything',
      seen(137, { ...full, oomKills: 3, intent: 'cancelled', ...done }),
      'cancelled',
    ],
    ['the engine’s own word stands above a full group', seen(70, { ...full, ...failed('pool') }), 'engine-exhausted'],
    ['a job that was done and then hit its limit is not ok', seen(137, { ...full, ...done, oomKills: 1 }), 'oom-own'],
    ['a job that was done while a child was killed is ok', seen(0, { ...done, oomKills: 1 }), 'ok'],
    ['exit 0 without a result is not ok', seen(0), 'no-result'],
    ['exit 0 with a progress line last is not ok', seen(0, { lastEvent: { ev: 'progress' } }), 'no-result'],
    [
      'the runtime’s own flag counts as a kill',
      seen(137, { state: { status: 'exited', exitCode: 137, oomKilled: true } }),
      'oom-own',
    ],
    ['an exit of 127 of a container that ran is its own', seen(127), 'crash'],
    ['disk', seen(70, failed('disk')), 'scratch-full'],
    ['sql', seen(70, failed('sql')), 'sql-error'],
    ['anything else the engine says', seen(70, failed('io')), 'engine-error'],
  ])('%s', (_title, evidence, verdict) => expect(judgeExit(evidence)).toBe(verdict));
});

describe('the kernel’s log settles what peaks cannot', () => {
  test.each<[string, ExitEvidence, Verdict]>([
    ['both full, the log says own', seen(137, { ...full, poolPeakBytes: 300 * MB, kernelLog: 'own' }), 'oom-own'],
    [
      'both full, the log says ceiling',
      seen(137, { ...full, poolPeakBytes: 300 * MB, kernelLog: 'ceiling' }),
      'oom-ceiling',
    ],
    [
      'full of page cache, and no kill in the log: a stranger',
      seen(137, { ...full, kernelLog: 'none' }),
      'killed-by-other',
    ],
    [
      'full of memory, the log lost the line',
      seen(137, { ...full, heldPeakBytes: 95 * MB, kernelLog: 'none' }),
      'oom-own',
    ],
    ['nothing is full, the log says own', seen(137, { kernelLog: 'own' }), 'oom-own'],
    [
      'without groups, the runtime’s code alone is a stranger’s kill',
      seen(137, { stepLimitBytes: 0, poolLimitBytes: 0 }),
      'killed-by-other',
    ],
  ])('%s', (_title, evidence, verdict) => expect(judgeExit(evidence)).toBe(verdict));
});

import { describe, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isAlive, isLeftBehind, ownProcessId, readProcessId } from '../../../src/host/process-id.ts';

const AFTER_NAME = '1 1 0 -1 4194304 99 0 0 0 0 0 0 0 20 0 1 0 88920 3133440 383';

/** A /proc of one process, with what its stat file says. */
function recorded(stat: string): string {
  const root = mkdtempSync(join(tmpdir(), 'spillway-proc-'));
  mkdirSync(join(root, '42'));
  writeFileSync(join(root, '42', 'stat'), stat);
  return root;
}

describe('a process is its pid and the instant it started', () => {
  test.each([
    ['a plain name', `42 (node) S 1 ${AFTER_NAME}`, 88920],
    ['a name with blanks and brackets', `42 (a) R (b) S 1 ${AFTER_NAME}`, 88920],
    ['a zombie is gone', `42 (node) Z 1 ${AFTER_NAME}`, undefined],
    ['a zombie with a thread left is not', `42 (node) Z 1 ${AFTER_NAME.replace(' 20 0 1 ', ' 20 0 2 ')}`, 88920],
    ['a dead one is gone', `42 (node) X 1 ${AFTER_NAME}`, undefined],
  ])('%s', (_title, stat, startedAt) => {
    const root = recorded(stat);
    expect(readProcessId(42, root)?.startedAt).toBe(startedAt);
    rmSync(root, { recursive: true });
  });

  test('a later process with the same pid is another one', () => {
    const root = recorded(`42 (node) S 1 ${AFTER_NAME}`);
    expect(isAlive({ pid: 42, startedAt: 88920 }, root)).toBe(true);
    expect(isAlive({ pid: 42, startedAt: 88919 }, root)).toBe(false);
    expect(isAlive({ pid: 43, startedAt: 88920 }, root)).toBe(false);
    rmSync(root, { recursive: true });
  });

  test('this process is alive, and a child that was killed is not', async () => {
    expect(isAlive(ownProcessId())).toBe(true);
    const child = spawn('sleep', ['60']);
    const id = readProcessId(child.pid!)!;
    expect(isAlive(id)).toBe(true);
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(isAlive(id)).toBe(false);
  });

  test('a process whose first thread has ended is alive until its last one ends', async () => {
    const exitThread = 'libc.syscall({"x86_64": 60, "aarch64": 93}[os.uname().machine], 0)';
    const script = `import ctypes, os, sys, threading\nthreading.Thread(target=sys.stdin.read).start()\nlibc = ctypes.CDLL(None)\nprint("on", flush=True)\n${exitThread}`;
    const child = spawn('python3', ['-c', script]);
    const exit = once(child, 'exit');
    await once(child.stdout, 'data');
    const stateOf = (): string => /\) (.)/.exec(readFileSync(`/proc/${child.pid!}/stat`, 'utf8'))![1]!;
    while (stateOf() !== 'Z') await new Promise((resolve) => setTimeout(resolve, 5));
    expect(readProcessId(child.pid!)).toBeDefined();
    child.stdin.end();
    await exit;
    expect(readProcessId(child.pid!)).toBeUndefined();
  });
});

test.each([
  ['a process that is gone', `made-${2 ** 22 + 1}`, true],
  ['one of whose things are many', `made-${2 ** 22 + 1}-a1`, true],
  ['one that lives', `made-${process.pid}`, false],
  ['nobody: no number', 'made-x', false],
  ['nobody: another number', `made-${2 ** 22 + 1}x`, false],
  ['somebody else', `other-${2 ** 22 + 1}`, false],
])('a name of %s', (_title, name, leftBehind) => {
  expect(isLeftBehind(name, 'made-')).toBe(leftBehind);
});

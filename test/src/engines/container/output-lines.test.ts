import { expect, test } from '@jest/globals';
import type { ContainerEvent } from '../../../../src/engines/container/container-port.ts';
import { OutputLines } from '../../../../src/engines/container/output-lines.ts';

function feed(chunks: ['stdout' | 'stderr', string][]): { lines: OutputLines; events: ContainerEvent[] } {
  const events: ContainerEvent[] = [];
  const lines = new OutputLines((event) => events.push(event));
  for (const [stream, chunk] of chunks) lines.push(stream, chunk);
  lines.end();
  return { lines, events };
}

test('events are found across chunks and on both streams, also without a last line break', () => {
  const { lines, events } = feed([
    ['stdout', '{"ev":"pro'],
    ['stderr', 'warning: x\n{"ev":"b"}\n'],
    ['stdout', 'gress","rows":1}\n{"ev":"done","rows":2}'],
  ]);
  expect(events).toEqual([{ ev: 'b' }, { ev: 'progress', rows: 1 }, { ev: 'done', rows: 2 }]);
  expect(lines.result).toEqual({ ev: 'done', rows: 2 });
  expect(lines.tail).toBe('warning: x\n');
});

test.each(['{"ev":1}', '{"no":"ev"}', '{broken', '[1]', 'plain', 'null'])(
  '%s is no event and goes to the tail',
  (line) => {
    const { lines, events } = feed([['stdout', `${line}\n`]]);
    expect(events).toEqual([]);
    expect(lines.result).toBeUndefined();
    expect(lines.tail).toBe(`${line}\n`);
  },
);

test('the tail and an endless line stay bounded', () => {
  const { lines } = feed(Array.from({ length: 200 }, () => ['stderr', 'y'.repeat(100_000)]));
  expect(lines.tail.length).toBeLessThanOrEqual(8192);
  const many = feed(Array.from({ length: 1000 }, (_, index) => ['stderr', `line ${index} ${'z'.repeat(100)}\n`]));
  expect(many.lines.tail.length).toBeLessThanOrEqual(8192);
  expect(many.lines.tail).toContain('line 999');
});

test('the last of several results counts', () => {
  expect(feed([['stdout', '{"ev":"done"}\n{"ev":"error","cls":"io"}\n']]).lines.result).toEqual({
    ev: 'error',
    cls: 'io',
  });
});

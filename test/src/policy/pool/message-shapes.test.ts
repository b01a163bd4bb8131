import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { type MessageName, messageProblem } from '../../../../src/policy/pool/message-shapes.ts';
import { ask, end, proof } from '../../../temporal/pool-double.ts';

const host = { host: 'here', process: { pid: 1, startedAt: 1 } };
const announce = {
  host: 'here',
  limitBytes: 1,
  scratchLimitBytes: 1,
  evidence: { alive: [], cgroup: 'none', runtime: 'process' },
};

const good: [MessageName, unknown][] = [
  ['acquire', ask()],
  ['acquire', ask({ holder: { workflowId: 'w', runId: 'r' }, returns: [end('r/a#0', 1)], leastBytes: 0 })],
  ['begin', { leaseId: 'r/a#0', runId: 'r', ...host }],
  ['end', [end('r/a#0', 1, { keep: [{ dataId: 'r/a', bytes: 0, scratchBytes: 5 }] })]],
  ['end', []],
  ['withdraw', [{ leaseId: 'r/a#0' }]],
  ['drop', [{ dataId: 'r/a', proof: proof() }]],
  ['grow', { leaseId: 'r/a#0', token: 1, bytes: 5, scratchBytes: 0 }],
  ['announce', announce],
  ['announce', { ...announce, evidence: { ...announce.evidence, alive: [{ leaseId: 'r/a#0', token: 2, bytes: 1 }] } }],
  ['suspect', { leaseId: 'r/a#0', because: 'its holder is closed' }],
  ['operate', { act: 'resume' }],
  ['operate', { act: 'resize', limitBytes: 400e9 }],
  ['several', [{ kind: 'acquire', ask: ask() }, { kind: 'withdraw', withdraws: [{ leaseId: 'r/a#0' }] }]], // prettier-ignore
  ['acquire', { ...ask(), saidByALaterRelease: true }],
];

const bad: [MessageName, unknown, string][] = [
  ['acquire', undefined, 'acquire must be an object, but is missing. Add it.'],
  ['acquire', {}, 'acquire.leaseId must be a text, but is missing. Add it.'],
  ['acquire', ask({ bytes: '1GB' as never }), 'acquire.bytes must be a number of bytes from 0, got "1GB". Change it.'],
  ['acquire', ask({ bytes: -1 }), 'acquire.bytes must be a number of bytes from 0, got -1. Change it.'],
  ['acquire', ask({ weight: 'haevy' as never }), 'acquire.weight must be one of heavy, light, got "haevy". Did you mean heavy?'],
  ['acquire', ask({ holder: {} as never }), 'acquire.holder.host must be a text, but is missing. Add it.'],
  ['acquire', ask({ returns: [end('', 1)] }), 'acquire.returns.0.leaseId must be a text, got "". Change it.'],
  ['end', end('r/a#0', 1), 'end must be a list, got '],
  ['end', [end('r/a#0', 1, { proof: proof({ bytesLeft: null as never }) })], 'end.0.proof.bytesLeft must be a number of bytes from 0, got null. Change it.'],
  ['withdraw', ['r/a#0'], 'withdraw.0 must be an object, got "r/a#0". Change it.'],
  ['operate', { act: 'puase', because: 'a disk' }, 'operate.act must be one of pause, resume, resize, kick, pin, forget, got "puase". Did you mean pause?'],
  ['operate', { act: 'resize', limitBytes: '400GB' }, 'operate.limitBytes must be a number of bytes from 0, got "400GB". Change it.'],
  ['operate', { act: 'kick', leaseId: 'r/a#0' }, 'operate.because must be a text, but is missing. Add it.'],
  ['several', [{ kind: 'acquire', ask: { ...ask(), priority: 'high' } }], 'several.0.ask.priority must be a number from 0, got "high". Change it.'],
  ['several', [{ kind: 'drop' }], 'several.0.drops must be a list, but is missing. Add it.'],
]; // prettier-ignore

describe('messages to a pool', () => {
  test.each(good)('%s is read: %j', (name, message) => {
    expect(messageProblem(name, JSON.parse(JSON.stringify(message)))).toBeUndefined();
  });

  test.each(bad)('%s is refused: %j', (name, message, problem) => {
    expect(messageProblem(name, message)).toContain(problem);
  });

  test('a measure that could not be taken does not keep a lease from ending', () => {
    const used = { ...end('r/a#0', 1).used, peakBytes: Number.NaN, seconds: Number.POSITIVE_INFINITY };
    expect(messageProblem('end', JSON.parse(JSON.stringify([end('r/a#0', 1, { used })])))).toBeUndefined();
  });

  test('those that earlier releases sent are read', () => {
    const folder = new URL('../../../histories/', import.meta.url);
    const files = readdirSync(folder, { recursive: true }).map(String).filter((name) => /memory-pool.*json$/.test(name)); // prettier-ignore
    const sent = files.flatMap((file) => {
      const { events } = JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as { events: Recorded[] };
      return events.flatMap(said).flatMap(({ name, args }) =>
        (args?.payloads ?? []).map(({ data }) => {
          return { name, message: JSON.parse(Buffer.from(data, 'base64').toString()) as unknown };
        }),
      );
    });
    expect(sent.length).toBeGreaterThanOrEqual(100);
    for (const { name, message } of sent) {
      const listed = name === 'drop' ? [message].flat() : message;
      expect({ name, problem: messageProblem(name as MessageName, listed) }).toEqual({ name, problem: undefined });
    }
  });
});

interface Said {
  name: string;
  args?: { payloads: { data: string }[] };
}
interface Recorded {
  workflowExecutionUpdateAcceptedEventAttributes?: { acceptedRequest?: { input: Said } };
  workflowExecutionSignaledEventAttributes?: { signalName: string; input: Said['args'] };
}
function said(event: Recorded): Said[] {
  const update = event.workflowExecutionUpdateAcceptedEventAttributes?.acceptedRequest?.input;
  const signal = event.workflowExecutionSignaledEventAttributes;
  if (update) return [update];
  return signal ? [{ name: signal.signalName, ...(signal.input && { args: signal.input }) }] : [];
}

import type {
  Announce,
  Ask,
  Begin,
  Drop,
  End,
  Grow,
  HostEvidence,
  Kept,
  Operate,
  ProcessId,
  Proof,
  Said,
  StepUsage,
  Suspect,
  Withdraw,
} from '../../contracts/pool.ts';
import { nearestName } from '../nearest-name.ts';

/**
 * What each message to a pool has to be. Anybody who reaches Temporal can send one, by hand too: a message that made the ledger's sums no
 * numbers, or the workflow's code fail, would stop the pool for everybody. Written by hand, as the pool's bundle is compiled by each worker
 * that starts, and a library of schemas is twenty times its size.
 */

/** What is wrong with a value: key, rule, value and fix; undefined for a good one. */
type Shape = (value: unknown, at: string) => string | undefined;

const LONGEST_SHOWN = 80;
const got = (value: unknown): string =>
  value === undefined ? 'but is missing' : `got ${JSON.stringify(value).slice(0, LONGEST_SHOWN)}`;
const wrong = (
  at: string,
  must: string,
  value: unknown,
  fix = value === undefined ? 'Add it.' : 'Change it.',
): string => `${at} must be ${must}, ${got(value)}. ${fix}`;

const rule =
  (must: string, holds: (value: unknown) => boolean): Shape =>
  (value, at) =>
    holds(value) ? undefined : wrong(at, must, value);

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const text = rule('a text', (value) => typeof value === 'string' && value !== '');
const amount = rule('a number from 0', (value) => typeof value === 'number' && value >= 0);
const bytes = rule('a number of bytes from 0', (value) => typeof value === 'number' && value >= 0);

/** What was measured is only remembered: a figure that could not be taken (JSON has no NaN) must not keep a lease from ending. */
const measured = rule('a number', (value) => value === null || typeof value === 'number');

const oneOf =
  (...names: string[]): Shape =>
  (value, at) => {
    if (typeof value === 'string' && names.includes(value)) return undefined;
    const near = typeof value === 'string' ? nearestName(value, names) : undefined;
    return wrong(at, `one of ${names.join(', ')}`, value, near === undefined ? undefined : `Did you mean ${near}?`);
  };

const optional =
  (shape: Shape): Shape =>
  (value, at) =>
    value === undefined ? undefined : shape(value, at);

/** Keys that it does not know are let through: a newer release says more. */
const object =
  <T>(keys: { [K in keyof T]-?: Shape }): Shape =>
  (value, at) => {
    if (!isObject(value)) return wrong(at, 'an object', value);
    for (const [key, shape] of Object.entries<Shape>(keys)) {
      const problem = shape(value[key], `${at}.${key}`);
      if (problem !== undefined) return problem;
    }
    return undefined;
  };

const list =
  (of: Shape): Shape =>
  (value, at) => {
    if (!Array.isArray(value)) return wrong(at, 'a list', value);
    for (const [index, one] of value.entries()) {
      const problem = of(one, `${at}.${index}`);
      if (problem !== undefined) return problem;
    }
    return undefined;
  };

/** Objects told apart by the value of one key. */
const variants =
  <T extends string>(key: string, shapes: Record<T, Shape>): Shape =>
  (value, at) => {
    if (!isObject(value)) return wrong(at, 'an object', value);
    const which = oneOf(...Object.keys(shapes))(value[key], `${at}.${key}`);
    return which ?? shapes[value[key] as T](value, at);
  };

const processId = object<ProcessId>({ pid: amount, startedAt: amount });
const ofRun = object<{ workflowId: string; runId: string }>({ workflowId: text, runId: text });
const ofProcess = object<{ host: string; process: ProcessId }>({ host: text, process: processId });
const holder: Shape = (value, at) =>
  isObject(value) && 'workflowId' in value ? ofRun(value, at) : ofProcess(value, at);

const proof = object<Proof>({ kind: text, atMs: amount, bytesLeft: bytes });
const used = object<StepUsage>({
  peakBytes: measured,
  scratchPeakBytes: measured,
  inputBytes: measured,
  outputBytes: measured,
  rows: measured,
  seconds: measured,
  verdict: text,
  shmBytes: optional(measured),
  fullPool: optional(object<NonNullable<StepUsage['fullPool']>>({ bytes: measured, partitions: measured })),
});
const kept = object<Kept>({ dataId: text, bytes, scratchBytes: bytes });
const end = object<End>({ leaseId: text, token: amount, proof, keep: list(kept), used });
const withdraw = object<Withdraw>({ leaseId: text });
const drop = object<Drop>({ dataId: text, proof });
const ask = object<Ask>({
  leaseId: text,
  kind: oneOf('work', 'engine', 'standing'),
  weight: oneOf('heavy', 'light'),
  bytes,
  leastBytes: optional(bytes),
  scratchBytes: bytes,
  priority: amount,
  expectedMs: optional(amount),
  holder,
  step: text,
  engine: optional(text),
  history: optional(text),
  replaces: optional(text),
  returns: optional(list(end)),
});
const begin = object<Begin>({ leaseId: text, runId: text, host: text, process: processId });
const evidence = object<HostEvidence>({
  alive: list(object<HostEvidence['alive'][number]>({ leaseId: text, token: amount, bytes })),
  cgroup: text,
  runtime: text,
});

const SHAPES = {
  acquire: ask,
  begin,
  end: list(end),
  withdraw: list(withdraw),
  drop: list(drop),
  grow: object<Grow>({ leaseId: text, token: amount, bytes, scratchBytes: bytes }),
  announce: object<Announce>({ host: text, limitBytes: bytes, scratchLimitBytes: bytes, evidence }),
  suspect: object<Suspect>({ leaseId: text, because: text }),
  operate: variants<Operate['act']>('act', {
    pause: object({ because: text }),
    resume: object({}),
    resize: object({ limitBytes: bytes }),
    kick: object({ leaseId: text, because: text }),
    pin: object({ history: text, bytes }),
    forget: object({ history: text }),
  }),
  several: list(
    variants<Said['kind']>('kind', {
      acquire: object({ ask }),
      begin: object({ begin }),
      end: object({ ends: list(end) }),
      withdraw: object({ withdraws: list(withdraw) }),
      drop: object({ drops: list(drop) }),
    }),
  ),
} as const;

export type MessageName = keyof typeof SHAPES;

/** What is wrong with a message to a pool: key, rule, value and fix. Undefined when nothing is. */
export const messageProblem = (name: MessageName, message: unknown): string | undefined => SHAPES[name](message, name);

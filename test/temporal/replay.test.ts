import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type ReplayWorkerOptions, Worker } from '@temporalio/worker';
import * as registered from '../../workflows/index.ts';
import { readHistory, type RecordedHistory } from './history.ts';
import { recordHistories, writeHistories } from './record-histories.ts';
import { poolBundle, stageBundle } from './stage-bundles.ts';
import { Stage } from './stage.ts';

const folder = fileURLToPath(new URL('../histories', import.meta.url));
/** The pool has a bundle of its own; see workflows/index.ts. */
const TYPES = ['memoryPool', ...Object.keys(registered)];

/** `<release>/<what happens>.json` → history; kept for as long as runs of that release may be open. */
const kept: [string, RecordedHistory][] = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.json'))
  .map((name) => [name, JSON.parse(readFileSync(join(folder, name), 'utf8')) as RecordedHistory]);
const typeOf = ({ events }: RecordedHistory): string =>
  events[0]!.workflowExecutionStartedEventAttributes!.workflowType.name;

let stage: Stage;
let options: { pool: ReplayWorkerOptions; runs: ReplayWorkerOptions };
beforeAll(async () => {
  stage = await Stage.open({ pool: 'replay', workflows: 'none', poolContinuesAfterEvents: 120 });
  // As in production: from a bundle that was built ahead.
  const [pool, runs] = await Promise.all([poolBundle(), stageBundle(stage.config)]);
  options = { pool: { workflowBundle: pool }, runs: { workflowBundle: runs } };
}, 120_000);
afterAll(() => stage.close());

const replay = (history: RecordedHistory): Promise<void> =>
  Worker.runReplayHistory(typeOf(history) === 'memoryPool' ? options.pool : options.runs, readHistory(history));

describe('histories of releases replay with the code of today', () => {
  test.each(TYPES)('there is one of %s', (type) => {
    expect(kept.map(([, history]) => typeOf(history))).toContain(type);
  });

  test.each(kept)(
    '%s',
    async (_name, history) => {
      await replay(history);
    },
    30_000,
  );

  test('they name no machine and no directory of the one that recorded them', () => {
    for (const [name, history] of kept) {
      const text = JSON.stringify(history) + JSON.stringify(payloadsOf(history));
      expect([name, /\/(root|home|work|tmp|Users)\//.exec(text)?.[0]]).toEqual([name, undefined]);
      expect([name, new Set(text.match(/"identity":"[^"]*"/g))]).toEqual([
        name,
        new Set(['"identity":"worker@reference-host"']),
      ]);
    }
  });
});

/** The history as if it had been told when it opened to leave itself behind after ten events, and had lived for a minute longer. */
function toldToContinue(history: RecordedHistory): RecordedHistory {
  const told = structuredClone(history);
  const start = told.events[0]!;
  start.eventTime = { seconds: String(Number(start.eventTime!.seconds) - 60), nanos: 0 };
  const input = start.workflowExecutionStartedEventAttributes!.input!.payloads[0]!;
  const read = JSON.parse(Buffer.from(input.data, 'base64').toString()) as object;
  input.data = Buffer.from(JSON.stringify({ ...read, continueIdleAfterEvents: 10 })).toString('base64');
  return told;
}

test.each(kept.filter(([, history]) => typeOf(history) === 'memoryPool'))(
  'a pool that a release served which does not continue when idle goes on as it was: %s',
  async (_name, history) => {
    await replay(toldToContinue(history));
  },
  30_000,
);

test('what runs and the pool do today replays', async () => {
  const recorded = await recordHistories(stage);
  expect(new Set(Object.values(recorded).map(typeOf))).toEqual(new Set(TYPES));
  for (const history of Object.values(recorded)) await replay(history);
  // SPILLWAY_RECORD=<release> keeps them for the tests of later releases.
  const release = process.env['SPILLWAY_RECORD'];
  if (release) writeHistories(join(folder, release), recorded);
}, 60_000);

describe('a history whose commands are not those of the code fails its replay', () => {
  test.each(TYPES)(
    '%s',
    async (type) => {
      const [, history] = kept.find(([, candidate]) => typeOf(candidate) === type)!;
      const tampered = structuredClone(history);
      const act = tampered.events.find((event) => event.activityTaskScheduledEventAttributes)!;
      act.activityTaskScheduledEventAttributes!.activityType.name = 'somethingElse';
      await expect(replay(tampered)).rejects.toThrow(expect.objectContaining({ name: 'DeterminismViolationError' }));
    },
    30_000,
  );
});

/** Contents of all payloads, as text. */
function payloadsOf(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) =>
    key === 'data' && typeof inner === 'string' ? [Buffer.from(inner, 'base64').toString('utf8')] : payloadsOf(inner),
  );
}

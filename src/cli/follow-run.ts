import { setTimeout as sleep } from 'node:timers/promises';
import { WorkflowFailedError, type WorkflowHandle } from '@temporalio/client';
import { ApplicationFailure, CancelledFailure, TerminatedFailure, TimeoutFailure } from '@temporalio/common';
import { countedRows, RUN_REPORT_QUERY, type RunReport } from '../contracts/report.ts';
import { formatBytes } from '../policy/sizes.ts';
import { table } from './output.ts';

const LOOK_EVERY_MS = 1_000;
/** A worker that is up takes a run up in far less. */
const TAKEN_UP_WITHIN_MS = 3_000;
/** Events of a run that no worker has seen: that it was started, and that a worker is to look at it. */
const EVENTS_BEFORE_A_WORKER = 2;

export type RunEnd =
  { kind: 'completed'; result: unknown; report?: RunReport } | { kind: 'failed'; message: string; report?: RunReport };

/** Follows a run to its end, telling each change of its steps in one line. */
export async function followRun(
  handle: WorkflowHandle,
  tell: (line: string) => void,
  signal?: AbortSignal,
): Promise<RunEnd> {
  const told = new Map<string, string>();
  const startedAtMs = Date.now();
  let takenUp: boolean | undefined;
  let toldThatNobody = false;
  const result = handle.result().then(
    (value) => ({ kind: 'completed' as const, result: value as unknown }),
    (error: unknown) => ({ kind: 'failed' as const, message: reasonOf(error) }),
  );
  for (;;) {
    const end = await Promise.race([result, sleep(LOOK_EVERY_MS, undefined, signal ? { signal } : {})]);
    takenUp ||= await isTakenUp(handle);
    if (!end && takenUp === false && !toldThatNobody && Date.now() - startedAtMs > TAKEN_UP_WITHIN_MS) {
      toldThatNobody = true;
      tell(`no worker has taken it up yet; start one with \`spillway worker\``);
    }
    const report = takenUp ? await handle.query<RunReport>(RUN_REPORT_QUERY).catch(() => undefined) : undefined;
    if (report) tellNews(report, told, tell);
    if (end) return { ...end, ...(report ? { report } : {}) };
  }
}

/** Whether a worker has seen the run; undefined when the server does not say. */
const isTakenUp = (handle: WorkflowHandle): Promise<boolean | undefined> =>
  handle.describe().then(
    ({ historyLength }) => historyLength > EVENTS_BEFORE_A_WORKER,
    () => undefined,
  );

function tellNews(report: RunReport, told: Map<string, string>, tell: (line: string) => void): void {
  const news = new Map<string, string>(Object.entries(report.now));
  for (const step of report.steps) {
    const rows = countedRows(step);
    const what = rows === undefined ? 'done' : `done: ${rows} rows`;
    news.set(step.step, `${what} in ${step.seconds.toFixed(1)} s`);
  }
  for (const [step, what] of news) {
    if (told.get(step) === what) continue;
    told.set(step, what);
    tell(what.startsWith(`${step} `) ? `  ${what}` : `  ${step}: ${what}`); // a summary names its step itself
  }
}

/** First line of why a run failed: the deepest failure that says what to do. */
function reasonOf(error: unknown): string {
  if (!(error instanceof WorkflowFailedError)) return error instanceof Error ? error.message : String(error);
  const { cause } = error;
  if (cause instanceof ApplicationFailure) return cause.message;
  if (cause instanceof CancelledFailure) return 'the run was cancelled';
  if (cause instanceof TerminatedFailure) return 'the run was terminated';
  if (cause instanceof TimeoutFailure) return `the run timed out (${cause.message})`;
  return cause?.message ?? error.message;
}

/** What each step was lent and used. */
export const reportTable = (report: RunReport): string =>
  table(
    ['step', 'queue', 'lease', 'peak', 'handoff', 'rows', 'seconds', 'because'],
    report.steps.map((step) => [
      step.step,
      step.queue,
      `${step.rung} ${formatBytes(step.leaseBytes)}`,
      formatBytes(step.peakBytes),
      step.mode,
      countedRows(step) ?? '–',
      Number(step.seconds.toFixed(1)),
      step.because,
    ]),
  );

/** Address of a run in the Temporal UI. */
export const uiAddress = (ui: string, namespace: string, workflowId: string, runId: string): string =>
  `${ui.replace(/\/$/, '')}/namespaces/${encodeURIComponent(namespace)}/workflows/${encodeURIComponent(workflowId)}/${runId}/history`;

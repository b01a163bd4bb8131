import {
  ActivityCancellationType,
  isCancellation,
  proxyActivities,
  proxyLocalActivities,
  workflowInfo,
} from '@temporalio/workflow';
import { type CheckpointChoice, HandoffMode, type HandoffChoice, type HandoffRef } from '../contracts/handoff.ts';
import type { SinkResult, StepReport, Verb } from '../contracts/pipeline.ts';
import type { PlannedStep, PlanRequest, RunPlan } from '../contracts/plan.ts';
import { dataIdOf, type End, TaskQueue } from '../contracts/pool.ts';
import type {
  ControlActivities,
  RunnerActivities,
  StepActivities,
  StepFailureDetails,
  StepRequest,
  StepResult,
} from '../contracts/steps.ts';
import { stepsOfQuery } from '../policy/fuse.ts';
import { afterFailure, type LadderState } from '../policy/ladder.ts';
import { keptRows } from '../policy/kept-rows.ts';
import { rungsFor } from '../policy/learned-size.ts';
import { leastOf } from '../policy/rungs.ts';
import { formatBytes } from '../policy/sizes.ts';
import type { Board } from './board.ts';
import { cancelDetails, failure, readStepFailure } from './failures.ts';
import { LeaseDesk } from './lease-desk.ts';
import { OneAtATime } from './one-at-a-time.ts';
import { alone, inMemory, inputsOfStep, lostInputs } from './step-inputs.ts';
import { besideReport, foundReport, ranReport, sinkResult } from './step-reports.ts';

const ACTIVITY: Record<Verb, keyof StepActivities> = {
  'trino.query': 'trinoQuery',
  'datafusion.sql': 'datafusionSql',
  transform: 'transform',
  files: 'readFiles',
  'postgres.load': 'postgresLoad',
  'postgres.sql': 'postgresSql',
  'write.parquet': 'writeFiles',
  'write.arrow': 'writeFiles',
};

/** Checks everything on the host; a plan that needs longer than this has lost its worker. */
const planning = { startToCloseTimeout: '60 seconds', retry: { maximumAttempts: 3 } } as const;

/** Looking for files that were kept and linking them. */
const FINDING = { startToCloseTimeout: '60 seconds', retry: { maximumAttempts: 3 } } as const;

/** Giving memory back in the middle of a run; what does not succeed is done at the run's end. */
const DROPPING = { startToCloseTimeout: '30 seconds', scheduleToCloseTimeout: '60 seconds' } as const;

interface Done {
  result: StepResult;
  report: StepReport;
}

/** Executes plans: asks for memory, runs each step's activity, climbs rungs, gives memory back. Decides nothing a plan could have decided. */
export class StepRunner {
  readonly #local = proxyLocalActivities<RunnerActivities>(planning);
  readonly #turns = new OneAtATime();
  readonly #board: Board;
  readonly #planned = new Map<string, PlannedStep>();
  /** Steps that run within another one's statement. */
  readonly #fused = new Map<string, string>();
  readonly #runs = new Map<string, Promise<Done>>();
  readonly #finished = new Set<string>();
  /** Where the rows of finished steps are. */
  readonly #refs = new Map<string, HandoffRef>();
  /** Asks of each step so far: one that is computed again goes on counting. */
  readonly #ordinals = new Map<string, number>();
  /** Steps whose rows were kept in memory, and go since all planned readers had them; settles when they are gone. */
  readonly #dropped = new Map<string, Promise<unknown>>();
  readonly #dataIds = new Set<string>();
  readonly #background = new Set<Promise<unknown>>();
  readonly #ends = new Set<Promise<unknown>>();
  #desk: LeaseDesk | undefined;
  #disorder = false;
  #pool = '';

  constructor(board: Board) {
    this.#board = board;
  }

  /** Plans sinks together and runs all they need. The promises of the sinks' steps are in the order of the plan. */
  async start(request: PlanRequest): Promise<Promise<SinkResult>[]> {
    const plan: RunPlan = await this.#turns.run(() => this.#local.planRun(request));
    this.#pool = plan.pool;
    this.#board.open(plan.pool, plan.searchAttributes, plan.warnings);
    this.#desk ??= new LeaseDesk(plan.pool, this.#turns, {
      waiting: (step, because) => this.#board.waiting(step, because),
    });
    for (const { step, into } of plan.fused ?? []) this.#fused.set(step, into);
    for (const { step } of plan.steps) {
      const into = this.#planned.has(step) ? undefined : this.#fused.get(step);
      if (into !== undefined) this.#board.warn(`${step} is computed again: it was part of ${into} before. Call all that read it in one turn, as with Promise.all, or give it isolate: true.`); // prettier-ignore
    }
    for (const step of plan.steps) if (!this.#planned.has(step.step)) this.#planned.set(step.step, step);
    return plan.sinks.map(async (sink) => sinkResult(await this.#run(sink)));
  }

  get dataIds(): string[] {
    return [...this.#dataIds];
  }
  /** Whether an attempt ended without a word, so that what it made may still be there. */
  get leftInDisorder(): boolean {
    return this.#disorder;
  }
  get pool(): string {
    return this.#pool;
  }
  /** How the rows of planned steps are handed over. */
  get handoffs(): Record<string, HandoffChoice> {
    return Object.fromEntries(
      [...this.#planned.values()].flatMap(({ step, handoff }) => (handoff ? [[step, handoff]] : [])),
    );
  }
  /** Whether rows of this run may be kept to be found again. */
  get hasCheckpoints(): boolean {
    return [...this.#planned.values()].some(({ checkpoint }) => checkpoint !== undefined);
  }
  get plannedSteps(): ReadonlySet<string> {
    return new Set([...this.#planned.keys(), ...this.#fused.keys()]);
  }

  /** Waits for everything that was started, however it ends. */
  async settle(): Promise<void> {
    await Promise.allSettled(this.#runs.values());
    await Promise.allSettled(this.#background);
  }

  /** Gives back all leases. */
  async close(): Promise<string[]> {
    await this.#desk?.close();
    return this.#desk?.openLeases ?? [];
  }

  #run(name: string): Promise<Done> {
    const dropping = this.#dropped.get(name);
    if (dropping) {
      this.#board.warn(`${name} is read again after its rows went from memory, and is computed again. Call all that read it in one turn, as with Promise.all.`); // prettier-ignore
      this.#forget(name);
    }
    let run = this.#runs.get(name);
    if (!run) {
      const step = this.#planned.get(name)!;
      // Not before the old rows are gone: the new ones would go with them.
      run = dropping ? dropping.then(() => this.#execute(step)) : this.#execute(step);
      run.catch(() => undefined); // a step's failure is told by the sink that needed it
      this.#runs.set(name, run);
    }
    return run;
  }

  /** Runs a step once what it reads is there, unless its rows are found again. What is lost of its inputs, by hand, with the host's memory, or as the run was reset to after its end, is computed again, once. */
  async #execute(step: PlannedStep): Promise<Done> {
    const found = step.checkpoint && (await this.#find(step, step.checkpoint));
    if (found) return found;
    if (step.madeWith !== undefined) return this.#madeWith(step, step.madeWith);
    for (let again = false; ; again = true) {
      const sources = step.needs.map((need) => ({ need, run: this.#run(need) }));
      await Promise.all(sources.map(({ run }) => run));
      const inputs: Record<string, HandoffRef> = {};
      for (const [table, source] of inputsOfStep(step)) {
        const ref = this.#refs.get(source);
        if (ref) inputs[table] = ref;
      }
      try {
        return await this.#climb(asItReads(step, inputs), inputs);
      } catch (error) {
        const isLost = again ? undefined : lostInputs(error);
        const lost = sources.filter(({ need }) => isLost?.(step, need, this.#refs.get(need)));
        if (lost.length === 0) {
          if (!isCancellation(error)) this.#board.failed(step.step, error instanceof Error ? error.message : String(error)); // prettier-ignore
          throw error;
        }
        for (const { need, run } of lost) {
          if (this.#runs.get(need) !== run) continue; // another reader has it computed again already
          if (inMemory(this.#refs.get(need))) {
            this.#board.warn(`${need} is computed again, onto disk: its rows were kept in memory, and are gone.`);
            this.#planned.set(need, onDisk(this.#planned.get(need)!));
          } else this.#board.warn(`${need} is needed again: its rows are gone from scratch.`);
          this.#forget(need);
        }
      }
    }
  }

  /** Rows that the container of another step computes. Once they are lost, they are computed in one of their own. */
  async #madeWith(step: PlannedStep, other: string): Promise<Done> {
    const { result, report } = await this.#run(other);
    const output = result.further?.[step.step];
    const onItsOwn = alone(step);
    this.#planned.set(step.step, onItsOwn);
    if (!output) return this.#execute(onItsOwn); // a worker of an earlier release knows of no others
    const own = besideReport(step, output, report);
    this.#isDone(step, own);
    return { result: { ...result, output }, report: own };
  }

  /** Rows of a checkpoint, if they are there: then nothing that only they need runs. */
  async #find(step: PlannedStep, checkpoint: CheckpointChoice): Promise<Done | undefined> {
    const { originalExecutionRunId: run, startTime } = workflowInfo();
    const taskQueue = TaskQueue.control(this.#pool);
    const control = proxyActivities<ControlActivities>({ ...FINDING, taskQueue, summary: `${step.step} · looks for its checkpoint` }); // prettier-ignore
    let output: HandoffRef | null;
    try {
      output = await control.findCheckpoint({ pool: this.#pool, run, step: step.step, checkpoint });
    } catch (error) {
      if (isCancellation(error)) throw error;
      this.#board.warn(`${step.step} is computed, as its checkpoint could not be looked for: ${messageOf(error)}`);
      return undefined;
    }
    if (!output) return undefined;
    this.#dataIds.add(dataIdOf(run, step.step)); // the run has files of it now
    this.#refs.set(step.step, output);
    this.#finished.add(step.step);
    const proof = { kind: 'exited', atMs: startTime.getTime(), bytesLeft: 0 } as const;
    const used = { peakBytes: 0, scratchPeakBytes: 0, inputBytes: 0, outputBytes: output.bytes, rows: output.rows, seconds: 0, verdict: 'ok' }; // prettier-ignore
    const report = foundReport(step, output, taskQueue);
    this.#isDone(step, report);
    return { result: { token: 0, proof, used, output }, report };
  }

  #forget(step: string): void {
    this.#runs.delete(step);
    this.#finished.delete(step);
    this.#dropped.delete(step);
  }

  /** One activity per rung, so that a person sees each in the history. */
  async #climb(step: PlannedStep, inputs: Record<string, HandoffRef>): Promise<Done> {
    const desk = this.#desk!;
    const run = workflowInfo().originalExecutionRunId;
    const rungs = rungsFor(
      step,
      Object.values(inputs).reduce((sum, { bytes }) => sum + bytes, 0),
    );
    let ladder: LadderState = { rung: 0, ceilingRetries: 0, lostLeases: 0 };
    for (let ordinal = this.#ordinals.get(step.step) ?? 0, note = ''; ; ordinal += 1) {
      this.#ordinals.set(step.step, ordinal + 1);
      const size = rungs[ladder.rung]!;
      const rung = { ...size, bytes: size.bytes + (step.shmBytes ?? 0) };
      const least = leastOf(rungs, ladder.rung);
      const leastBytes = least === undefined ? undefined : least + (step.shmBytes ?? 0);
      const lease = step.charge === 'lease' ? await desk.acquire(step, { bytes: rung.bytes, leastBytes }, ordinal) : undefined; // prettier-ignore
      const bytes = lease?.bytes ?? rung.bytes;
      const what = `${step.step} · ${step.engine} · ${rung.name} ${formatBytes(bytes)}${withFused(step)}${note}`;
      this.#board.running(step.step, what);
      for (const { step: output } of [step, ...(step.further ?? [])]) this.#dataIds.add(dataIdOf(run, output));
      try {
        const result = await this.#activity(
          step,
          what,
        )({
          run,
          pool: this.#pool,
          ...(lease ? { leaseId: lease.leaseId } : {}),
          leaseBytes: bytes,
          scratchBytes: step.scratchBytes,
          rung: rung.name,
          spec: step.spec,
          inputs,
          ...(step.handoff ? { handoff: step.handoff } : {}),
          ...(step.shmBytes === undefined ? {} : { shmBytes: step.shmBytes }),
          ...(step.checkpoint ? { checkpoint: step.checkpoint } : {}),
          ...(step.fused ? { fused: step.fused } : {}),
          ...(step.further ? { further: step.further } : {}),
          ...(step.overhead && ordinal === 0 ? { overhead: step.overhead } : {}),
          ordinal,
        });
        return this.#finish(step, result, rung.name, bytes, ordinal, lease?.leaseId);
      } catch (error) {
        const failed = readStepFailure(error);
        const details = failed?.details ?? cancelDetails(error);
        if (!details) this.#disorder = true;
        if (lease && details) await desk.end([endOf(lease.leaseId, details)]);
        if (!failed) throw error;
        if (lease && failed.code === 'LeaseLost') desk.lost(step.step, lease.leaseId);
        else if (lease && !details) await desk.withdraw(lease.leaseId);
        const move = afterFailure(ladder, failed.code, rungs.length);
        if (move.kind === 'give-up') throw failure(failed.code, `${step.step}: ${failed.message}`, error as Error);
        note = ` (${rung.name} ${move.because})`;
        ladder = move.state;
      }
    }
  }

  #finish(step: PlannedStep, result: StepResult, rung: string, bytes: number, ordinal: number, leaseId?: string): Done {
    const outputs = Object.entries({ ...(result.output && { [step.step]: result.output }), ...result.further });
    // First: who reads it is ready from now on.
    for (const finished of [step.step, ...Object.keys(result.further ?? {})]) this.#finished.add(finished);
    for (const warning of result.warnings ?? []) this.#board.warn(warning);
    for (const [name, output] of outputs) this.#refs.set(name, output);
    if (step.further) this.#planned.set(step.step, alone(step));
    if (leaseId !== undefined) {
      const run = workflowInfo().originalExecutionRunId;
      const kept = outputs.map(([name, { parts }]) => ({ dataId: dataIdOf(run, name), ...keptRows(parts) }));
      const end = endOf(leaseId, result, kept);
      const successor = this.#readySuccessor(step.step);
      if (successor === undefined) this.#end(end);
      else this.#desk!.ride(successor, end);
    }
    const asked = { leaseBytes: bytes, rung: leaseId === undefined ? 'allowance' : rung, attempts: ordinal + 1 };
    const report = ranReport(step, result, asked);
    this.#isDone(step, report);
    return { result, report };
  }

  #isDone(step: PlannedStep, report: StepReport): void {
    this.#board.done(report);
    for (const need of step.needs) this.#dropWhenRead(need);
  }

  /** Gives memory back once the last planned reader of rows that were kept in it is done, unless the run ends now. Files on disk stay until then. */
  #dropWhenRead(source: string): void {
    const readers = [...this.#planned.values()].filter(({ needs }) => needs.includes(source));
    if (!readers.every(({ step }) => this.#finished.has(step))) return;
    if (this.#dropped.has(source) || !inMemory(this.#refs.get(source))) return;
    const drop = this.#drop(source);
    this.#dropped.set(source, Promise.allSettled([drop]));
    this.#inBackground(drop);
  }

  async #drop(step: string): Promise<void> {
    const run = workflowInfo().originalExecutionRunId;
    await Promise.allSettled([...this.#ends]); // the pool knows what was kept before it is dropped
    const control = proxyActivities<ControlActivities>({ ...DROPPING, taskQueue: TaskQueue.control(this.#pool) });
    await control.dropHandoffs({ pool: this.#pool, run, dataIds: [dataIdOf(run, step)], steps: [step], everything: false }); // prettier-ignore
  }

  /** A leased step that starts in this very workflow task, now that `step` is done: the end may ride on its ask. */
  #readySuccessor(step: string): string | undefined {
    for (const next of this.#planned.values()) {
      if (next.charge !== 'lease' || next.madeWith !== undefined) continue;
      if (!this.#runs.has(next.step) || this.#finished.has(next.step)) continue;
      if (next.needs.includes(step) && next.needs.every((need) => this.#finished.has(need))) return next.step;
    }
    return undefined;
  }

  #end(end: End): void {
    const ending = this.#desk!.end([end]);
    this.#ends.add(ending);
    this.#inBackground(ending);
  }

  #inBackground(work: Promise<unknown>): void {
    work.catch(() => undefined); // what could not be ended now is withdrawn when the run ends
    this.#background.add(work);
  }

  #activity(step: PlannedStep, summary: string): (request: StepRequest) => Promise<StepResult> {
    const activities = proxyActivities<StepActivities>({
      taskQueue: step.taskQueue,
      startToCloseTimeout: step.startToCloseMs,
      heartbeatTimeout: step.heartbeatMs,
      retry: { maximumAttempts: step.maximumAttempts, initialInterval: step.initialIntervalMs },
      cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
      priority: { priorityKey: step.priority },
      summary: summary.slice(0, 200),
    });
    return activities[ACTIVITY[step.spec.verb]];
  }
}

/** What else its container computes, sources before readers. */
function withFused({ fused, further = [] }: PlannedStep): string {
  if (!fused) return '';
  const inner = stepsOfQuery(fused, ...further.map(({ query }) => query));
  return ` with ${[...inner, ...further.map(({ step }) => step)].join(', ')}`;
}

const messageOf = (error: unknown): string => (error instanceof Error ? (error.cause ?? error) as Error : { message: String(error) }).message; // prettier-ignore

/** What was lost from memory once goes to disk: rows there are not taken away for somebody who waits, so that their reader gets to them. */
const onDisk = ({ shmBytes: _inMemory, ...step }: PlannedStep): PlannedStep => ({
  ...step,
  handoff: { ...step.handoff, mode: HandoffMode.ARROW, because: 'its rows in memory were lost' },
});

/** The size of a step whose rows went to Parquet while they were written, which nobody knew when it was planned. */
function asItReads(step: PlannedStep, inputs: Record<string, HandoffRef>): PlannedStep {
  if (!step.ifParquet || !Object.values(inputs).some(({ parts }) => parts.some(({ kind }) => kind === 'parquet'))) return step; // prettier-ignore
  return { ...step, ...step.ifParquet };
}

function endOf(leaseId: string, of: StepFailureDetails, keep: End['keep'] = []): End {
  return { leaseId, token: of.token, proof: of.proof, keep, used: of.used };
}

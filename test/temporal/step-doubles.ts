import { Context } from '@temporalio/activity';
import { type Attempt, leased, type LeasedDeps, noUsage, type Worked } from '../../activities/leased.ts';
import type { HandoffChoice, HandoffRef } from '../../src/contracts/handoff.ts';
import { dataIdOf } from '../../src/contracts/pool.ts';
import type { StepActivities, StepRequest, StepResult } from '../../src/contracts/steps.ts';
import { GiB, MiB } from '../../src/policy/sizes.ts';
import { proof } from './pool-double.ts';

/** One attempt that began. */
export interface StepCall {
  activity: keyof StepActivities;
  step: string;
  request: StepRequest;
  token: number;
  /** Of the activity, from 1. */
  attempt: number;
  workflowId: string;
}

/** What a step does instead of work; nothing given back means that it went well. */
export type Script = (call: StepCall, attempt: Attempt) => Promise<Partial<Worked> | void> | Partial<Worked> | void;

/** Holds steps in their work until it is opened, or they are cancelled. */
export class Gate {
  /** Resolves with the first attempt that came. */
  readonly reached: Promise<StepCall>;
  #reach!: (call: StepCall) => void;
  readonly #opened: Promise<void>;
  #open!: () => void;

  constructor() {
    this.reached = new Promise((resolve) => (this.#reach = resolve));
    this.#opened = new Promise((resolve) => (this.#open = resolve));
  }

  open(): void {
    this.#open();
  }
  readonly script: Script = async (call, { signal }) => {
    this.#reach(call);
    await Promise.race([
      this.#opened,
      new Promise((_resolve, reject) =>
        signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true }),
      ),
    ]);
  };
}

/** Activities of steps that do nothing but what a test tells them; their leases, heartbeats and failures are the real ones. */
export class StepDoubles {
  readonly calls: StepCall[] = [];
  readonly #scripts = new Map<string, Script>();
  /** Bytes lent to attempts that are at work, and the most there ever were. */
  lentBytes = 0;
  maxLentBytes = 0;
  running = 0;
  maxRunning = 0;

  /** What a step of this name does from now on. */
  on(step: string, script: Script): void {
    this.#scripts.set(step, script);
  }

  /** Holds a step at work. */
  hold(step: string): Gate {
    const gate = new Gate();
    this.on(step, gate.script);
    return gate;
  }

  /** Forgets scripts and calls. */
  reset(): void {
    this.#scripts.clear();
    this.calls.length = 0;
    this.maxLentBytes = this.lentBytes;
    this.maxRunning = this.running;
  }

  of(step: string): StepCall[] {
    return this.calls.filter((call) => call.step === step);
  }

  activities(deps: LeasedDeps): StepActivities {
    const double =
      (activity: keyof StepActivities) =>
      (request: StepRequest): Promise<StepResult> =>
        leased(deps, request, async (attempt) => {
          const { info } = Context.current();
          const { step } = request.spec;
          const call: StepCall = {
            activity,
            step,
            request,
            token: attempt.token,
            attempt: info.attempt,
            workflowId: info.workflowExecution!.workflowId,
          };
          this.calls.push(call);
          const bytes = request.leaseId === undefined ? 0 : request.leaseBytes;
          this.lentBytes += bytes;
          this.running += 1;
          this.maxLentBytes = Math.max(this.maxLentBytes, this.lentBytes);
          this.maxRunning = Math.max(this.maxRunning, this.running);
          try {
            return { ...worked(call, deps.host), ...(await this.#scripts.get(step)?.(call, attempt)) };
          } finally {
            this.lentBytes -= bytes;
            this.running -= 1;
          }
        });
    return {
      trinoQuery: double('trinoQuery'),
      datafusionSql: double('datafusionSql'),
      transform: double('transform'),
      readFiles: double('readFiles'),
      postgresLoad: double('postgresLoad'),
      postgresSql: double('postgresSql'),
      writeFiles: double('writeFiles'),
    };
  }
}

const ROWS = 1000;

/** What an attempt gives back that went well. */
function worked({ activity, request }: StepCall, host: string): Worked {
  const used = { ...noUsage(0.5, 'ok'), peakBytes: GiB, rows: ROWS, outputBytes: 8 * MiB };
  if (activity === 'postgresLoad') {
    const { into } = request.spec as { into: string };
    return {
      proof: proof(),
      used,
      loaded: { table: into, rows: ROWS, bytes: 8 * MiB, strategy: 'freeze', because: 'it is a double' },
    };
  }
  const ref = (step: string, choice: HandoffChoice): HandoffRef => ({
    ...choice,
    parts: [],
    schema: [{ name: 'revenue', type: 'Decimal[15e+2]', nullable: true }],
    rows: ROWS,
    bytes: 8 * MiB,
    host,
    dataId: dataIdOf(request.run, step),
    fingerprint: 'of a double',
  });
  return {
    proof: proof(activity === 'trinoQuery' ? { kind: 'query-gone' } : {}),
    used,
    output: ref(request.spec.step, request.handoff!),
    ...(request.further && {
      further: Object.fromEntries(request.further.map(({ step, handoff }) => [step, ref(step, handoff)])),
    }),
  };
}

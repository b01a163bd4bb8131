import { GiB } from '../sizes.ts';
import type { Lender, Moving, SimulatedAsk, Told } from './lender.ts';
import { lowerBound, type LowerBound, type Scenario, type SimulatedRun, type SimulatedStep } from './scenario.ts';

/** What became of a step. Instants are milliseconds from the beginning. */
export interface StepOutcome {
  run: string;
  step: string;
  weight: SimulatedStep['weight'];
  bytes: number;
  askedMs: number;
  startedMs?: number;
  endedMs?: number;
  refused?: boolean;
  /** Why it was granted or refused. */
  because?: string;
}

/** What was lent from an instant on. */
export interface LentAt {
  atMs: number;
  lentBytes: number;
}

/** How a scenario went. */
export interface Simulated {
  /** In the order they asked. */
  steps: StepOutcome[];
  /** From the beginning to the end of the last step. */
  makespanMs: number;
  bound: LowerBound;
  /** Bytes × time that were lent, of what could be until the last step ended; 0 to 1. */
  utilisation: number;
  /** Of steps that were started, milliseconds. */
  waits: { p50: number; p90: number; p99: number; max: number };
  /** Starts while somebody who had asked before, at the same priority, went on waiting. */
  passes: number;
  refusals: number;
  /** Steps that were never started and never refused: a lender that lets anybody starve. */
  starved: number;
  /** Times that more was lent than there is, or two heavy steps ran at once. */
  overCommits: number;
  peakLentBytes: number;
  /** Bytes in memory that went to disk for somebody who could not start otherwise. */
  demotedBytes: number;
  lent: LentAt[];
}

/** Runs a scenario under a clock of its own. Deterministic: the same scenario and lender always give the same. */
export function simulate(scenario: Scenario, lender: Lender): Simulated {
  return new Simulation(scenario, lender).run();
}

/** Rows go to disk at 1 GiB/s, about what one writer reaches on one NVMe disk. */
const MOVED_BYTES_PER_MS = GiB / 1000;

type Happening =
  | { kind: 'arrive'; run: RunState }
  | { kind: 'end'; run: RunState; ask: SimulatedAsk }
  | { kind: 'moved'; run: RunState; moving: Moving };

interface RunState {
  run: SimulatedRun;
  asked: Set<string>;
  ended: Set<string>;
  running: number;
  failed: boolean;
}

class Simulation {
  readonly #scenario: Scenario;
  readonly #lender: Lender;
  readonly #agenda: { atMs: number; order: number; what: Happening }[] = [];
  readonly #steps: StepOutcome[] = [];
  readonly #outcomes = new Map<string, StepOutcome>();
  readonly #runs = new Map<string, RunState>();
  readonly #lent: LentAt[] = [];
  readonly #waiting = new Set<SimulatedAsk>();
  #order = 0;
  #passes = 0;
  #overCommits = 0;
  #heldBytes = 0;
  #peakLentBytes = 0;
  #heavyRunning = 0;
  #demotedBytes = 0;
  readonly #kept = new Map<string, number>();

  constructor(scenario: Scenario, lender: Lender) {
    this.#scenario = scenario;
    this.#lender = lender;
    for (const run of scenario.runs) {
      const state: RunState = { run, asked: new Set(), ended: new Set(), running: 0, failed: false };
      this.#runs.set(run.run, state);
      this.#plan(run.arrivesMs, { kind: 'arrive', run: state });
    }
  }

  run(): Simulated {
    for (let next = this.#next(); next; next = this.#next()) {
      const { atMs, what } = next;
      if (what.kind === 'end') this.#end(what.run, what.ask, atMs);
      if (what.kind === 'moved') this.#moved(what.moving, atMs);
      this.#askReady(what.run, atMs);
      this.#closeIfDone(what.run, atMs);
      this.#planMoves(atMs);
      this.#note(atMs);
    }
    return this.#summary();
  }

  #planMoves(nowMs: number): void {
    for (const moving of this.#lender.moving?.() ?? []) {
      const ms = Math.ceil(moving.bytes / MOVED_BYTES_PER_MS);
      this.#plan(nowMs + ms, { kind: 'moved', run: this.#runs.get(moving.run)!, moving });
    }
  }

  #moved(moving: Moving, nowMs: number): void {
    const { run, bytes } = moving;
    const kept = this.#kept.get(run);
    if (kept !== undefined) {
      // Else its run is over, and they are gone.
      this.#kept.set(run, kept - bytes);
      this.#heldBytes -= bytes;
      this.#demotedBytes += bytes;
    }
    this.#hear(moving.moved(nowMs), nowMs);
  }

  #plan(atMs: number, what: Happening): void {
    this.#agenda.push({ atMs, order: this.#order++, what });
  }

  #next(): { atMs: number; what: Happening } | undefined {
    this.#agenda.sort((a, b) => b.atMs - a.atMs || b.order - a.order);
    return this.#agenda.pop();
  }

  #end(run: RunState, ask: SimulatedAsk, nowMs: number): void {
    run.running -= 1;
    run.ended.add(ask.step.step);
    this.#outcomes.get(keyOf(ask))!.endedMs = nowMs;
    this.#heldBytes -= ask.step.bytes - ask.step.keepBytes;
    this.#kept.set(run.run.run, (this.#kept.get(run.run.run) ?? 0) + ask.step.keepBytes);
    if (ask.step.weight === 'heavy') this.#heavyRunning -= 1;
    this.#hear(this.#lender.end(ask, nowMs), nowMs);
  }

  #askReady(run: RunState, nowMs: number): void {
    for (const step of run.run.steps) {
      if (run.failed || run.asked.has(step.step) || !step.after.every((name) => run.ended.has(name))) continue;
      run.asked.add(step.step);
      const ask = { run: run.run.run, step };
      const outcome: StepOutcome = {
        ...{ run: ask.run, step: step.step, weight: step.weight, bytes: step.bytes, askedMs: nowMs },
      };
      this.#steps.push(outcome);
      this.#outcomes.set(keyOf(ask), outcome);
      this.#waiting.add(ask);
      this.#hear(this.#lender.ask(ask, nowMs), nowMs);
    }
  }

  /** A run that failed is over when nothing of it runs any more. */
  #closeIfDone(run: RunState, nowMs: number): void {
    const over = run.failed ? run.running === 0 : run.ended.size === run.run.steps.length;
    if (!over) return;
    const { run: name } = run.run;
    this.#heldBytes -= this.#kept.get(name) ?? 0;
    this.#kept.delete(name);
    for (const ask of this.#waiting) if (ask.run === name) this.#waiting.delete(ask);
    this.#hear(this.#lender.over(name, nowMs), nowMs);
  }

  #hear(told: readonly Told[], nowMs: number): void {
    for (const { ask, kind, because } of told) {
      const outcome = this.#outcomes.get(keyOf(ask))!;
      const run = this.#runs.get(ask.run)!;
      outcome.because = because;
      this.#waiting.delete(ask);
      if (kind === 'refused') {
        outcome.refused = true;
        run.failed = true;
        this.#closeIfDone(run, nowMs);
        continue;
      }
      outcome.startedMs = nowMs;
      run.running += 1;
      this.#heldBytes += ask.step.bytes;
      this.#peakLentBytes = Math.max(this.#peakLentBytes, this.#heldBytes);
      if (ask.step.weight === 'heavy') this.#heavyRunning += 1;
      if (this.#isPassing(outcome, ask)) this.#passes += 1;
      const over = this.#heldBytes > this.#lendable || this.#heavyRunning > 1;
      if (over) this.#overCommits += 1;
      this.#plan(nowMs + ask.step.ms, { kind: 'end', run, ask });
    }
  }

  #isPassing(outcome: StepOutcome, { step }: SimulatedAsk): boolean {
    return [...this.#waiting].some(
      (other) => other.step.priority === step.priority && this.#outcomes.get(keyOf(other))!.askedMs < outcome.askedMs,
    );
  }

  #note(atMs: number): void {
    const last = this.#lent.at(-1);
    if (last?.atMs === atMs) last.lentBytes = this.#heldBytes;
    else if (last?.lentBytes !== this.#heldBytes) this.#lent.push({ atMs, lentBytes: this.#heldBytes });
  }

  get #lendable(): number {
    return this.#scenario.pool.limitBytes - this.#scenario.pool.standingBytes;
  }

  #summary(): Simulated {
    const steps = this.#steps;
    const makespanMs = Math.max(0, ...steps.map(({ endedMs = 0 }) => endedMs));
    const waits = steps
      .flatMap(({ askedMs, startedMs }) => (startedMs === undefined ? [] : [startedMs - askedMs]))
      .sort((a, b) => a - b);
    const at = (share: number): number => waits[Math.max(0, Math.ceil(share * waits.length) - 1)] ?? 0;
    let lentMs = 0;
    this.#lent.forEach(({ atMs, lentBytes }, index) => {
      lentMs +=
        lentBytes * (Math.min(this.#lent[index + 1]?.atMs ?? makespanMs, makespanMs) - Math.min(atMs, makespanMs));
    });
    return {
      ...{ steps, makespanMs, bound: lowerBound(this.#scenario) },
      utilisation: makespanMs === 0 ? 0 : lentMs / (this.#lendable * makespanMs),
      waits: { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: waits.at(-1) ?? 0 },
      ...{ passes: this.#passes, overCommits: this.#overCommits },
      refusals: steps.filter(({ refused }) => refused).length,
      starved: this.#waiting.size,
      ...{ peakLentBytes: this.#peakLentBytes, demotedBytes: this.#demotedBytes },
      lent: this.#lent,
    };
  }
}

const keyOf = ({ run, step }: SimulatedAsk): string => `${run}/${step.step}`;

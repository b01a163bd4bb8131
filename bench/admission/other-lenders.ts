import type { Lender, SimulatedAsk, Told } from '../../src/policy/simulation/lender.ts';
import type { Scenario } from '../../src/policy/simulation/scenario.ts';

/** How a lender without a ledger of its own decides; all are given the same asks. */
type Decide = (waiting: readonly SimulatedAsk[], held: Held) => SimulatedAsk | undefined;

interface Held {
  /** Bytes that nobody holds. */
  freeBytes: number;
  heavy: number;
  light: number;
}

/** Keeps a queue by priority and arrival, and serves it as long as `decide` names somebody. */
class QueueLender implements Lender {
  readonly #decide: Decide;
  readonly #lendable: number;
  readonly #waiting: SimulatedAsk[] = [];
  readonly #running = new Set<SimulatedAsk>();
  readonly #kept = new Map<string, number>();

  constructor({ pool }: Scenario, decide: Decide) {
    this.#lendable = pool.limitBytes - pool.standingBytes;
    this.#decide = decide;
  }

  ask(ask: SimulatedAsk): Told[] {
    if (ask.step.bytes > this.#lendable) return [{ ask, kind: 'refused', because: 'it can never fit' }];
    this.#waiting.push(ask);
    this.#waiting.sort((a, b) => a.step.priority - b.step.priority);
    return this.#serve();
  }

  end(ask: SimulatedAsk): Told[] {
    const { run, step } = ask;
    this.#running.delete(ask);
    this.#kept.set(run, (this.#kept.get(run) ?? 0) + step.keepBytes);
    return this.#serve();
  }

  over(run: string): Told[] {
    this.#kept.delete(run);
    const left = this.#waiting.filter((ask) => ask.run !== run);
    this.#waiting.splice(0, this.#waiting.length, ...left);
    return this.#serve();
  }

  #serve(): Told[] {
    const told: Told[] = [];
    for (let next = this.#decide(this.#waiting, this.#held()); next; next = this.#decide(this.#waiting, this.#held())) {
      this.#waiting.splice(this.#waiting.indexOf(next), 1);
      this.#running.add(next);
      told.push({ ask: next, kind: 'granted', because: '' });
    }
    return told;
  }

  #held(): Held {
    const running = [...this.#running].map(({ step }) => step);
    const bytes = running.reduce((sum, step) => sum + step.bytes, 0);
    const kept = [...this.#kept.values()].reduce((sum, one) => sum + one, 0);
    const heavy = running.filter(({ weight }) => weight === 'heavy').length;
    return { freeBytes: this.#lendable - bytes - kept, heavy, light: running.length - heavy };
  }
}

const fits = ({ step }: SimulatedAsk, { freeBytes, heavy }: Held): boolean =>
  step.bytes <= freeBytes && (step.weight === 'light' || heavy === 0);

/** Nobody passes the first in the queue. */
export const strictFifo = (scenario: Scenario): Lender =>
  new QueueLender(scenario, ([first], held) => (first && fits(first, held) ? first : undefined));

/** Whoever fits goes; nothing is kept for the first in the queue. */
export const skipAhead = (scenario: Scenario): Lender =>
  new QueueLender(scenario, (waiting, held) => waiting.find((ask) => fits(ask, held)));

/** Slots are counted, bytes are not: one heavy step and so many light ones, as pools of slots in other orchestrators do. */
export const countSlots =
  (lightSlots: number) =>
  (scenario: Scenario): Lender =>
    new QueueLender(scenario, (waiting, { heavy, light }) =>
      waiting.find(({ step }) => (step.weight === 'heavy' ? heavy === 0 : light < lightSlots)),
    );

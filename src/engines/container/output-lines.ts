import type { ContainerEvent } from './container-port.ts';

/** Longest line that is still looked at as an event; the rest of a longer one is dropped. */
const LINE_CHARS = 1024 * 1024;
const TAIL_CHARS = 8 * 1024;

/** Splits what a container writes into events and a bounded tail of everything else. One for both streams. */
export class OutputLines {
  tail = '';
  /** Last `done` or `error`. */
  result: ContainerEvent | undefined;
  readonly #onEvent: (event: ContainerEvent) => void;
  readonly #open = { stdout: '', stderr: '' };

  constructor(onEvent: (event: ContainerEvent) => void = () => undefined) {
    this.#onEvent = onEvent;
  }

  push(stream: 'stdout' | 'stderr', chunk: string): void {
    const lines = (this.#open[stream] + chunk).split('\n');
    this.#open[stream] = lines.pop()!.slice(0, LINE_CHARS);
    for (const line of lines) this.#take(line);
  }

  /** Takes what stands after the last line break. */
  end(): void {
    for (const stream of ['stdout', 'stderr'] as const) {
      this.#take(this.#open[stream]);
      this.#open[stream] = '';
    }
  }

  #take(line: string): void {
    const event = parseEvent(line);
    if (!event) {
      if (line.trim() !== '') this.tail = `${this.tail}${line}\n`.slice(-TAIL_CHARS);
      return;
    }
    if (event.ev === 'done' || event.ev === 'error') this.result = event;
    this.#onEvent(event);
  }
}

function parseEvent(line: string): ContainerEvent | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    const value = JSON.parse(line) as Partial<ContainerEvent>;
    return typeof value.ev === 'string' ? (value as ContainerEvent) : undefined;
  } catch {
    return undefined;
  }
}

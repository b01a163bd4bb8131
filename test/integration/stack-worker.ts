import { spawn, type ChildProcess } from 'node:child_process';
import { eventually } from './stack-waiting.ts';

export interface WorkerOptions {
  /** Program and arguments before `node`, for example to run as another user. */
  prefix?: readonly string[];
  /** Flags after those of the stack; a later one wins. */
  flags?: readonly string[];
  cwd?: string;
  env?: Record<string, string>;
}

/** How a process ended. */
export interface Ended {
  exit: number | null;
  signal: NodeJS.Signals | null;
}

/** A `spillway worker` process of a test. */
export class WorkerProcess {
  readonly ended: Promise<Ended>;
  readonly #child: ChildProcess;
  #log = '';
  #end: Ended | undefined;

  constructor(args: readonly string[], { prefix = [], flags = [], cwd, env }: WorkerOptions) {
    const [program = '', ...rest] = [...prefix, process.execPath, ...args, ...flags];
    this.#child = spawn(program, rest, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.#child.stdout!, this.#child.stderr!]) {
      stream.on('data', (text: Buffer) => (this.#log += text.toString()));
    }
    this.ended = new Promise((resolve) =>
      this.#child.once('close', (exit, signal) => resolve((this.#end = { exit, signal }))),
    );
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** All it has printed. */
  get log(): string {
    return this.#log;
  }

  get alive(): boolean {
    return this.#end === undefined;
  }

  /** Waits until it has printed this; raises an error with its log when it ends before. */
  async says(text: string | RegExp, withinMs = 90_000): Promise<void> {
    await eventually(
      async () => {
        if (typeof text === 'string' ? this.#log.includes(text) : text.test(this.#log)) return true;
        return this.alive ? undefined : 'ended';
      },
      { withinMs, what: `a worker's word '${String(text)}'` },
    ).then((how) => {
      if (how === 'ended') throw new Error(`the worker ended before it said '${String(text)}':\n${this.#log}`);
    });
  }

  /** Waits until it takes work. */
  async polling(): Promise<void> {
    await this.says('polls pool');
  }

  /** Sends a signal to this process alone. */
  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async kill(): Promise<void> {
    this.signal('SIGKILL');
    await this.ended;
  }

  /** Drains it, and kills it when it does not end; a test that cares looks at `ended` itself. */
  async end(): Promise<void> {
    if (!this.alive) return;
    this.signal('SIGTERM');
    const stubborn = setTimeout(() => this.signal('SIGKILL'), 60_000);
    await this.ended;
    clearTimeout(stubborn);
  }
}

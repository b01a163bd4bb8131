import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type FailureCode, SpillwayError } from '../../contracts/errors.ts';
import type { HandoffColumn } from '../../contracts/handoff.ts';
import type { Proof } from '../../contracts/pool.ts';
import { endProcess } from '../../host/marked-processes.ts';
import { readProcessId } from '../../host/process-id.ts';
import { heldBytesOf } from '../../host/process-memory.ts';
import { formatBoth, MiB } from '../../policy/sizes.ts';
import type {
  TransformEvent,
  TransformModule,
  TransformOrder,
  TransformTrouble,
  WrittenPart,
} from './transform-job.ts';
import type { TransformGroups } from './transform-groups.ts';
import { nameArguments, type TransformName } from './transform-processes.ts';

/** How often the memory of the process is looked at, for code that holds the thread and cannot look itself. */
const SAMPLE_MS = 50;
/** Of the lease: V8 collects before the heap alone fills it. */
const HEAP_SHARE = 0.75;

/** A module that takes longer to load is taken for one that never will. */
const LIST_WITHIN_MS = 60_000;

/** One attempt of a transform. */
export interface TransformRequest extends TransformName {
  order: Extract<TransformOrder, { kind: 'run' }>;
  /** Makes the memory group that holds its process to its lease. Where there is none, its memory is looked at every 50 ms alone. */
  groups?: TransformGroups;
  signal: AbortSignal;
  onProgress?: (progress: { rowsIn: number; rows: number; bytes: number }) => void;
}

/** What a transform made. */
export interface TransformResult {
  rowsIn: number;
  /** Its input had no more rows when it ended. */
  readAll: boolean;
  rows: number;
  /** Of the files. */
  bytes: number;
  parts: WrittenPart[];
  /** Columns for whose type Parquet has no place, where rows were to go there. */
  unfit: string[];
  schema: HandoffColumn[];
  /** Anonymous and tmpfs memory of the process at its highest, sampled every 50 ms. */
  peakBytes: number;
  seconds: number;
  /** The process is gone. */
  proof: Proof;
}

/** What is known of an attempt that failed. */
export interface TransformFailureDetails {
  proof: Proof;
  peakBytes: number;
  seconds: number;
}

const CODES: Record<TransformTrouble, FailureCode> = {
  module: 'InvalidInput',
  output: 'InvalidInput',
  threw: 'TransformFailed',
  memory: 'OutOfMemoryOwn',
  disk: 'ScratchFull',
  input: 'HandoffLost',
};

/**
 * Names of the transforms that a module exports.
 * @param options withinMs: time that it has to load; its process is ended then, as it is when the signal aborts
 * @throws SpillwayError `InvalidInput` when it does not load
 * @throws the signal's reason
 */
export async function listTransforms(
  from: TransformModule,
  { withinMs = LIST_WITHIN_MS, signal }: { withinMs?: number; signal?: AbortSignal | undefined } = {},
): Promise<string[]> {
  signal?.throwIfAborted();
  const child = new TransformProcess([]);
  let late = false;
  const end = (): void => void child.end().catch(() => undefined); // seen below, as it goes on
  const limit = setTimeout(() => {
    late = true;
    end();
  }, withinMs);
  signal?.addEventListener('abort', end, { once: true });
  const last = await child.run({ kind: 'list', ...from }).finally(() => {
    clearTimeout(limit);
    signal?.removeEventListener('abort', end);
  });
  signal?.throwIfAborted();
  if (last?.ev === 'transforms') return last.names;
  const why =
    last?.ev === 'error'
      ? last.message
      : late
        ? `${from.module} did not load within ${withinMs / 1000} s: what it does when it is imported must end`
        : `${from.module} ended the process that loaded it`;
  throw new SpillwayError('InvalidInput', `transforms: ${why}.`);
}

/**
 * Runs a transform in a process of its own, ended when it passes what it was lent.
 *
 * Raises `InvalidInput`, `TransformFailed`, `OutOfMemoryOwn`, `ScratchFull`, `HandoffLost` with `TransformFailureDetails`. An abort is rethrown
 * once the process is gone. Files of the rows are there only when it went well.
 */
export async function runTransform({
  order,
  groups,
  signal,
  onProgress,
  ...name
}: TransformRequest): Promise<TransformResult> {
  signal.throwIfAborted();
  const startedAtMs = Date.now();
  const group = name.lease && (await groups?.make(name.lease.pool, name, name.lease.bytes));
  const child = new TransformProcess(nameArguments(name), order.limitBytes);
  let overLimit = false;
  let killed = false;
  // Whether it worked is seen, and said, when it is ended at last.
  const end = (): void => void child.end().catch(() => undefined);
  const sampling = setInterval(() => {
    if (child.sample() <= order.limitBytes || overLimit) return;
    overLimit = true;
    end();
  }, SAMPLE_MS);
  signal.addEventListener('abort', end, { once: true });
  let last: TransformEvent | undefined;
  try {
    last = await child.run(order, {
      held: (pid) => group?.hold(pid),
      hear: (event) => {
        if (event.ev === 'progress') onProgress?.(event);
      },
    });
    killed = (await group?.ranOut()) === true;
  } finally {
    clearInterval(sampling);
    signal.removeEventListener('abort', end);
    await child.end();
    await group?.remove();
  }
  const seconds = (Date.now() - startedAtMs) / 1000;
  const proof: Proof = { kind: 'exited', atMs: Date.now(), bytesLeft: 0 };
  const details: TransformFailureDetails = { proof, peakBytes: child.peakBytes, seconds };
  if (signal.aborted) throw signal.reason;
  if (last?.ev === 'done' && !overLimit && !killed) return { ...last, ...details };
  const what = `transform ${order.transform}`;
  if (overLimit || killed || (last?.ev === 'error' && last.trouble === 'memory')) {
    // What it took at the last moment nobody has seen; the kernel has.
    const [granted, peak] = formatBoth(order.limitBytes, killed ? Math.max(child.peakBytes, order.limitBytes) : child.peakBytes); // prettier-ignore
    throw new SpillwayError(
      'OutOfMemoryOwn',
      `${what} was lent ${granted} and held ${peak}. Hold fewer batches at a time, or declare memory.`,
      { details },
    );
  }
  if (last?.ev === 'error') {
    const cause = new Error(last.message);
    if (last.stack !== undefined) cause.stack = last.stack;
    throw new SpillwayError(CODES[last.trouble], `${what}: ${last.message}.`, { cause, details });
  }
  throw new SpillwayError('TransformFailed', `${what} ended without a result (${child.howItEnded}).`, { details });
}

/** The process, from its start until it is seen gone. */
class TransformProcess {
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;
  peakBytes = 0;
  #stderr = '';

  constructor(name: readonly string[], limitBytes?: number) {
    const heap = limitBytes === undefined ? [] : [`--max-old-space-size=${Math.max(32, Math.floor((limitBytes * HEAP_SHARE) / MiB))}`]; // prettier-ignore
    this.#child = spawn(process.execPath, ['--expose-gc', ...heap, ...program(), ...name], {
      // Nothing of ours is inherited: whoever waits for the end of our output would wait for a process that outlives us.
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      // The loader of TypeScript must not make a second Arrow of its own.
      env: { ...process.env, JITI_NATIVE_MODULES: '["apache-arrow"]' },
    });
    this.#child.stdout!.on('data', (chunk: Buffer) => process.stdout.write(chunk));
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      process.stderr.write(text);
      this.#stderr = (this.#stderr + text).slice(-4096);
    });
    this.#exited = once(this.#child, 'exit').catch(() => undefined);
  }

  /** Gives the order once the process is held and listens; answers its last word, when it is gone. */
  async run(
    order: TransformOrder,
    { held, hear }: { held?: (pid: number) => Promise<void> | undefined; hear?: (event: TransformEvent) => void } = {},
  ): Promise<TransformEvent | undefined> {
    let last: TransformEvent | undefined;
    const { pid } = this.#child;
    const holding = Promise.resolve(pid === undefined ? undefined : held?.(pid));
    this.#child.on('message', (event: TransformEvent) => {
      if (event.ev === 'ready')
        holding.then(() => this.#child.send(order, () => undefined), () => undefined); // prettier-ignore
      else {
        last = event;
        hear?.(event);
      }
    });
    await holding;
    await this.#exited;
    return last?.ev === 'progress' ? undefined : last;
  }

  /** Memory held now, in bytes; remembers the highest. */
  sample(): number {
    const now = this.#child.pid === undefined ? 0 : heldBytesOf(this.#child.pid);
    this.peakBytes = Math.max(this.peakBytes, now);
    return now;
  }

  async end(): Promise<void> {
    const alive = this.#child.exitCode === null && this.#child.signalCode === null;
    const id = alive && this.#child.pid !== undefined ? readProcessId(this.#child.pid) : undefined;
    if (id) await endProcess(id);
    await this.#exited;
  }

  /** For messages. */
  get howItEnded(): string {
    const { exitCode, signalCode } = this.#child;
    const said = this.#stderr.trim().split('\n').at(-1);
    return `${signalCode ?? `exit code ${exitCode}`}${said ? `: ${said}` : ''}`;
  }
}

/** From the build it is plain Node; from sources the same TypeScript loader as for configuration files. */
function program(): string[] {
  const own = dirname(fileURLToPath(import.meta.url));
  const built = join(own, 'transform-process.js');
  if (existsSync(built)) return [built];
  const jiti = dirname(createRequire(import.meta.url).resolve('jiti/package.json'));
  return [join(jiti, 'lib', 'jiti-cli.mjs'), join(own, 'transform-process.ts')];
}

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SpillwayError } from '../../contracts/errors.ts';
import { poolPath, type CgroupTree, type NoCgroups } from '../../host/cgroup-tree.ts';
import { judgeKernelLog, readOomKills } from '../../host/kernel-log.ts';
import { endProcess, markedProcesses, type MarkedProcess } from '../../host/marked-processes.ts';
import { heldBytesOf } from '../../host/process-memory.ts';
import { containerLabels, containerName } from './container-name.ts';
import type {
  ContainerOutcome,
  ContainerRuntime,
  ContainerSpec,
  ExitEvidence,
  ListedContainer,
} from './container-port.ts';
import { GroupSampler, type Sampled } from './group-sampler.ts';
import { judgeExit } from './judge-exit.ts';
import { OutputLines } from './output-lines.ts';
import { proveEmpty, removeEmptyGroups, removeGroup, removeLowerGroups } from './step-group.ts';

/** What a runtime without containers is made of. */
export interface ProcessRuntimeOptions {
  /** Groups of the host, and the limit of the pool's; with `none` memory is looked at every 50 ms, and what holds too much is ended. */
  cgroups: CgroupTree | NoCgroups;
  poolLimitBytes: number;
}

const MARK = '--spillway-process';
const WATCH_MS = 50;

/**
 * Runs steps as plain processes of this user, where no container runtime is to be had. `image` of a spec is a directory whose `run` starts the program;
 * paths are those of the host, mounts are not made. Memory is held by groups of our own where those can be made, else by a watchdog; network, files and
 * the number of processes are not limited.
 */
export function createProcessRuntime(options: ProcessRuntimeOptions): ContainerRuntime {
  const exists = (name: string): Promise<boolean> => Promise.resolve(found().some((one) => one.name === name));
  return {
    mounts: false,
    run: (spec) => new Attempt(spec, options).run(),
    listByLabels: (labels) => Promise.resolve(withLabels(labels)),
    exists,
    removeByLabels: async (labels) => {
      const ours = withLabels(labels);
      for (const { name, process, labels: own } of ours) {
        await endProcess(process);
        const pool = own['spillway.pool'];
        if (options.cgroups.version !== 'none' && pool) await removeGroup(options.cgroups, `${poolPath(pool)}/${name}`);
      }
      return ours.map(({ name }) => name);
    },
    removeGroups: async (pool, attempt) => {
      if (options.cgroups.version !== 'none') await removeLowerGroups(options.cgroups, poolPath(pool), attempt);
    },
    removeEmptyGroups: (pool, olderThanMs) => removeEmptyGroups(options.cgroups, pool, olderThanMs, exists),
  };
}

type Found = ListedContainer & Pick<MarkedProcess, 'process'>;

const found = (): Found[] =>
  markedProcesses(MARK).map(({ process, values: [name = '', ...pairs] }) => ({
    ...{ name, process, running: true },
    labels: Object.fromEntries(
      pairs.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]),
    ),
  }));

const withLabels = (labels: Record<string, string>): Found[] =>
  found().filter((one) => Object.entries(labels).every(([key, value]) => one.labels[key] === value));

/** Waits for a word before it becomes the program: by then it stands in its group, and every byte counts. Bound to cores where `taskset` is there. */
const LAUNCH = [
  'read -r go || exit 1',
  'cpus=$1; shift',
  'if command -v taskset >/dev/null 2>&1; then exec taskset -c "$cpus" "$@"; fi',
  'exec "$@"',
].join('\n');

class Attempt {
  readonly #spec: ContainerSpec;
  readonly #options: ProcessRuntimeOptions;
  readonly #tree: CgroupTree | undefined;
  readonly #name: string;
  #intent: ExitEvidence['intent'];
  #overLimit = false;
  #heldPeakBytes = 0;

  constructor(spec: ContainerSpec, options: ProcessRuntimeOptions) {
    this.#spec = spec;
    this.#options = options;
    this.#tree = options.cgroups.version === 'none' ? undefined : options.cgroups;
    this.#name = containerName(spec);
  }

  async run(): Promise<ContainerOutcome> {
    const spec = this.#spec;
    const pool = await this.#tree?.makePool(spec.pool, this.#options.poolLimitBytes);
    await this.#removeLowerTokens(pool);
    const stepPath = this.#tree && pool ? await this.#tree.makeStep(pool, this.#name, spec.memoryBytes) : undefined;
    const sampler = this.#tree && pool && stepPath ? new GroupSampler(this.#tree, pool, stepPath) : undefined;
    const killsBefore = stepPath ? await readOomKills(stepPath) : undefined;
    const began = Date.now();
    const output = new OutputLines(spec.onEvent);
    try {
      await sampler?.start();
      const { started, exitCode } = await this.#see(stepPath, output);
      const sampled = (await sampler?.stop()) ?? this.#watched();
      const last = output.result;
      const kernelLog =
        stepPath && (exitCode === 137 || sampled.oomKills > 0)
          ? judgeKernelLog(stepPath, killsBefore, await readOomKills(stepPath))
          : 'unreadable';
      const evidence: ExitEvidence = {
        ...(this.#intent && { intent: this.#intent }),
        ...(exitCode !== undefined && { cliExit: exitCode }),
        ...(last && { lastEvent: { ev: last.ev, ...(typeof last['cls'] === 'string' && { cls: last['cls'] }) } }),
        ...(this.#overLimit && { overLimit: true }),
        ...sampled,
        stepLimitBytes: spec.memoryBytes,
        poolLimitBytes: pool ? this.#options.poolLimitBytes : 0,
        kernelLog,
      };
      const verdict = judgeExit(evidence);
      return {
        verdict,
        ...(exitCode !== undefined && { exitCode }),
        evidence,
        peakBytes:
          verdict === 'oom-own' ? Math.max(sampled.heldPeakBytes, sampled.stepPeakBytes) : sampled.heldPeakBytes,
        seconds: (Date.now() - began) / 1000,
        stderrTail: output.tail,
        ...(last && { result: last }),
        proof: started
          ? await proveEmpty(this.#tree, stepPath, { keepsRows: verdict === 'ok' })
          : { kind: 'never-started', atMs: Date.now(), bytesLeft: 0 },
      };
    } finally {
      await sampler?.stop();
      await this.#end();
      if (this.#tree && stepPath) await removeGroup(this.#tree, stepPath);
    }
  }

  /** Starts the program and sees it gone. Aborting, the deadline and, without groups, too much memory end it. */
  async #see(
    stepPath: string | undefined,
    output: OutputLines,
  ): Promise<{ started: boolean; exitCode: number | undefined }> {
    const spec = this.#spec;
    const stop = (intent: 'cancelled' | 'timeout'): void => {
      this.#intent ??= intent; // before the kill: afterwards nobody could tell it from a stranger's
      this.#endSoon();
    };
    if (spec.signal?.aborted) {
      this.#intent = 'cancelled';
      return { started: false, exitCode: undefined };
    }
    const child = this.#spawn();
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream]!.setEncoding('utf8').on('data', (chunk: string) => output.push(stream, chunk));
    }
    const closed = once(child, 'close');
    const onAbort = (): void => stop('cancelled');
    const deadline = setTimeout(stop, spec.timeoutMs, 'timeout');
    const watch = stepPath === undefined ? setInterval(() => this.#watch(child), WATCH_MS) : undefined;
    spec.signal?.addEventListener('abort', onAbort, { once: true });
    try {
      if (stepPath) await this.#tree!.addProcess(stepPath, child.pid!);
      // When memory runs out on the host, a step goes before the worker.
      await writeFile(`/proc/${child.pid}/oom_score_adj`, '500').catch(() => undefined);
      child.stdin!.on('error', () => undefined).end('go\n');
      await closed;
      output.end();
      return { started: true, exitCode: child.exitCode ?? (child.signalCode === 'SIGKILL' ? 137 : undefined) };
    } finally {
      clearTimeout(deadline);
      clearInterval(watch);
      spec.signal?.removeEventListener('abort', onAbort);
      await this.#end();
    }
  }

  #spawn(): ChildProcess {
    const spec = this.#spec;
    return spawn(
      '/bin/sh',
      [
        ...['-c', LAUNCH, 'sh', spec.cpuset, join(spec.image, 'run'), ...spec.command],
        ...[MARK, this.#name, ...Object.entries(containerLabels(spec)).map(([key, value]) => `${key}=${value}`)],
      ],
      {
        // Neither our secrets nor our settings.
        env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin', LANG: 'C.UTF-8', ...spec.environment },
        cwd: '/',
        stdio: 'pipe',
        detached: true, // a Ctrl-C at the terminal is for us
      },
    );
  }

  /** One look at a process that no group holds. */
  #watch(child: ChildProcess): void {
    const held = child.pid === undefined ? 0 : heldBytesOf(child.pid);
    this.#heldPeakBytes = Math.max(this.#heldPeakBytes, held);
    if (held <= this.#spec.memoryBytes || this.#overLimit) return;
    this.#overLimit = true;
    this.#endSoon();
  }

  #watched(): Sampled {
    return { heldPeakBytes: this.#heldPeakBytes, stepPeakBytes: this.#heldPeakBytes, poolPeakBytes: 0, oomKills: 0 };
  }

  /** Without waiting: whether it worked is seen, and said, when everything is ended at last. */
  #endSoon(): void {
    this.#end().catch(() => undefined);
  }

  /** Ends whatever carries this attempt's name, its children included. */
  async #end(): Promise<void> {
    const ours = found().filter(({ name }) => name === this.#name);
    await Promise.all(ours.map(({ process }) => endProcess(process)));
  }

  /** Earlier attempts' processes go before this one starts; a later attempt's presence means that we are the stale one. */
  async #removeLowerTokens(pool: string | undefined): Promise<void> {
    const { run, step, token } = this.#spec;
    const others = withLabels({ 'spillway.run': run, 'spillway.step': step });
    const later = others.find(({ labels }) => Number(labels['spillway.token']) > token);
    if (later) {
      throw new SpillwayError(
        'LeaseLost',
        `a later attempt of step ${step} is there (${later.name}); this one, token ${token}, stands back`,
      );
    }
    for (const { process } of others) await endProcess(process);
    if (this.#tree && pool) await removeLowerGroups(this.#tree, pool, this.#spec);
  }
}

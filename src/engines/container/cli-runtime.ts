import { execa } from 'execa';
import { SpillwayError } from '../../contracts/errors.ts';
import type { Proof } from '../../contracts/pool.ts';
import { poolPath, type CgroupTree, type NoCgroups } from '../../host/cgroup-tree.ts';
import { judgeKernelLog, readOomKills, type KernelVerdict } from '../../host/kernel-log.ts';
import { containerName, OURS } from './container-name.ts';
import type { ContainerOutcome, ContainerRuntime, ContainerSpec, ExitEvidence } from './container-port.ts';
import { GroupSampler } from './group-sampler.ts';
import { judgeExit } from './judge-exit.ts';
import { OutputLines } from './output-lines.ts';
import { runArguments } from './run-arguments.ts';
import { RuntimeCli } from './runtime-cli.ts';
import { proveEmpty, removeEmptyGroups, removeGroup, removeLowerGroups } from './step-group.ts';

/** What a runtime is made of. */
export interface CliRuntimeOptions {
  kind: 'podman' | 'docker';
  /** Flags that probeRuntime of src/host/container-runtime.ts found. */
  flags: readonly string[];
  /** Groups of the host, and the limit of the pool's; `none` leaves the runtime's own limits and accounting. */
  cgroups: CgroupTree | NoCgroups;
  poolLimitBytes: number;
  /** `uid:gid` that containers run as. @defaultValue that of this process, 65534:65534 where it is root */
  user?: string;
  /** @defaultValue false */
  selinux?: boolean;
}

/** The runtime behind a command line: podman or docker. */
export function createCliRuntime(options: CliRuntimeOptions): ContainerRuntime {
  const cli = new RuntimeCli(options.kind);
  const exists = async (name: string): Promise<boolean> => (await cli.inspect(name)) !== undefined;
  return {
    mounts: true,
    run: (spec) => new Attempt(spec, options, cli).run(),
    listByLabels: (labels) => cli.list({ ...OURS, ...labels }),
    exists,
    removeByLabels: async (labels) => {
      const found = await cli.list({ ...OURS, ...labels });
      await Promise.all(
        found.map(async ({ name, labels: own }) => {
          await cli.removeAndSeeGone(name);
          const pool = own['spillway.pool'];
          // Its attempt may be dead, and then nobody else removes the group.
          if (options.cgroups.version !== 'none' && pool)
            await removeGroup(options.cgroups, `${poolPath(pool)}/${name}`);
        }),
      );
      return found.map(({ name }) => name);
    },
    removeGroups: async (pool, attempt) => {
      if (options.cgroups.version !== 'none') await removeLowerGroups(options.cgroups, poolPath(pool), attempt);
    },
    removeEmptyGroups: (pool, olderThanMs) => removeEmptyGroups(options.cgroups, pool, olderThanMs, exists),
  };
}

/** Who containers run as: never root. */
export function containerUser(): string {
  const uid = process.getuid?.() ?? 0;
  return uid === 0 ? '65534:65534' : `${uid}:${process.getgid?.() ?? uid}`;
}

/** The command may tell the end of a container before the runtime has recorded it; longest seen on a busy host: over a second. */
const RECORDED_WITHIN_MS = 10_000;

/** podman's monitor leaves an empty file `oom` where it was started when the kernel kills in its container; here nobody can make files. */
const NO_FILES = process.platform === 'linux' ? { cwd: '/proc' } : {};

class Attempt {
  readonly #spec: ContainerSpec;
  readonly #options: CliRuntimeOptions;
  readonly #cli: RuntimeCli;
  readonly #tree: CgroupTree | undefined;
  readonly #name: string;
  #intent: ExitEvidence['intent'];

  constructor(spec: ContainerSpec, options: CliRuntimeOptions, cli: RuntimeCli) {
    this.#spec = spec;
    this.#options = options;
    this.#cli = cli;
    this.#tree = options.cgroups.version === 'none' ? undefined : options.cgroups;
    this.#name = containerName(spec);
  }

  async run(): Promise<ContainerOutcome> {
    const spec = this.#spec;
    const pool = await this.#tree?.makePool(spec.pool, this.#options.poolLimitBytes);
    await this.#removeLowerTokens(pool);
    if (spec.signal?.aborted) return this.#neverStarted();
    const stepPath = this.#tree && pool ? await this.#tree.makeStep(pool, this.#name, spec.memoryBytes) : undefined;
    const sampler = this.#tree && pool && stepPath ? new GroupSampler(this.#tree, pool, stepPath) : undefined;
    const killsBefore = stepPath ? await readOomKills(stepPath) : undefined;
    const began = Date.now();
    const output = new OutputLines(spec.onEvent);
    let gone = false;
    try {
      await sampler?.start();
      const cliExit = await this.#start(stepPath, output);
      const state = await this.#lastState(cliExit, stepPath);
      // Gone from here on, so that what is read below is what is left.
      await this.#cli.removeAndSeeGone(this.#name);
      gone = true;
      const sampled = (await sampler?.stop()) ?? { heldPeakBytes: 0, stepPeakBytes: 0, poolPeakBytes: 0, oomKills: 0 };
      const last = output.result;
      const evidence: ExitEvidence = {
        ...(this.#intent && { intent: this.#intent }),
        ...(cliExit !== undefined && { cliExit }),
        ...(state && { state }),
        ...(last && { lastEvent: { ev: last.ev, ...(typeof last['cls'] === 'string' && { cls: last['cls'] }) } }),
        ...sampled,
        stepLimitBytes: stepPath ? spec.memoryBytes : 0,
        poolLimitBytes: pool ? this.#options.poolLimitBytes : 0,
        kernelLog: await this.#kernelVerdict(
          stepPath,
          killsBefore,
          state?.exitCode === 137 || state?.status === 'lost' || sampled.oomKills > 0,
        ),
      };
      const verdict = judgeExit(evidence);
      const exitCode = state?.status === 'exited' ? state.exitCode : cliExit;
      return {
        verdict,
        ...(exitCode !== undefined && { exitCode }),
        evidence,
        peakBytes:
          verdict === 'oom-own' ? Math.max(sampled.heldPeakBytes, sampled.stepPeakBytes) : sampled.heldPeakBytes,
        seconds: (Date.now() - began) / 1000,
        stderrTail: output.tail,
        ...(last && { result: last }),
        proof: await proveEmpty(this.#tree, stepPath, { keepsRows: verdict === 'ok' }),
      };
    } finally {
      await sampler?.stop();
      if (!gone) await this.#cli.removeAndSeeGone(this.#name);
      if (this.#tree && stepPath) await removeGroup(this.#tree, stepPath);
    }
  }

  /** Starts the container and waits for the runtime's command to end. Aborting and the deadline end it. */
  async #start(stepPath: string | undefined, output: OutputLines): Promise<number | undefined> {
    const spec = this.#spec;
    const { kind, flags, user = containerUser(), selinux = false } = this.#options;
    const rootless = process.getuid?.() !== 0;
    const group = this.#tree && stepPath !== undefined ? { cgroupParent: this.#tree.fromRoot(stepPath) } : {};
    const args = runArguments(spec, { kind, flags, user, selinux, rootless, ...group });
    // In a process group of its own: a Ctrl-C at the terminal is for us, podman would pass it on into the container.
    const command = execa(kind, args, { ...NO_FILES, reject: false, buffer: false, stdin: 'ignore', detached: true });
    for (const stream of ['stdout', 'stderr'] as const) {
      command[stream]?.on('data', (chunk: string | Buffer) => output.push(stream, chunk.toString()));
    }
    let ended = false;
    const stopping: Promise<void>[] = [];
    const stop = (intent: 'cancelled' | 'timeout'): void => {
      if (this.#intent || ended) return;
      this.#intent = intent; // before the kill: afterwards nobody could tell it from a stranger's
      stopping.push(
        this.#stop(
          () => ended,
          (signal) => command.kill(signal),
        ),
      );
    };
    const onAbort = (): void => stop('cancelled');
    const deadline = setTimeout(stop, spec.timeoutMs, 'timeout');
    spec.signal?.addEventListener('abort', onAbort, { once: true });
    if (spec.signal?.aborted) onAbort();
    try {
      const result = await command;
      ended = true;
      output.end();
      if (result.code === 'ENOENT')
        throw new SpillwayError('ContainerFailed', `${kind} is not on PATH; install it or name the other runtime`);
      return result.exitCode;
    } finally {
      ended = true;
      clearTimeout(deadline);
      spec.signal?.removeEventListener('abort', onAbort);
      await Promise.all(stopping);
    }
  }

  /** Only a kill is worth the question. */
  async #kernelVerdict(
    stepPath: string | undefined,
    before: string[] | undefined,
    killed: boolean,
  ): Promise<KernelVerdict> {
    return stepPath && killed ? judgeKernelLog(stepPath, before, await readOomKills(stepPath)) : 'unreadable';
  }

  /** The runtime's record once it is final: for a moment after its command ended it may still say `running`. */
  async #lastState(cliExit: number | undefined, stepPath: string | undefined): Promise<ExitEvidence['state']> {
    for (const until = Date.now() + RECORDED_WITHIN_MS; ;) {
      // No record is no evidence, and never keeps us from removing.
      const state = (await this.#cli.inspect(this.#name).catch(() => undefined))?.state;
      if (state?.status !== 'running') return state;
      // Without an exit code the command was killed: then `running` is the truth.
      if (cliExit === undefined || Date.now() > until) {
        const left = stepPath && (await this.#tree?.read(stepPath))?.processes;
        return left === 0 ? { ...state, status: 'lost' } : state;
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /**
   * Removes the container over and over until the runtime's command has ended: an abort may come before the container is there,
   * and the command would go on to make it. Killing the command alone would leave the container running.
   */
  async #stop(ended: () => boolean, kill: (signal: NodeJS.Signals) => void): Promise<void> {
    for (let round = 0; !ended(); round++) {
      await this.#cli.remove(this.#name).catch(() => false); // the end sees it gone, or says so
      if (round === 100) kill('SIGKILL');
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Earlier attempts' containers and groups go before this one starts; a later attempt's presence means that we are the stale one. */
  async #removeLowerTokens(pool: string | undefined): Promise<void> {
    const { run, step, token } = this.#spec;
    const others = await this.#cli.list({ ...OURS, 'spillway.run': run, 'spillway.step': step });
    const later = others.find(({ labels }) => Number(labels['spillway.token']) > token);
    if (later) {
      throw new SpillwayError(
        'LeaseLost',
        `a later attempt of step ${step} is there (${later.name}); this one, token ${token}, stands back`,
      );
    }
    for (const { name } of others) await this.#cli.removeAndSeeGone(name);
    if (this.#tree && pool) await removeLowerGroups(this.#tree, pool, this.#spec);
  }

  #neverStarted(): ContainerOutcome {
    const evidence: ExitEvidence = {
      ...{ intent: 'cancelled', oomKills: 0, stepPeakBytes: 0, stepLimitBytes: 0, poolPeakBytes: 0, poolLimitBytes: 0 },
      ...{ heldPeakBytes: 0, kernelLog: 'unreadable' },
    };
    const proof: Proof = { kind: 'never-started', atMs: Date.now(), bytesLeft: 0 };
    return { verdict: 'cancelled', evidence, peakBytes: 0, seconds: 0, stderrTail: '', proof };
  }
}

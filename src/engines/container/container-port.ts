import type { Verdict } from '../../contracts/errors.ts';
import type { Proof } from '../../contracts/pool.ts';
import type { KernelVerdict } from '../../host/kernel-log.ts';

/** Starts a step's container, sees it through and sees it gone. podman, docker and plain processes stand behind it. */
export interface ContainerRuntime {
  /** Whether mounts are made: without them a program sees the host's own paths. */
  readonly mounts: boolean;
  /**
   * Runs one container to its end and removes it, whatever happens. Whatever carries a lower token of the same run and step is removed first.
   * Never rejects for what a container does: that is the outcome's verdict. Rejects with `LeaseLost` when a higher token is already there,
   * and with `ContainerFailed` when something of it could not be removed: there is no proof then, and its bytes are not free.
   */
  run(spec: ContainerSpec): Promise<ContainerOutcome>;
  /** Kills and removes every container that carries all of these labels, and sees them gone. Answers their names. */
  removeByLabels(labels: Record<string, string>): Promise<string[]>;
  /** Containers that carry all of these labels, running or not. */
  listByLabels(labels: Record<string, string>): Promise<ListedContainer[]>;
  /** Removes the groups of a step's attempts up to this token, with whoever is left in them; their containers were removed before. */
  removeGroups(pool: string, attempt: { run: string; step: string; token: number }): Promise<void>;
  /**
   * Removes step groups of a pool that hold no process and belong to no container: what a worker killed with -9 may leave.
   * Younger ones are spared, since an attempt makes its group before its container. Answers their names.
   */
  removeEmptyGroups(pool: string, olderThanMs: number): Promise<string[]>;
  /** Whether a container of that name is there, running or not. */
  exists(name: string): Promise<boolean>;
}

/** What a container of a step may use and see. Nothing not listed here is granted. */
export interface ContainerSpec {
  run: string;
  step: string;
  token: number;
  pool: string;
  leaseId?: string;
  image: string;
  command: readonly string[];
  /** Limit, swap included. */
  memoryBytes: number;
  /** Processors as `0,2`; chosen by chooseCpuset of src/host/machine.ts. */
  cpuset: string;
  mounts: readonly Mount[];
  environment?: Readonly<Record<string, string>>;
  /** Longest time; a run past it is killed and judged `timeout`. */
  timeoutMs: number;
  /** Aborting kills the container; the verdict is then `cancelled`. */
  signal?: AbortSignal;
  /** Hears each JSON line with an `ev` that the container writes to stdout or stderr. Must not throw. */
  onEvent?: (event: ContainerEvent) => void;
  /** Size of /tmp, charged to the container. @defaultValue 16 MiB */
  tmpBytes?: number;
  /** @defaultValue 512 */
  pidsLimit?: number;
}

/** A directory or file of the host, seen in the container under another name. */
export interface Mount {
  source: string;
  target: string;
  writable: boolean;
}

/** A line of progress, or the last word of a job: `done` or `error`. */
export type ContainerEvent = { ev: string } & Record<string, unknown>;

/** A container that was found by its labels. */
export interface ListedContainer {
  name: string;
  running: boolean;
  labels: Record<string, string>;
}

/** What was seen of a container's end; the verdict is derived from it alone, by judgeExit. */
export interface ExitEvidence {
  /** Set before we kill: the only thing that tells our kill from another's. */
  intent?: 'cancelled' | 'timeout';
  /** Exit code of the runtime's command; absent when a signal ended it. */
  cliExit?: number;
  /**
   * The runtime's own record of the container; absent when there is none. Its status is `lost` when the record says `running` while no process
   * of the container is left: whoever was to write down its end died first, and the exit code is not known.
   */
  state?: { status: string; exitCode: number; oomKilled: boolean };
  /** Our own watchdog ended it past its limit, where no group could hold it. */
  overLimit?: true;
  /** Last event: `done`, or `error` with its class. */
  lastEvent?: { ev: string; cls?: string };
  /** Kills counted by the kernel in the step's group, as far as sampling caught them. */
  oomKills: number;
  /** Peak and limit of the step's group and of the pool's, page cache included. Zero limits: not known. */
  stepPeakBytes: number;
  stepLimitBytes: number;
  poolPeakBytes: number;
  poolLimitBytes: number;
  /** Peak of anonymous memory and tmpfs pages, sampled every 50 ms. */
  heldPeakBytes: number;
  kernelLog: KernelVerdict;
}

/** How a container ended, with everything needed to end its lease. */
export interface ContainerOutcome {
  verdict: Verdict;
  exitCode?: number;
  evidence: ExitEvidence;
  /** Anonymous memory and tmpfs pages at their highest; the limit itself when the container was killed at it. */
  peakBytes: number;
  seconds: number;
  /** Last lines that were not events, at most 8 KiB. */
  stderrTail: string;
  /** Last `done` or `error` event. */
  result?: ContainerEvent;
  /** The container is gone; what its tmpfs files still hold is `bytesLeft`. */
  proof: Proof;
}

import { readFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { basename } from 'node:path';
import { execa } from 'execa';
import { isLeftBehind } from './process-id.ts';

/** A container runtime that was seen to start a container here. */
export interface RuntimeFound {
  kind: 'podman' | 'docker';
  version: string;
  /** Flags of `run` without which a container does not start on this host; in Parts.image.flags. */
  flags: string[];
  /** Limits that held in the trial; a rootless runtime may lack `cpuset`, or on cgroup v1 all of them. */
  limits: { memory: boolean; cpuset: boolean; cgroupParent: boolean };
}

export interface RuntimeMissing {
  kind: 'none';
  /** One line: what was tried, and what mends it. */
  because: string;
}

export interface ProbeOptions {
  /** Runtimes to look for, in order. @defaultValue ['podman', 'docker'] */
  kinds?: readonly ('podman' | 'docker')[];
  /** Image whose `command` ends with 0. @defaultValue an image of 200 bytes that the probe makes and removes */
  image?: { name: string; command: readonly string[] };
  /** Group below which a trial container is put, to see whether the runtime takes one; see {@link RuntimeFound.limits}. */
  cgroupParent?: string;
  signal?: AbortSignal;
}

/**
 * Finds the runtime of this host and the flags it needs, by starting a container that only exits.
 * Takes about a second where the first set of flags works. Leaves nothing behind.
 */
export async function probeRuntime(options: ProbeOptions = {}): Promise<RuntimeFound | RuntimeMissing> {
  const reasons: string[] = [];
  for (const kind of options.kinds ?? (['podman', 'docker'] as const)) {
    const trial = await Trial.open(kind, options);
    if (typeof trial === 'string') {
      reasons.push(`${kind}: ${trial}`);
      continue;
    }
    try {
      const found = await trial.search();
      if (typeof found !== 'string') return found;
      reasons.push(`${kind}: ${found}`);
    } finally {
      await trial.close();
    }
  }
  return { kind: 'none', because: `no container runtime starts a container here (${reasons.join('; ')})` };
}

/** Flags that every container of ours is started with, so the trial has them as well. */
const HARDENING = [
  ...['--network', 'none', '--read-only', '--cap-drop', 'all', '--security-opt', 'no-new-privileges'],
  ...['--user', '65534:65534', '--pull', 'never', '--log-driver', 'none', '--pids-limit', '64'],
];

/** Before the pid of who tries, in the names of its image and container. */
const PROBE = 'spillway-probe-';

class Trial {
  readonly #kind: 'podman' | 'docker';
  readonly #version: string;
  readonly #options: ProbeOptions;
  readonly #name = `${PROBE}${process.pid}-${randomBytes(6).toString('hex')}`;
  #image: { name: string; command: readonly string[] };
  #ownsImage = false;

  private constructor(kind: 'podman' | 'docker', version: string, options: ProbeOptions) {
    this.#kind = kind;
    this.#version = version;
    this.#options = options;
    this.#image = options.image ?? { name: `localhost/${this.#name}:1`, command: ['/exit'] };
  }

  /** A trial, or why there is none. */
  static async open(kind: 'podman' | 'docker', options: ProbeOptions): Promise<Trial | string> {
    const asked = await call(kind, ['version', '--format', '{{json .}}'], options.signal);
    if (asked.code === 'ENOENT') return 'not on PATH';
    const version = /"Version":\s*"([^"]+)"/.exec(asked.stdout)?.[1];
    if (asked.exitCode !== 0 || !version) return lastLine(asked.stderr) || 'does not answer `version`';
    await removeOfTheDead(kind, options.signal);
    const trial = new Trial(kind, version, options);
    if (!options.image) {
      const tar = exitTar();
      if (!tar) return `needs an image to try with on ${process.arch}`;
      const imported = await call(kind, ['import', '-', trial.#image.name], options.signal, tar);
      if (imported.exitCode !== 0) return `cannot import an image: ${lastLine(imported.stderr)}`;
      trial.#ownsImage = true;
    }
    return trial;
  }

  /** The first set of flags that starts a container, with the limits that hold under it; or the last failure. */
  async search(): Promise<RuntimeFound | string> {
    let last = 'nothing was tried';
    for (const flags of candidateFlags(this.#kind, await readFile('/proc/self/limits', 'utf8').catch(() => ''))) {
      const bare = await this.#start([...flags, ...HARDENING]);
      if (bare !== undefined) {
        last = bare;
        continue;
      }
      const holds = async (more: string[]): Promise<boolean> =>
        (await this.#start([...flags, ...HARDENING, ...more])) === undefined;
      const memory = await holds(['--memory', '67108864', '--memory-swap', '67108864']);
      const cpuset = await holds(['--cpuset-cpus', '0']);
      const parent = this.#options.cgroupParent;
      const cgroupParent = parent !== undefined && (await holds(belowGroup(this.#kind, parent)));
      return { kind: this.#kind, version: this.#version, flags, limits: { memory, cpuset, cgroupParent } };
    }
    return last;
  }

  async close(): Promise<void> {
    await this.#remove();
    if (this.#ownsImage) await call(this.#kind, ['rmi', '-f', this.#image.name]);
  }

  /** Undefined when a container started and ended well, else why not. */
  async #start(flags: string[]): Promise<string | undefined> {
    const { name, command } = this.#image;
    const result = await call(
      this.#kind,
      ['run', '--name', this.#name, ...flags, name, ...command],
      this.#options.signal,
    );
    this.#options.signal?.throwIfAborted();
    await this.#remove();
    return result.exitCode === 0 ? undefined : lastLine(result.stderr) || `exit code ${result.exitCode ?? 'none'}`;
  }

  async #remove(): Promise<void> {
    await call(this.#kind, ['rm', '-f', this.#name]);
  }
}

/** Containers and images of trials whose process was killed. */
async function removeOfTheDead(kind: 'podman' | 'docker', signal: AbortSignal | undefined): Promise<void> {
  const ofTheDead = async (...list: string[]): Promise<string[]> => {
    const { stdout } = await call(kind, list, signal);
    return stdout.split('\n').filter((name) => isLeftBehind(basename(name), PROBE)); // of an image without its registry
  };
  const containers = await ofTheDead('ps', '--all', '--filter', `name=${PROBE}`, '--format', '{{.Names}}');
  if (containers.length > 0) await call(kind, ['rm', '--force', ...containers], signal);
  const images = await ofTheDead('images', '--format', '{{.Repository}}:{{.Tag}}');
  if (images.length > 0) await call(kind, ['rmi', '--force', ...images], signal);
}

/**
 * Sets of flags in the order they are tried: none, then the limits of this very process (a runtime's defaults ask for more than
 * an unprivileged host grants), each under the default OCI runtime, runc and crun.
 */
export function candidateFlags(kind: 'podman' | 'docker', limits: string): string[][] {
  const hard = (name: string, cap: number): number => {
    const value = new RegExp(`^${name}\\s+\\S+\\s+(\\d+)`, 'm').exec(limits)?.[1];
    return value === undefined ? cap : Math.min(Number(value), cap);
  };
  const nofile = hard('Max open files', 20_000);
  const nproc = hard('Max processes', 4096);
  const ulimits = ['--ulimit', `nofile=${nofile}:${nofile}`, '--ulimit', `nproc=${nproc}:${nproc}`];
  const runtimes = kind === 'podman' ? [[], ['--runtime', 'runc'], ['--runtime', 'crun']] : [[]];
  return runtimes.flatMap((runtime) => [[...runtime], [...runtime, ...ulimits]]);
}

/**
 * Flags of `run` that put a container below a memory group of ours (its path from the root of the hierarchy). podman's default manager on systemd hosts takes
 * slices only, its other one any group. docker's is chosen by its daemon: see {@link takesGroups}.
 */
export function belowGroup(kind: 'podman' | 'docker', path: string): string[] {
  return [...(kind === 'podman' ? ['--cgroup-manager', 'cgroupfs'] : []), '--cgroup-parent', path];
}

/** Whether containers can be put below groups of ours: not by a docker whose daemon leaves groups to systemd, which takes slices only. */
export async function takesGroups(kind: 'podman' | 'docker'): Promise<boolean> {
  if (kind === 'podman') return true;
  const { stdout } = await call(kind, ['info', '--format', '{{.CgroupDriver}}']);
  return stdout.trim() !== 'systemd';
}

interface Called {
  exitCode?: number;
  code?: string;
  stdout: string;
  stderr: string;
}

async function call(kind: string, args: string[], signal?: AbortSignal, input?: Buffer): Promise<Called> {
  const result = await execa(kind, args, {
    reject: false,
    timeout: 60_000,
    ...(signal && { cancelSignal: signal }),
    ...(input ? { input } : { stdin: 'ignore' as const }),
  });
  return {
    ...(result.exitCode !== undefined && { exitCode: result.exitCode }),
    ...(result.code !== undefined && { code: result.code }),
    stdout: result.stdout,
    stderr: result.stderr,
  };
}

const lastLine = (text: string): string => text.trim().split('\n').at(-1)?.slice(0, 300) ?? '';

/** `exit(0)` as machine code, by processor. */
const EXIT_CODE: Partial<Record<string, { machine: number; code: number[] }>> = {
  x64: { machine: 62, code: [0x31, 0xff, 0xb8, 0x3c, 0, 0, 0, 0x0f, 0x05] },
  arm64: { machine: 183, code: [0, 0, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 0x01, 0, 0, 0xd4] },
};

/** A root file system of one static program that exits with 0, so that probing needs no image and no network. */
function exitTar(): Buffer | undefined {
  const target = EXIT_CODE[process.arch];
  if (!target) return undefined;
  const program = Buffer.alloc(120 + target.code.length);
  const at = 0x400000n;
  program.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  program.writeUInt16LE(2, 16); // executable
  program.writeUInt16LE(target.machine, 18);
  program.writeUInt32LE(1, 20);
  program.writeBigUInt64LE(at + 120n, 24); // entry
  program.writeBigUInt64LE(64n, 32); // program headers
  program.writeUInt16LE(64, 52);
  program.writeUInt16LE(56, 54);
  program.writeUInt16LE(1, 56);
  program.writeUInt32LE(1, 64); // one segment, to load
  program.writeUInt32LE(5, 68); // readable, executable
  program.writeBigUInt64LE(at, 80);
  program.writeBigUInt64LE(at, 88);
  program.writeBigUInt64LE(BigInt(program.length), 96);
  program.writeBigUInt64LE(BigInt(program.length), 104);
  program.writeBigUInt64LE(0x1000n, 112);
  program.set(target.code, 120);

  const header = Buffer.alloc(512);
  header.write('exit', 0);
  header.write('0000755\0', 100);
  header.write('0000000\0', 108);
  header.write('0000000\0', 116);
  header.write(`${program.length.toString(8).padStart(11, '0')}\0`, 124);
  header.write('00000000000\0', 136);
  header.write('        ', 148); // the checksum counts itself as blanks
  header.write('0', 156);
  header.write('ustar\x0000', 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return Buffer.concat([header, program, Buffer.alloc(512 - (program.length % 512)), Buffer.alloc(1024)]);
}

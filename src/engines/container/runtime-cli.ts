import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { SpillwayError } from '../../contracts/errors.ts';
import type { ExitEvidence, ListedContainer } from './container-port.ts';

/** What the runtime's record says of a container. */
export interface Inspected {
  state: NonNullable<ExitEvidence['state']>;
  /** 0 when no process of it runs. */
  pid: number;
}

/** The runtime's commands that we use besides `run`: one short call each, argument arrays, no shell. */
export class RuntimeCli {
  readonly kind: 'podman' | 'docker';

  constructor(kind: 'podman' | 'docker') {
    this.kind = kind;
  }

  /** The record of a container, or undefined when there is none of that name. */
  async inspect(name: string): Promise<Inspected | undefined> {
    const { exitCode, stdout, stderr } = await this.#ask(['container', 'inspect', '--format', '{{json .State}}', name]);
    if (exitCode !== 0) {
      if (NOT_THERE.test(stderr)) return undefined;
      throw this.#failed('inspect', stderr);
    }
    const state = JSON.parse(stdout) as { Status: string; ExitCode: number; OOMKilled: boolean; Pid: number };
    // podman says `stopped` for a moment between `running` and `exited`; its code stands by then.
    const status = state.Status === 'stopped' ? 'exited' : state.Status;
    return { state: { status, exitCode: state.ExitCode, oomKilled: state.OOMKilled }, pid: state.Pid };
  }

  /** Containers with all of these labels, running or not. */
  async list(labels: Record<string, string>): Promise<ListedContainer[]> {
    const filters = Object.entries(labels).flatMap(([key, value]) => ['--filter', `label=${key}=${value}`]);
    const { exitCode, stdout, stderr } = await this.#ask([
      'ps',
      '--all',
      '--no-trunc',
      ...filters,
      '--format',
      '{{json .}}',
    ]);
    if (exitCode !== 0) throw this.#failed('list containers', stderr);
    return parseListed(stdout);
  }

  /** Kills and removes; a container that is not there is fine. Answers whether the command went well. */
  async remove(name: string): Promise<boolean> {
    const args = this.kind === 'podman' ? ['rm', '--force', '--ignore', '--time', '0', name] : ['rm', '--force', name];
    const { exitCode, stderr } = await this.#call(args);
    return exitCode === 0 || NOT_THERE.test(stderr);
  }

  /** Removes until the runtime no longer knows the container, or raises `ContainerFailed` after `waitMs`. */
  async removeAndSeeGone(name: string, waitMs = 30_000): Promise<void> {
    const deadline = Date.now() + waitMs;
    for (;;) {
      await this.remove(name);
      const left = await this.inspect(name).catch((error: unknown) => error);
      if (left === undefined) return;
      if (Date.now() >= deadline) {
        throw new SpillwayError(
          'ContainerFailed',
          `container ${name} cannot be removed; see \`${this.kind} rm -f ${name}\``,
          {
            details: { left },
          },
        );
      }
      await sleep(100);
    }
  }

  /** Asks again when the answer was only that a container, ours or another's, was being removed at that moment. */
  async #ask(args: string[]): Promise<Called> {
    for (let round = 0; ; round++) {
      const called = await this.#call(args);
      if (called.exitCode === 0 || !BEING_REMOVED.test(called.stderr) || round === 20) return called;
      await sleep(50);
    }
  }

  async #call(args: string[]): Promise<Called> {
    const result = await execa(this.kind, args, { reject: false, stdin: 'ignore', timeout: 60_000 });
    if (result.code === 'ENOENT')
      throw new SpillwayError('ContainerFailed', `${this.kind} is not on PATH; install it or name the other runtime`);
    return { exitCode: result.exitCode, stdout: result.stdout, stderr: result.stderr };
  }

  #failed(what: string, stderr: string): SpillwayError {
    return new SpillwayError(
      'ContainerFailed',
      `${this.kind} cannot ${what}: ${stderr.trim().split('\n').at(-1) ?? ''}`,
    );
  }
}

/** Reads a listing: podman prints one array, docker one object a line. */
export function parseListed(text: string): ListedContainer[] {
  const lines: unknown = text.trim().startsWith('[')
    ? JSON.parse(text)
    : text
        .split('\n')
        .filter((line) => line.trim() !== '')
        .map((line): unknown => JSON.parse(line));
  return (lines as PsLine[]).map(toListed);
}

interface Called {
  exitCode: number | undefined;
  stdout: string;
  stderr: string;
}

const NOT_THERE = /no such/i;
/** podman's two stores disagree for a moment while a container is made or removed. */
const BEING_REMOVED = /not known|being removed|has been removed/i;

/** podman gives names and labels as values, docker as text. */
interface PsLine {
  Names: string[] | string;
  Labels: Record<string, string> | string | null;
  State: string;
}

function toListed(line: PsLine): ListedContainer {
  const labels =
    typeof line.Labels === 'string'
      ? Object.fromEntries(
          line.Labels.split(',').map((pair) => [pair.split('=', 1)[0]!, pair.slice(pair.indexOf('=') + 1)]),
        )
      : (line.Labels ?? {});
  const name = typeof line.Names === 'string' ? line.Names.split(',')[0]! : line.Names[0]!;
  return { name, running: line.State === 'running', labels };
}

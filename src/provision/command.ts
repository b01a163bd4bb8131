import { spawn } from 'node:child_process';

/** Environment in which programs are looked for and run; the program that calls us gives its own. */
export type Environment = Readonly<Record<string, string | undefined>>;

export interface CommandOptions {
  readonly env: Environment;
  readonly cwd?: string;
  /** After it the program and what it started are killed. @defaultValue 60 s */
  readonly timeoutMs?: number;
  readonly input?: string;
  /** Another user to run as; needs root. */
  readonly user?: { readonly uid: number; readonly gid: number };
  /** An open directory that the program finds as `/proc/self/fd/4`. */
  readonly passDirectory?: number;
}

/** A program ended badly; the message names it with its most telling line. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
  /** Everything it printed. */
  readonly output: string;
  constructor(command: string, line: string, output: string) {
    super(`${command}: ${line}`);
    this.output = output;
  }
}

/**
 * Runs a program to its end and answers what it printed; no shell. Raises {@link CommandError}.
 * Written on `spawn`, as another user and an open directory have to be handed over.
 */
export async function run(command: string, args: readonly string[], options: CommandOptions): Promise<string> {
  const { env, cwd, timeoutMs = 60_000, input, user, passDirectory } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(command, [...args], {
      env: { ...env },
      // Nothing of it goes near the terminal: `npm start` prints its own lines.
      stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe', 'ignore', passDirectory ?? 'ignore'],
      ...(cwd === undefined ? {} : { cwd }),
      ...(user ?? {}),
    });
    const out: Buffer[] = [];
    const both: Buffer[] = [];
    let tookTooLong = false;
    const timer = setTimeout(() => {
      tookTooLong = true;
      child.kill('SIGKILL');
    }, timeoutMs);
    child.stdout?.on('data', (chunk: Buffer) => (out.push(chunk), both.push(chunk)));
    child.stderr?.on('data', (chunk: Buffer) => both.push(chunk));
    child.stdin?.on('error', () => undefined).end(input); // a program need not read it all
    child.once('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      reject(new CommandError(command, error.code === 'ENOENT' ? 'not found' : error.message, ''));
    });
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      const output = Buffer.concat(both).toString();
      if (code === 0) resolve(Buffer.concat(out).toString().trimEnd());
      else if (tookTooLong) reject(new CommandError(command, `took longer than ${timeoutMs / 1000} s`, output));
      else reject(new CommandError(command, tellingLine(output) ?? `ended with ${signal ?? `code ${code}`}`, output));
    });
  });
}

/** Frames of a stack and what else a JVM prints around the reason: they name exceptions, and say nothing. */
const AROUND = /^at \S+\(|^\.\.\. \d+ more|same stack trace as|^https?:|^\d+ errors?$|^\S+: +"[\w.$]+"$/;

/** The line that says most: the last that names an error, else the last printed. */
export function tellingLine(output: string): string | undefined {
  const lines = output
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !AROUND.test(line));
  const telling = lines.filter((line) =>
    /error|fatal|exception|cannot|could not|failed|denied|no such|unable|in use/i.test(line),
  );
  const line = telling.at(-1) ?? lines.at(-1);
  return line !== undefined && line.length > 300 ? `${line.slice(0, 300)}…` : line;
}

/** Message of any error in one line. */
export function oneLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.split('\n')[0] ?? text;
}
